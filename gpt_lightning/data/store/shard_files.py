"""The two files of a shard, byte by byte.

``tokens-SPLIT-NNNNN.bin`` is what llm.c and modded-nanogpt read: 256 little-endian int32 (magic, version, number of
tokens, zeros), then the ids. Magic 20240520 version 1 for uint16 (GPT-2), 20240801 version 7 for uint32 (Llama 3).
``docs-SPLIT-NNNNN.idx`` holds one little-endian uint64 per document: where it ends, in tokens from the shard's start.

A file is checked against the manifest when it is opened: its size (truncation) and its header. The ids themselves are
checked by ``verification``.

Write the shards of one split: documents in, files and their records out.
"""

from __future__ import annotations

import hashlib
import json
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.store.columns import Column, ColumnWriter
from gpt_lightning.data.store.manifest import ShardRecord, SplitRecord
from gpt_lightning.data.store.mapping import MappedFile
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import fsync_file

HEADER_BYTES = 1024
MAX_TOKENS = 2**31 - 1
"""The header counts tokens in an int32."""
_MAGIC_AND_VERSION = {"uint16": (20240520, 1), "uint32": (20240801, 7)}


def pack_header(dtype: str, num_tokens: int) -> bytes:
    """The 1024 bytes in front of the ids.

    Args:
        dtype: ``uint16`` or ``uint32``.
        num_tokens: Ids that follow, at most ``MAX_TOKENS``.
    """
    assert 0 <= num_tokens <= MAX_TOKENS
    header = np.zeros(256, dtype="<i4")
    header[:3] = (*_MAGIC_AND_VERSION[dtype], num_tokens)
    return header.tobytes()


def stored_dtype(dtype: str) -> np.dtype[Any]:
    """``uint16``/``uint32`` as stored: little-endian on every machine."""
    return np.dtype({"uint16": "<u2", "uint32": "<u4"}[dtype])


def find_tokens(folder: Path, shard: ShardRecord, dtype: str) -> MappedFile:
    """The ids of a shard, ``(tokens,)``; nothing is mapped yet.

    Raises:
        DataError: Missing, shorter or longer than the manifest says, or with another header.
    """
    path = folder / shard.tokens_file
    check_size(path, HEADER_BYTES + shard.num_tokens * np.dtype(dtype).itemsize)
    with path.open("rb") as file:
        header = file.read(HEADER_BYTES)
    if header != pack_header(dtype, shard.num_tokens):
        numbers = np.frombuffer(header, dtype="<i4")[:3].tolist()
        raise DataError(
            f"{path} has another header than its manifest asks for",
            got=numbers,
            allowed=str([*_MAGIC_AND_VERSION[dtype], shard.num_tokens]),
            fix=repair_advice(folder),
        )
    return MappedFile(path, stored_dtype(dtype), HEADER_BYTES, shard.num_tokens)


def find_documents(folder: Path, shard: ShardRecord) -> MappedFile:
    """The document ends of a shard, uint64 ``(documents,)``; nothing is mapped yet.

    Raises:
        DataError: Missing, or shorter or longer than the manifest says.
    """
    path = folder / shard.documents_file
    check_size(path, shard.num_documents * 8)
    return MappedFile(path, "<u8", 0, shard.num_documents)


def find_column(folder: Path, shard: ShardRecord, column: Column) -> MappedFile:
    """A column of a shard, ``(tokens,)`` or ``(documents x width,)``; nothing is mapped yet.

    Raises:
        DataError: Missing, or shorter or longer than the manifest says.
    """
    path = folder / shard.columns[column.name].file
    count = column.count(shard.num_tokens, shard.num_documents)
    check_size(path, count * column.stored.itemsize)
    return MappedFile(path, column.stored, 0, count)


def check_size(path: Path, expected: int) -> None:
    """Raise DataError unless ``path`` has ``expected`` bytes."""
    found = path.stat().st_size if path.is_file() else None
    if found is None:
        raise DataError(f"{path} is missing", fix=repair_advice(path.parent))
    if found != expected:
        what = "truncated" if found < expected else "too long"
        raise DataError(
            f"{path} is {what}: {expected} bytes expected, {found} found ({expected - found:+d} missing)",
            fix=repair_advice(path.parent),
        )


def repair_advice(folder: Path) -> str:
    """What to do with a damaged store."""
    return f"Copy the store again, or run gpt-lightning prepare with --rebuild true and --store {folder}."


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
        columns: What is written beside the ids.
    """

    def __init__(
        self,
        folder: Path,
        split: str,
        *,
        dtype: str,
        eot_id: int,
        shard_tokens: int,
        columns: Sequence[Column] = (),
    ) -> None:
        self._folder, self._split, self._dtype, self._eot_id = folder, split, dtype, eot_id
        self._columns, self._column_writer = columns, ColumnWriter(folder, split, columns)
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
        self,
        ids: npt.NDArray[Any],
        num_tokens: npt.NDArray[np.int64],
        text_bytes: npt.NDArray[np.int64],
        columns: Mapping[str, npt.NDArray[Any]] | None = None,
    ) -> None:
        """Append documents.

        Args:
            ids: Of all of them, each with end-of-text in front, ``(tokens,)``.
            num_tokens: Ids of each, end-of-text included, ``(documents,)``.
            text_bytes: UTF-8 bytes of the text of each, ``(documents,)``.
            columns: By name, ``(tokens,)`` or ``(documents, width)``; those that the writer was made with.

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
            if self._columns:
                own = {"token": slice(start, stop), "document": slice(first, last)}
                chosen = {each.name: (columns or {})[each.name][own[each.per]] for each in self._columns}
                self._column_writer.write(chosen, len(self._shards))
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
            columns=self._column_writer.finish(len(self._shards)),
        )
        self._shards.append(record)
        self._start()

    def finish(self) -> SplitRecord:
        """Complete the last shard and describe them all; a split without documents has no shards."""
        if self._file is not None:
            self._finish_shard()
        digest = self._sha256.hexdigest()
        if self._columns:
            digest = hashlib.sha256(json.dumps([digest, self._column_writer.digests()]).encode()).hexdigest()
        return SplitRecord(list(self._shards), digest)

    def __enter__(self) -> ShardWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if self._file is not None:
            self._file.close()
        self._column_writer.close()
