"""Stores that other programs prepared: token files behind the interface of ``TokenStore``.

``data.store`` (or ``data.source``) names a token file, a folder of them or a glob; ``data.tokenizer`` says what made
the ids. Files with ``val`` or ``test`` in their names are those splits. Where no file is for validation, the end of the
training tokens is, cut at the end of a document: ``data.val_fraction`` of them.

Such files carry no checksum. Each is read through once per machine for a CRC-32 that identifies the data in
checkpoints, and for its largest id; both are remembered under path, size and time of change.
"""

from __future__ import annotations

import glob
import hashlib
import json
import logging
import re
import zlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.folders import cache_folder, is_marked
from gpt_lightning.data.readers.sources import expand
from gpt_lightning.data.store.manifest import MANIFEST_FILE, Manifest, ShardRecord, SplitRecord
from gpt_lightning.data.store.shards import TokenSplit, TokenStore
from gpt_lightning.data.store.token_files import FORMATS, TokenFile, Width, find_ends
from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.data.tokenizers.resolve import is_learned, resolve
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import write_text_atomically
from gpt_lightning.files.sealing import seal, unseal

_log = logging.getLogger(__name__)
_SUFFIXES = (".bin", ".ds")
_CHUNK = 1 << 24


def find_token_files(place: str) -> list[Path]:
    """Token files of other programs that a path, folder or glob means, sorted; none for anything else.

    Args:
        place: As typed. Megatron's common prefix of ``.bin`` and ``.idx`` counts as a path.
    """
    path = Path(place).expanduser()
    if path.is_dir():
        if (path / MANIFEST_FILE).exists():
            return []
        _refuse_half_a_store(path)
        return sorted(file for file in path.iterdir() if file.suffix in _SUFFIXES and file.is_file())
    if path.suffix == ".idx" or Path(f"{path}.idx").is_file():
        path = path.with_suffix(".bin") if path.suffix == ".idx" else Path(f"{path}.bin")
    if path.is_file():
        return [path] if path.suffix in _SUFFIXES else []
    found = sorted(expand(path), key=str)
    return found if found and all(file.suffix in _SUFFIXES and file.is_file() for file in found) else []


def check_exists(place: str) -> None:
    """Refuse the name of token files where there are none: text would be prepared into a folder of that name.

    Args:
        place: Of a store, for which ``find_token_files`` found nothing.

    Raises:
        DataError: It names files, or is a glob.
    """
    path = Path(place).expanduser()
    if not path.is_dir() and (path.suffix in (*_SUFFIXES, ".idx") or glob.has_magic(place)):
        raise DataError(
            "No token files match data.store",
            got=place,
            allowed="a file .bin or .ds, a folder of them, a glob, or the folder of a prepared store",
            fix="Correct --data.store.",
        )


def _refuse_half_a_store(folder: Path) -> None:
    """Our shards look like llm.c's, but without the manifest nobody knows whether they are all there."""
    if is_marked(folder) or (any(folder.glob("docs-*.idx")) and any(folder.glob("tokens-*.bin"))):
        raise DataError(
            f"{folder} is a prepared store without its {MANIFEST_FILE}, so it may be incomplete",
            fix="Copy it again as a whole, or run gpt-lightning prepare with --store and the settings it was made "
            "with.",
        )


@dataclass(frozen=True)
class _Part:
    """A run of one file that belongs to one split."""

    file: TokenFile
    record: ShardRecord
    start: int
    stop: int
    eot_id: int

    @property
    def tokens(self) -> npt.NDArray[Any]:
        return self.file.tokens[self.start : self.stop]

    def ends(self) -> npt.NDArray[np.int64]:
        ends = find_ends(self.file.tokens, self.eot_id) if self.file.ends is None else self.file.ends
        inside = ends[(ends > self.start) & (ends < self.stop)]
        return np.append(inside, self.stop) - self.start


class _Tokens:
    """Ids of every part, mapped when they are asked for."""

    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        return self._parts[index].tokens


class _Ends:
    """Document ends of every part, found when they are asked for: scanning may take a second per gigabyte."""

    def __init__(self, parts: list[_Part]) -> None:
        self._parts = parts

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> npt.NDArray[np.int64]:
        return self._parts[index].ends()


