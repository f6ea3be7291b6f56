"""Open a prepared store: memory-mapped token shards behind one numbering of tokens."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import numpy.typing as npt
from jaxtyping import Integer, Shaped, UInt
from numpy.lib.stride_tricks import sliding_window_view

from gpt_lightning.data.store.columns import Column, LayoutRecord
from gpt_lightning.data.store.manifest import Manifest, ShardRecord, SplitRecord, read_manifest
from gpt_lightning.data.store.mapping import MappedFiles
from gpt_lightning.data.store.shard_files import find_column, find_documents, find_tokens
from gpt_lightning.data.store.verification import ChecksumCache, verify_once, verify_shard
from gpt_lightning.data.tokenizers.kinds import Tokenizer, from_description
from gpt_lightning.errors import DataError

_COUNTED = 1 << 22


@runtime_checkable
class Arrays(Protocol):
    """Arrays by number: a list of them, or something that finds them when they are looked at."""

    def __getitem__(self, index: int, /) -> npt.NDArray[Any]:
        """One array."""

    def __len__(self) -> int:
        """How many there are."""


class _Chain:
    """The arrays of several, in order."""

    def __init__(self, parts: Sequence[Arrays]) -> None:
        self._places = [(part, index) for part in parts for index in range(len(part))]

    def __getitem__(self, index: int, /) -> npt.NDArray[Any]:
        part, place = self._places[index]
        return part[place]

    def __len__(self) -> int:
        return len(self._places)


class TokenSplit:
    """The tokens of one split, numbered from 0 across its shards.

    Attributes:
        name: ``train``, ``val`` or ``test``.
        record: Its entry in the manifest.
        dtype: Of the ids.
        eot_id: Id in front of every document.
        num_tokens: Ids, one end-of-text per document included.
        num_documents: Documents.
        num_bytes: UTF-8 bytes of text behind the ids; for bits per byte.
        is_remote: Whether reading may have to fetch shards first; then ``expect`` helps.
        layout: What the documents are, and which columns there are; None = text.
    """

    is_remote = False

    def __init__(
        self,
        name: str,
        record: SplitRecord,
        shards: Arrays,
        ends: Arrays,
        *,
        eot_id: int,
        dtype: str,
        looks: Sequence[ChecksumCache] = (),
        layout: LayoutRecord | None = None,
        columns: Mapping[str, Arrays] | None = None,
    ) -> None:
        self.name, self.record, self.eot_id = name, record, eot_id
        self.layout, self._columns = layout, dict(columns or {})
        self._document_columns: dict[str, npt.NDArray[Any]] = {}
        self._looks = looks
        self.dtype = np.dtype(dtype)
        self.num_tokens = record.num_tokens
        self.num_documents = record.num_documents
        self.num_bytes = record.text_bytes
        self._shards, self._ends = shards, ends
        self._borders = np.cumsum([0, *(shard.num_tokens for shard in record.shards)])

    @classmethod
    def join(cls, record: SplitRecord, splits: Sequence[TokenSplit]) -> TokenSplit:
        """Splits one behind the other as one; ``record`` lists their shards in the same order."""
        first = splits[0]
        dtype = np.result_type(*(split.dtype for split in splits)).name
        tokens, ends = _Chain([split._shards for split in splits]), _Chain([split._ends for split in splits])
        looks = [look for split in splits for look in split._looks]
        columns = {name: _Chain([split._columns[name] for split in splits]) for name in first._columns}
        return cls(
            first.name, record, tokens, ends,
            eot_id=first.eot_id, dtype=dtype, looks=looks, layout=first.layout, columns=columns,
        )  # fmt: skip

    @cached_property
    def document_ends(self) -> npt.NDArray[np.int64]:
        """Where each document ends, in tokens of the whole split, ``(documents,)``; the last is ``num_tokens``."""
        borders = self._borders.tolist()
        return np.concatenate([self._ends[n].astype(np.int64) + borders[n] for n in range(len(self._ends))])

    def document_column(self, name: str) -> npt.NDArray[Any]:
        """A column per document, ``(documents, width)``; read once and kept."""
        if name not in self._document_columns:
            assert self.layout is not None
            (column,) = [column for column in self.layout.columns if column.name == name]
            shards = self._columns[name]
            whole = np.concatenate([shards[number] for number in range(len(shards))])
            self._document_columns[name] = column.shape(whole)
        return self._document_columns[name]

    def attach(self, column: Column, values: npt.NDArray[Any]) -> None:
        """Let the split have one column more, which no store holds: see ``derived``.

        Args:
            column: Per document; the windows read it like the store's own.
            values: ``(documents, width)``.
        """
        assert self.layout is not None
        assert column.per == "document"
        assert values.shape == (self.num_documents, column.width)
        others = [each for each in self.layout.columns if each.name != column.name]
        self.layout = replace(self.layout, columns=(*others, column))
        self._document_columns[column.name] = values

    def gather(self, starts: Integer[np.ndarray, " count"], length: int) -> UInt[np.ndarray, "count length"]:
        """Copies of the runs ``[start, start + length)``.

        Args:
            starts: First token of each run; every run must lie inside the split.
            length: Tokens per run.

        Returns:
            A fresh, writable array of the store's dtype.

        Raises:
            DataError: A shard turned out to be damaged since the split was opened.
        """
        self._check_looks()
        assert len(starts) == 0 or (starts.min() >= 0 and starts.max() + length <= self.num_tokens)
        homes = np.searchsorted(self._borders, starts, side="right") - 1
        whole = starts + length <= self._borders[homes + 1]
        rows = np.empty((len(starts), length), dtype=self.dtype)
        for home in np.unique(homes[whole]).tolist():
            chosen = np.flatnonzero(whole & (homes == home))
            rows[chosen] = sliding_window_view(self._shards[home], length)[starts[chosen] - self._borders[home]]
        for row in np.flatnonzero(~whole).tolist():
            rows[row] = self._read(int(starts[row]), length)
        return rows

    def copy_runs(
        self,
        target: Shaped[np.ndarray, " total"],
        places: Integer[np.ndarray, " runs"],
        starts: Integer[np.ndarray, " runs"],
        lengths: Integer[np.ndarray, " runs"],
        column: str | None = None,
    ) -> None:
        """Copy runs of different lengths to where they belong.

        Args:
            target: Written in place, of the split's dtype (or the column's).
            places: Where in the target each run begins.
            starts: First token of each run.
            lengths: Tokens of each run; a run must not cross a border between shards (a document never does).
            column: A column per token; None = the ids.

        Raises:
            DataError: A shard turned out to be damaged since the split was opened.
        """
        self._check_looks()
        homes = np.searchsorted(self._borders, starts, side="right") - 1
        assert len(starts) == 0 or (starts + lengths <= self._borders[homes + 1]).all()
        firsts = starts - self._borders[homes]
        shards = self._shards if column is None else self._columns[column]
        # Shard by shard, so that one is held at a time.
        for home in np.unique(homes).tolist():
            shard, chosen = shards[home], homes == home
            # A loop over slices: pieces are long enough that an index of every token takes several times longer.
            runs = zip(places[chosen].tolist(), firsts[chosen].tolist(), lengths[chosen].tolist(), strict=True)
            for place, first, length in runs:
                target[place : place + length] = shard[first : first + length]

    def expect(self, starts: Integer[np.ndarray, " count"]) -> None:
        """Say which tokens will be asked for soon; shards that are far away are fetched meanwhile."""

    def _check_looks(self) -> None:
        for look in self._looks:
            look.check()

    def _read(self, start: int, length: int) -> npt.NDArray[Any]:
        """One run that may cross shards."""
        first, last = np.searchsorted(self._borders, [start, start + length - 1], side="right") - 1
        parts = []
        for home in range(int(first), int(last) + 1):
            border = int(self._borders[home])
            parts.append(self._shards[home][max(start - border, 0) : start + length - border])
        return np.concatenate(parts)


class TokenStore:
    """A prepared folder, checked.

    Attributes:
        path: The folder.
        manifest: What is in it.
    """

    def __init__(self, path: Path, manifest: Manifest) -> None:
        self.path, self.manifest = path, manifest
        self._splits: dict[str, TokenSplit] = {}

    @classmethod
    def open(cls, path: Path | str) -> TokenStore:
        """Open a store and compare the size and header of every file with the manifest; no ids are read.

        Raises:
            DataError: Not a store, unfinished, or a file is missing, truncated or foreign.
        """
        store = cls(Path(path), read_manifest(Path(path)))
        for shard in store._list_shards():
            find_tokens(store.path, shard, store.manifest.dtype)
            find_documents(store.path, shard)
            _find_columns(store.path, [shard], store.manifest.layout)
        return store

    def _list_shards(self) -> list[ShardRecord]:
        return [shard for split in self.manifest.splits.values() for shard in split.shards]

    @property
    def fingerprint(self) -> str:
        """SHA-256 (hex) over tokens and tokenizer, independent of paths and times."""
        return self.manifest.fingerprint

    @property
    def vocab_size(self) -> int:
        """Number of ids of the tokenizer."""
        return self.manifest.vocab_size

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The tokenizer that made the ids; built on first use.

        Raises:
            DataError: One of tiktoken's encodings whose files cannot be found here.
        """
        return from_description(self.manifest.tokenizer)

    def verify(self) -> None:
        """Read everything and compare checksums, remembered or not.

        Raises:
            DataError: Names the damaged file.
        """
        for shard in self._list_shards():
            verify_shard(self.path, shard)

    def split(self, name: str) -> TokenSplit:
        """One split, its checksums verified unless this machine did so before (of a large one, the rest meanwhile).

        Raises:
            DataError: There is no such split, it holds no document, or a shard is damaged.
        """
        if name not in self._splits:
            self._splits[name] = self._open_split(name)
        return self._splits[name]

    def _find_record(self, name: str) -> SplitRecord:
        record = self.manifest.splits.get(name)
        if record is None or not record.shards:
            filled = [key for key, split in self.manifest.splits.items() if split.shards]
            fraction = f"Set --data.{name}_fraction above 0" if name in ("val", "test") else "Correct the name"
            why = "has no split" if record is None else "holds no document in split"
            raise DataError(
                f"Store {self.path} {why}", got=name, allowed=", ".join(filled), fix=f"{fraction}, or add text."
            )
        return record

    def _open_split(self, name: str) -> TokenSplit:
        record = self._find_record(name)
        return open_split(self.path, name, record, self.manifest, [verify_once(self.path, record.shards)])


