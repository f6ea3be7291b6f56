"""Write the shards of one split: documents in, files and their records out."""

from __future__ import annotations

import hashlib
import zlib
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.manifest import ShardRecord, SplitRecord
from gpt_lightning.data.shard_file import HEADER_BYTES, MAX_TOKENS, pack_header, stored_dtype
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import fsync_file


class ShardWriter:
    """Appends documents; starts a new shard when the current one is full.

    A document never spans two shards, so that a shard may hold a little less than ``shard_tokens``, or more when one
    document alone is longer.

    Args:
        folder: Where the files go.
        split: Name of the split, part of the file names.
        dtype: ``uint16`` or ``uint32``.
        eot_id: Id written in front of every document.
        shard_tokens: Size at which a shard is full.
    """

    def __init__(self, folder: Path, split: str, *, dtype: str, eot_id: int, shard_tokens: int) -> None:
        self._folder, self._split, self._dtype, self._eot_id = folder, split, dtype, eot_id
        self._shard_tokens = min(shard_tokens, MAX_TOKENS)
        self._shards: list[ShardRecord] = []
        self._sha256 = hashlib.sha256()
        self._file: IO[bytes] | None = None
        self._start()

    def _start(self) -> None:
        self._ends: list[int] = []
        self._num_tokens = self._text_bytes = self._crc32 = 0
        self._min_id, self._max_id = 2**32, -1

    def add(self, ids: npt.NDArray[Any], text_bytes: int) -> None:
        """Append one document: ids without end-of-text, and the UTF-8 bytes of its text.

        Raises:
            DataError: The document alone is longer than a shard can be.
        """
        stored = np.concatenate([np.array([self._eot_id], dtype=stored_dtype(self._dtype)), ids])
        self.extend(stored, np.array([len(stored)]), np.array([text_bytes]))

    def extend(
        self, ids: npt.NDArray[Any], num_tokens: npt.NDArray[np.int64], text_bytes: npt.NDArray[np.int64]
    ) -> None:
        """Append documents.

        Args:
            ids: Of all of them, each with end-of-text in front, ``(tokens,)``.
            num_tokens: Ids of each, end-of-text included, ``(documents,)``.
            text_bytes: UTF-8 bytes of the text of each, ``(documents,)``.

        Raises:
            DataError: A document alone is longer than a shard can be.
        """
        longest = int(num_tokens.max(initial=0))
        if longest > MAX_TOKENS:
            raise DataError(
                "A document is too long for one shard", got=longest, allowed=f"up to {MAX_TOKENS} tokens", fix="Cut it."
            )
        ends = np.cumsum(num_tokens)
        first = start = 0
        while first < len(ends):
            room = self._shard_tokens - self._num_tokens
            fitting = int(np.searchsorted(ends, start + room, side="right"))
            if fitting <= first and self._num_tokens:
                self._finish_shard()
                continue
            last = max(fitting, first + 1)
            stop = int(ends[last - 1])
            self._write(ids[start:stop], num_tokens[first:last], int(text_bytes[first:last].sum()))
            first, start = last, stop

    def _write(self, ids: npt.NDArray[Any], num_tokens: npt.NDArray[np.int64], text_bytes: int) -> None:
        stored = ids.astype(stored_dtype(self._dtype), copy=False)
        data = stored.tobytes()
        if self._file is None:
            self._file = (self._folder / self._name("tokens", "bin")).open("wb")
            self._file.write(bytes(HEADER_BYTES))
        self._file.write(data)
        self._sha256.update(data)
        self._crc32 = zlib.crc32(data, self._crc32)
        self._ends += (self._num_tokens + np.cumsum(num_tokens)).tolist()
        self._num_tokens += len(stored)
        self._text_bytes += text_bytes
        self._min_id = min(self._min_id, int(stored.min()))
        self._max_id = max(self._max_id, int(stored.max()))

    def _name(self, what: str, suffix: str) -> str:
        return f"{what}-{self._split}-{len(self._shards):05d}.{suffix}"

    def _finish_shard(self) -> None:
        assert self._file is not None
        # The count is known only now, hence the second visit to the header.
        self._file.seek(0)
        self._file.write(pack_header(self._dtype, self._num_tokens))
        fsync_file(self._file)
        self._file.close()
        self._file = None
        ends = np.array(self._ends, dtype="<u8").tobytes()
        with (self._folder / self._name("docs", "idx")).open("wb") as file:
            file.write(ends)
            fsync_file(file)
        record = ShardRecord(
            tokens_file=self._name("tokens", "bin"),
            documents_file=self._name("docs", "idx"),
            num_tokens=self._num_tokens,
            num_documents=len(self._ends),
            text_bytes=self._text_bytes,
            min_id=self._min_id,
            max_id=self._max_id,
            tokens_crc32=self._crc32,
            documents_crc32=zlib.crc32(ends),
        )
        self._shards.append(record)
        self._start()

    def finish(self) -> SplitRecord:
        """Complete the last shard and describe them all; a split without documents has no shards."""
        if self._file is not None:
            self._finish_shard()
        return SplitRecord(list(self._shards), self._sha256.hexdigest())

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