class ForeignStore(TokenStore):
    """Token files of other programs as a store.

    Args:
        files: The files, from ``find_token_files``.
        tokenizer: What made the ids; nothing in the files says so.
        val_fraction: Share of the training tokens to validate on when no file is named for it.
        dtype: Of ids without a header, ``uint16`` or ``uint32``; None = the numbers tell.

    Raises:
        DataError: A file is damaged, holds ids that the tokenizer does not have, or types of ids differ.
    """

    def __init__(
        self, files: Sequence[Path], tokenizer: Tokenizer, *, val_fraction: float = 0.0, dtype: str | None = None
    ) -> None:
        opened = _open_all(files, Width(tokenizer.vocab_size, dtype))
        records = {path: _examine(file, tokenizer.eot_id) for path, file in opened.items()}
        _check(opened.values(), records.values(), tokenizer)
        parts: dict[str, list[_Part]] = {}
        for path, file in opened.items():
            part = _Part(file, records[path], 0, len(file.ids), tokenizer.eot_id)
            parts.setdefault(_name_split(path), []).append(part)
        if "val" not in parts and val_fraction > 0 and "train" in parts:
            parts["train"], parts["val"] = _cut_tail(parts["train"], val_fraction)
        stored = next(iter(opened.values())).ids.dtype.name
        manifest = Manifest(
            settings={"source": [str(path) for path in files], "tokenizer": tokenizer.name},
            tokenizer=tokenizer.describe(),
            vocab_size=tokenizer.vocab_size,
            eot_id=tokenizer.eot_id,
            dtype=stored,
            splits={name: _describe(own) for name, own in parts.items()},
            inputs=[],
            split_rule="by the names of the files",
        )
        super().__init__(files[0].parent, manifest)
        vars(self)["tokenizer"] = tokenizer
        self._opened, self._records = opened, records
        for name, own in parts.items():
            self._splits[name] = TokenSplit(
                name, manifest.splits[name], _Tokens(own), _Ends(own), eot_id=tokenizer.eot_id, dtype=stored
            )

    def verify(self) -> None:
        """Compare every file with the checksum of the first time it was read here.

        Raises:
            DataError: Names the file that changed.
        """
        for path, file in self._opened.items():
            expected, found = self._records[path].tokens_crc32, _scan(file, self.manifest.eot_id).tokens_crc32
            if found != expected:
                raise DataError(
                    f"{path} has changed: CRC-32 {expected:08x} expected, {found:08x} found", fix="Copy it again."
                )


def open_foreign(
    files: Sequence[Path], tokenizer: str, *, val_fraction: float, dtype: str | None = None
) -> ForeignStore:
    """Open token files with the tokenizer that a spec names.

    Raises:
        DataError: The tokenizer would have to be learned from text, or as ``ForeignStore``.
    """
    if is_learned(tokenizer):
        raise DataError(
            f"{files[0]} holds token ids, and the tokenizer that made them cannot be learned from ids",
            got=tokenizer,
            allowed="the name or file of a tokenizer",
            fix="Name it, e.g. --data.tokenizer gpt2.",
        )
    return ForeignStore(files, resolve(tokenizer), val_fraction=val_fraction, dtype=dtype)


def _open_all(files: Sequence[Path], width: Width) -> dict[Path, TokenFile]:
    """Those that hold tokens; a shard that was left empty is nothing to stop at."""
    opened = {path: _open(path, width) for path in files}
    filled = {path: file for path, file in opened.items() if len(file.ids)}
    if not filled:
        raise DataError(f"{files[0]} holds no tokens", fix="Copy it again, or correct --data.store.")
    if len(filled) < len(opened):
        empty = [path for path in opened if path not in filled]
        _log.warning("%d of %d token files hold no tokens, the first is %s", len(empty), len(opened), empty[0])
    return filled


def _open(path: Path, width: Width) -> TokenFile:
    file = next(layout for layout in FORMATS if layout.recognizes(path)).open(path, width)
    if width.dtype not in (None, file.ids.dtype.name):
        raise DataError(
            f"{path} says of itself that its ids are {file.ids.dtype.name} ({file.layout})",
            got=width.dtype,
            fix="Leave data.dtype out: it is for files without a header.",
        )
    return file


def _name_split(path: Path) -> str:
    words = re.split(r"[^a-z]+", path.stem.lower())
    if {"val", "valid", "validation"} & set(words):
        return "val"
    return "test" if "test" in words else "train"


