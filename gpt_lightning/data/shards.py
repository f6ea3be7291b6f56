"""Open a prepared store: memory-mapped token shards behind one numbering of tokens."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Integer, UInt
from numpy.lib.stride_tricks import sliding_window_view

from gpt_lightning.data.manifest import Manifest, ShardRecord, SplitRecord, read_manifest
from gpt_lightning.data.shard_file import open_documents, open_tokens
from gpt_lightning.data.tokenizers import Tokenizer, from_description
from gpt_lightning.data.verification import verify_once, verify_shard
from gpt_lightning.errors import DataError


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
    """

    def __init__(
        self, name: str, record: SplitRecord, shards: list[npt.NDArray[Any]], ends: list[npt.NDArray[Any]], eot_id: int
    ) -> None:
        self.name, self.record, self.eot_id = name, record, eot_id
        self.dtype = shards[0].dtype.newbyteorder("=")
        self.num_tokens = record.num_tokens
        self.num_documents = record.num_documents
        self.num_bytes = record.text_bytes
        self._shards, self._ends = shards, ends
        self._borders = np.cumsum([0, *(len(shard) for shard in shards)])

    @cached_property
    def document_ends(self) -> npt.NDArray[np.int64]:
        """Where each document ends, in tokens of the whole split, ``(documents,)``; the last is ``num_tokens``."""
        parts = zip(self._ends, self._borders, strict=False)
        return np.concatenate([ends.astype(np.int64) + border for ends, border in parts])

    def gather(self, starts: Integer[np.ndarray, " count"], length: int) -> UInt[np.ndarray, "count length"]:
        """Copies of the runs ``[start, start + length)``.

        Args:
            starts: First token of each run; every run must lie inside the split.
            length: Tokens per run.

        Returns:
            A fresh, writable array of the store's dtype.
        """
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

    def _read(self, start: int, length: int) -> npt.NDArray[Any]:
        """One run that may cross shards."""
        parts = []
        for shard, border in zip(self._shards, self._borders.tolist(), strict=False):
            first, last = max(start - border, 0), min(start + length - border, len(shard))
            if first < last:
                parts.append(shard[first:last])
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
            open_tokens(store.path, shard, store.manifest.dtype)
            open_documents(store.path, shard)
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
        """One split, its checksums verified unless this machine did so before.

        Raises:
            DataError: There is no such split, it holds no document, or a shard is damaged.
        """
        if name not in self._splits:
            self._splits[name] = self._open_split(name)
        return self._splits[name]

    def _open_split(self, name: str) -> TokenSplit:
        record = self.manifest.splits.get(name)
        if record is None or not record.shards:
            filled = [key for key, split in self.manifest.splits.items() if split.shards]
            fraction = f"Set --data.{name}_fraction above 0" if name in ("val", "test") else "Correct the name"
            why = "has no split" if record is None else "holds no document in split"
            raise DataError(
                f"Store {self.path} {why}", got=name, allowed=", ".join(filled), fix=f"{fraction}, or add text."
            )
        verify_once(self.path, record.shards)
        shards = [open_tokens(self.path, shard, self.manifest.dtype) for shard in record.shards]
        ends = [open_documents(self.path, shard) for shard in record.shards]
        return TokenSplit(name, record, shards, ends, self.manifest.eot_id)