def open_split(
    folder: Path, name: str, record: SplitRecord, manifest: Manifest, looks: Sequence[ChecksumCache] = ()
) -> TokenSplit:
    """A split that lies in a folder, as it is.

    Args:
        folder: The store, or one that is being made.
        name: Of the split.
        record: Its shards.
        manifest: Of the store; type of the ids, end-of-text and layout are read.
        looks: The first reading of its shards, for what is found while they are in use.

    Raises:
        DataError: A file is missing, truncated or foreign.
    """
    return TokenSplit(
        name,
        record,
        MappedFiles([find_tokens(folder, shard, manifest.dtype) for shard in record.shards]),
        MappedFiles([find_documents(folder, shard) for shard in record.shards]),
        eot_id=manifest.eot_id,
        dtype=manifest.dtype,
        looks=looks,
        layout=manifest.layout,
        columns=_find_columns(folder, record.shards, manifest.layout),
    )


def _find_columns(folder: Path, shards: Sequence[ShardRecord], layout: LayoutRecord | None) -> dict[str, MappedFiles]:
    columns = () if layout is None else layout.columns
    return {each.name: MappedFiles([find_column(folder, shard, each) for shard in shards]) for each in columns}


def count_text_bytes(store: TokenStore) -> npt.NDArray[Any]:
    """UTF-8 bytes of text that each id stands for, ``(vocab,)``; 0 for specials.

    A tokenizer that changes text (a Unicode form, lower case) has tokens of other bytes than the text had: they are
    scaled so that those of the validation split (else the test split) add up to its text's. Where nothing tells how
    many these were (token files of other programs, a store that is still being made) the tokens' own bytes stand.
    """
    lengths = store.tokenizer.token_bytes()
    records = store.manifest.splits
    name = next((each for each in ("val", "test") if each in records and records[each].text_bytes), None)
    if store.tokenizer.lossless or name is None:
        return lengths
    split, found = store.split(name), 0
    for start in range(0, split.num_tokens, _COUNTED):
        length = min(_COUNTED, split.num_tokens - start)
        found += int(lengths[split.gather(np.array([start]), length)[0]].sum())
    return lengths * (split.num_bytes / found) if found else lengths