def _check(files: Collection[TokenFile], records: Iterable[ShardRecord], tokenizer: Tokenizer) -> None:
    kinds = {file.ids.dtype.name: file.path for file in files}
    if len(kinds) > 1:
        raise DataError(
            "Token files of one store have ids of different types",
            got={kind: path.name for kind, path in kinds.items()},
            allowed="all uint16 or all uint32",
            fix="Name the files of one type, or put them into a data.mixture.",
        )
    if "uint16" in kinds and tokenizer.vocab_size > 1 << 16:
        raise DataError(
            f"{kinds['uint16']} holds uint16 ids, and tokenizer {tokenizer.name} has ids that do not fit",
            got=tokenizer.vocab_size,
            allowed=f"a vocabulary of up to {1 << 16}",
            fix="Set --data.tokenizer to the one that made the file; if it is that one, write the ids as uint32.",
        )
    for file, record in zip(files, records, strict=True):
        if record.max_id >= tokenizer.vocab_size:
            guess = " (its bytes look big-endian: write them little-endian)" if _fits_swapped(file, tokenizer) else ""
            raise DataError(
                f"{record.tokens_file} holds the id {record.max_id}, which tokenizer {tokenizer.name} does not have"
                + guess,
                allowed=f"ids below {tokenizer.vocab_size}",
                fix="Set --data.tokenizer to the one that made the file"
                + (", or --data.dtype if its ids are wider or narrower." if file.layout == "NanoGPT" else "."),
            )


def _fits_swapped(file: TokenFile, tokenizer: Tokenizer) -> bool:
    chunks = (file.tokens[start : start + _CHUNK] for start in range(0, len(file.ids), _CHUNK))
    return all(int(chunk.byteswap().max()) < tokenizer.vocab_size for chunk in chunks)


def _cut_tail(parts: list[_Part], fraction: float) -> tuple[list[_Part], list[_Part]]:
    """Training and validation: the last ``fraction`` of the tokens, from the end of a document on if there is one."""
    total = sum(part.stop for part in parts)
    target = max(1, total - max(1, round(total * fraction)))
    number, before = 0, 0
    while target >= before + parts[number].stop and number + 1 < len(parts):
        before += parts[number].stop
        number += 1
    part = parts[number]
    ends = part.ends()
    earlier = ends[ends <= target - before]
    cut = int(earlier[-1]) if len(earlier) else target - before
    if cut == 0:
        return parts[:number], parts[number:]
    return [*parts[:number], replace(part, stop=cut)], [replace(part, start=cut), *parts[number + 1 :]]


def _describe(parts: list[_Part]) -> SplitRecord:
    """The record of a split; its hash covers files and cuts by their checksums rather than all ids again."""
    shards, facts = [], []
    for part in parts:
        ends = 0 if part.file.ends is None else zlib.crc32(part.file.ends.tobytes())
        whole = part.stop - part.start == len(part.file.ids)
        documents = part.record.num_documents if whole else len(part.ends())
        shards.append(replace(part.record, num_tokens=part.stop - part.start, num_documents=documents))
        facts.append([part.record.tokens_crc32, len(part.file.ids), part.start, part.stop, ends])
    return SplitRecord(shards, hashlib.sha256(json.dumps(facts).encode()).hexdigest())


def _examine(file: TokenFile, eot_id: int) -> ShardRecord:
    """What one reading of a file tells, remembered."""
    path = file.path.resolve()
    status = path.stat()
    state = [status.st_size, status.st_mtime_ns, status.st_ctime_ns, eot_id, file.layout, file.ids.dtype.name]
    memory = cache_folder() / "foreign" / f"{hashlib.sha256(str(path).encode()).hexdigest()[:24]}.json"
    try:
        known = unseal(json.loads(memory.read_text(encoding="utf-8")))
        if known["state"] == state:
            return ShardRecord(**known["record"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        pass  # nothing remembered yet, or by another version
    record = _scan(file, eot_id)
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(memory, json.dumps(seal({"state": state, "record": vars(record)})))
    except OSError:
        return record  # a cache that cannot be written only means reading again next time
    return record


def _scan(file: TokenFile, eot_id: int) -> ShardRecord:
    crc, smallest, largest, closed = 0, 2**32, -1, 0
    for start in range(0, len(file.ids), _CHUNK):
        tokens = file.tokens[start : start + _CHUNK]
        crc = zlib.crc32(tokens.tobytes(), crc)
        smallest, largest = min(smallest, int(tokens.min())), max(largest, int(tokens.max()))
        closed += int((tokens == eot_id).sum())
    return ShardRecord(
        tokens_file=file.path.name,
        documents_file="",
        num_tokens=len(file.ids),
        num_documents=max(1, closed) if file.ends is None else len(file.ends),
        text_bytes=0,
        min_id=smallest,
        max_id=largest,
        tokens_crc32=crc,
        documents_crc32=0,
    )
