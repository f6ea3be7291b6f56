"""``manifest.json``: what is in a store, written last; a folder without it is unfinished, never ready.

The manifest is the only place that knows counts, checksums and the tokenizer. Its ``fingerprint`` covers tokens and
tokenizer but neither paths nor times nor the size of shards: the same text prepared elsewhere has the same one. Its
``sha256`` covers all of it.

Format 2 is that of stores with columns beside their tokens (``columns``); text alone is written as format 1, to the
byte as before there was another.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpt_lightning.data.folders import count_finished
from gpt_lightning.data.store.columns import ColumnRecord, LayoutRecord
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.files.sealing import seal, unseal

FORMAT = 1
COLUMNS_FORMAT = 2
MANIFEST_FILE = "manifest.json"
SPLITS = ("train", "val", "test")


@dataclass(frozen=True)
class InputRecord:
    """One input as it was when it was read.

    Attributes:
        name: As the user named it (and the file inside a folder or glob).
        reader: Class that read it; another reader makes other documents of the same bytes.
        num_bytes: Size.
        mtime_ns: Time of the last change, nanoseconds; 0 for inputs that are no files.
        sha256: Checksum of the content.
    """

    name: str
    reader: str
    num_bytes: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True)
class ShardRecord:
    """One shard: a token file and the file of its document ends.

    Attributes:
        tokens_file: Name of the file with header and ids.
        documents_file: Name of the file with document ends.
        num_tokens: Ids, end-of-text included.
        num_documents: Documents; none spans two shards.
        text_bytes: UTF-8 bytes of the text behind the ids.
        min_id: Smallest id.
        max_id: Largest id.
        tokens_crc32: CRC-32 of the ids as stored (without the header).
        documents_crc32: CRC-32 of the document ends as stored.
        columns: Files of the columns, by the name of the column.
    """

    tokens_file: str
    documents_file: str
    num_tokens: int
    num_documents: int
    text_bytes: int
    min_id: int
    max_id: int
    tokens_crc32: int
    documents_crc32: int
    columns: dict[str, ColumnRecord] = field(default_factory=dict)


@dataclass(frozen=True)
class SplitRecord:
    """One split: its shards in order and the SHA-256 of all its ids (and columns), however it is cut into shards."""

    shards: list[ShardRecord]
    sha256: str

    @property
    def num_tokens(self) -> int:
        """Ids in all shards."""
        return sum(shard.num_tokens for shard in self.shards)

    @property
    def num_documents(self) -> int:
        """Documents in all shards."""
        return sum(shard.num_documents for shard in self.shards)

    @property
    def text_bytes(self) -> int:
        """UTF-8 bytes of text in all shards."""
        return sum(shard.text_bytes for shard in self.shards)


@dataclass(frozen=True)
class Manifest:
    """Everything known about a store.

    Attributes:
        settings: The settings it was prepared with.
        tokenizer: Description of the tokenizer, see ``Tokenizer.describe``.
        vocab_size: Number of ids.
        eot_id: Id in front of every document.
        dtype: ``uint16`` or ``uint32``.
        splits: By name; only splits that were asked for.
        inputs: What was read, in order.
        split_rule: How documents were divided, in words.
        skipped: Documents left out, by reason.
        bad_records: What was wrong with the first of the records left out as bad, with file and row.
        replaced_surrogates: Characters that UTF-8 cannot hold and that became U+FFFD.
        created_by: Versions of Python and of this package.
        counts: Totals over all splits for the report: ``characters``; ``chinese_characters`` and ``chinese_tokens`` of
            the documents that are mostly Chinese; ``unused_ids`` of the vocabulary. Empty in stores of older versions.
        round_trip: What became of the ``texts`` that were encoded: how many decoding gives ``changed``, and how many
            tokens are ``unknown``. Empty in older stores.
        layout: What the documents are and what stands beside them; None = text.
    """

    settings: dict[str, Any]
    tokenizer: dict[str, Any]
    vocab_size: int
    eot_id: int
    dtype: str
    splits: dict[str, SplitRecord]
    inputs: list[InputRecord]
    split_rule: str
    skipped: dict[str, int] = field(default_factory=dict)
    bad_records: list[str] = field(default_factory=list)
    replaced_surrogates: int = 0
    created_by: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    round_trip: dict[str, int] = field(default_factory=dict)
    layout: LayoutRecord | None = None

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over tokens, columns and tokenizer."""
        content = [
            self.tokenizer["fingerprint"],
            self.dtype,
            {name: split.sha256 for name, split in self.splits.items()},
            *([] if self.layout is None else [self.layout.content()]),
        ]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

    @property
    def max_id(self) -> int:
        """Largest id in any split; -1 when there is no token."""
        return max((shard.max_id for split in self.splits.values() for shard in split.shards), default=-1)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Put the manifest into a store, atomically and durably."""
    written, version = asdict(manifest), COLUMNS_FORMAT
    if manifest.layout is None:
        version = FORMAT
        del written["layout"]
        for split in written["splits"].values():
            for shard in split["shards"]:
                del shard["columns"]
    data = seal({"format": version, "fingerprint": manifest.fingerprint, **written})
    write_text_durably(folder / MANIFEST_FILE, json.dumps(data, indent=1) + "\n")


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a store.

    Raises:
        DataError: There is none, it is damaged, or a newer version wrote it.
    """
    path = folder / MANIFEST_FILE
    try:
        read = json.loads(path.read_text(encoding="utf-8"))
        if isinstance(read, dict) and "starts" in read and "format" not in read:
            raise DataError(
                f"{folder} is the folder of a run, not a store of tokens",
                fix="Name the store that gpt-lightning prepare wrote; a run is used as it is.",
            )
        data = unseal(read)
        version, stated = int(data.pop("format")), str(data.pop("fingerprint"))
        _check_version(path, version)
        manifest = _parse(data)
        actual = manifest.fingerprint
    except (FileNotFoundError, NotADirectoryError) as error:
        done, units = count_finished(folder)
        if units:
            raise DataError(
                f"{folder} is not ready: {done} of {units} units are done",
                fix="Run the same gpt-lightning prepare again, it goes on where it stopped.",
            ) from error
        raise DataError(
            f"{folder} is not a prepared store: it has no {MANIFEST_FILE}",
            fix="Run gpt-lightning prepare, or correct --data.store.",
        ) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path} is damaged ({type(error).__name__}: {error})",
            fix="Copy the store again, or delete and prepare it.",
        ) from error
    if actual != stated:
        raise DataError(
            f"{path} was changed: its content has fingerprint {actual[:12]}, it states {stated[:12]}",
            fix="Copy the store again, or delete and prepare it.",
        )
    return manifest


def _check_version(path: Path, version: int) -> None:
    if not 1 <= version <= COLUMNS_FORMAT:
        raise DataError(
            f"{path} has store format", got=version, allowed=f"1 to {COLUMNS_FORMAT}", fix="Update gpt-lightning."
        )


def _parse(data: dict[str, Any]) -> Manifest:
    splits = {
        name: SplitRecord([_parse_shard(shard) for shard in split["shards"]], split["sha256"])
        for name, split in data.pop("splits").items()
    }
    inputs = [InputRecord(**record) for record in data.pop("inputs")]
    if (layout := data.pop("layout", None)) is not None:
        data["layout"] = LayoutRecord.parse(layout)
    return Manifest(splits=splits, inputs=inputs, **data)


def _parse_shard(data: dict[str, Any]) -> ShardRecord:
    columns = {name: ColumnRecord(**record) for name, record in data.pop("columns", {}).items()}
    return ShardRecord(**data, columns=columns)
