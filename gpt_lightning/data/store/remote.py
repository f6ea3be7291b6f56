"""A prepared store behind a URL (``data.store: s3://bucket/store``), read through a local cache of whole shards.

Only what is read is fetched. As the order of samples is a function, the stream can say in advance which shards come
next (``TokenSplit.expect``), and they are fetched meanwhile. A store larger than the cache needs an order that stays
with some shards for a while: ``data.shuffle_tokens``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Integer

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.store.columns import Column
from gpt_lightning.data.store.manifest import MANIFEST_FILE, Manifest, ShardRecord, read_manifest
from gpt_lightning.data.store.mapping import MappedFile
from gpt_lightning.data.store.shard_cache import RemoteFolder, ShardCache, cache_limit_bytes, crc32_of
from gpt_lightning.data.store.shard_files import (
    HEADER_BYTES,
    check_size,
    find_column,
    find_documents,
    find_tokens,
)
from gpt_lightning.data.store.shards import TokenSplit, TokenStore
from gpt_lightning.errors import ConfigError, DataError


def is_url(place: str) -> bool:
    """Whether a store's place is a URL rather than a path."""
    return "://" in place


@dataclass(frozen=True)
class _Part:
    """One kind of file of a shard: of its tokens, its document ends or a column.

    Attributes:
        find: Opens the one of a shard in a folder, as local stores do.
        state: Its name, size in bytes, where its content begins, and the CRC-32 of that.
    """

    find: Callable[[Path, ShardRecord], MappedFile]
    state: Callable[[ShardRecord], tuple[str, int, int, int]]


_DOCUMENTS = _Part(
    find_documents, lambda shard: (shard.documents_file, shard.num_documents * 8, 0, shard.documents_crc32)
)


def _tokens(dtype: str) -> _Part:
    def state(shard: ShardRecord) -> tuple[str, int, int, int]:
        size = HEADER_BYTES + shard.num_tokens * np.dtype(dtype).itemsize
        return shard.tokens_file, size, HEADER_BYTES, shard.tokens_crc32

    return _Part(lambda folder, shard: find_tokens(folder, shard, dtype), state)


def _column(column: Column) -> _Part:
    def state(shard: ShardRecord) -> tuple[str, int, int, int]:
        record = shard.columns[column.name]
        return (
            record.file,
            column.count(shard.num_tokens, shard.num_documents) * column.stored.itemsize,
            0,
            record.crc32,
        )

    return _Part(lambda folder, shard: find_column(folder, shard, column), state)


class _Files:
    """The files of one kind of some shards; fetched when they are looked at."""

    def __init__(self, cache: ShardCache, shards: list[ShardRecord], part: _Part) -> None:
        self._cache, self._shards, self._part = cache, shards, part

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        shard, folder = self._shards[index], self._cache.folder
        return self._cache.read(*self._wish(index), lambda: self._part.find(folder, shard).load())

    def _wish(self, index: int) -> tuple[str, int, Callable[[Path], None]]:
        return _wish(*self._part.state(self._shards[index]))

    def fetch_anew(self, index: int) -> None:
        """Fetch and check one even if a copy is here."""
        self._cache.fetch(*self._wish(index), anew=True)

    def announce(self, index: int) -> None:
        """Fetch one in the background."""
        self._cache.announce(*self._wish(index))


def _wish(name: str, size: int, start: int, crc32: int) -> tuple[str, int, Callable[[Path], None]]:
    def check(path: Path) -> None:
        check_size(path, size)
        found = crc32_of(path, start)
        if found != crc32:
            raise DataError(f"damaged: CRC-32 {crc32:08x} expected, {found:08x} found", fix="Copy the store again.")

    return name, size, check


class RemoteSplit(TokenSplit):
    """A split whose shards are fetched when they are read."""

    is_remote = True
    _shards: _Files

    def expect(self, starts: Integer[np.ndarray, " count"]) -> None:
        """Fetch the shards of these tokens in the background."""
        for home in np.unique(np.searchsorted(self._borders, starts, side="right") - 1).tolist():
            self._shards.announce(home)


class RemoteStore(TokenStore):
    """A store behind a URL.

    Args:
        url: See ``RemoteFolder``.

    Raises:
        DataError: It cannot be reached, or is no store.
    """

    def __init__(self, url: str) -> None:
        far = RemoteFolder(url)
        manifest = _fetch_manifest(far)
        shards = json.dumps([[_describe(shard) for shard in split.shards] for split in manifest.splits.values()])
        name = hashlib.sha256(f"{manifest.fingerprint} {shards}".encode()).hexdigest()[:24]
        super().__init__(cache_folder() / "remote" / name, manifest)
        self.url = far.url
        self._cache = ShardCache(far, self.path)

    def _list_parts(self) -> dict[str, _Part]:
        columns = () if self.manifest.layout is None else self.manifest.layout.columns
        return {"": _tokens(self.manifest.dtype), **{column.name: _column(column) for column in columns}}

    def _open_split(self, name: str) -> TokenSplit:
        record = self._find_record(name)
        columns = {kind: _Files(self._cache, record.shards, part) for kind, part in self._list_parts().items()}
        tokens, ends = columns.pop(""), _Files(self._cache, record.shards, _DOCUMENTS)
        manifest = self.manifest
        return RemoteSplit(
            name, record, tokens, ends,
            eot_id=manifest.eot_id, dtype=manifest.dtype, layout=manifest.layout, columns=columns,
        )  # fmt: skip

    def verify(self) -> None:
        """Fetch every shard anew, whatever copies are here, and compare its checksums.

        Raises:
            DataError: Names the damaged file.
        """
        for name in self.manifest.splits:
            if not self.manifest.splits[name].shards:
                continue
            record = self.manifest.splits[name]
            for part in (*self._list_parts().values(), _DOCUMENTS):
                files = _Files(self._cache, record.shards, part)
                for number in range(len(files)):
                    files.fetch_anew(number)

    def check_cache(self, shuffle_tokens: int | None) -> None:
        """What is shuffled together must fit into the cache, or every batch would fetch shards anew.

        Args:
            shuffle_tokens: Length of the stretches that are shuffled; None = the whole training split.

        Raises:
            ConfigError: It does not fit; names both ways out.
        """
        shards = self._find_record("train").shards
        width, limit = np.dtype(self.manifest.dtype).itemsize, cache_limit_bytes()
        whole = width * sum(shard.num_tokens for shard in shards)
        # A stretch, the next one being fetched, and the shards at their borders.
        largest = width * max(shard.num_tokens for shard in shards)
        needed = whole if shuffle_tokens is None else min(whole, 2 * width * shuffle_tokens + 2 * largest)
        if needed > limit:
            fitting = max(0, (limit - 2 * largest) // (2 * width))
            raise ConfigError(
                f"{self.url} shuffles {needed / 1e9:.3g} GB at a time, the cache holds {limit / 1e9:.3g} GB",
                got=shuffle_tokens,
                allowed=f"data.shuffle_tokens up to {fitting}" if fitting else "a larger cache",
                fix="Set data.shuffle_tokens to shuffle within stretches of so many tokens, or raise "
                "GPT_LIGHTNING_CACHE_GB.",
            )


def _describe(shard: ShardRecord) -> dict[str, Any]:
    described = asdict(shard)
    if not shard.columns:
        del described["columns"]  # the name of the cache of a store from before there were any
    return described


def _fetch_manifest(far: RemoteFolder) -> Manifest:
    folder = cache_folder() / "remote-manifests" / hashlib.sha256(far.url.encode()).hexdigest()[:24]
    folder.mkdir(parents=True, exist_ok=True)
    try:
        far.fetch(MANIFEST_FILE, folder / MANIFEST_FILE, lambda path: None)
    except DataError as error:
        raise DataError(
            f"No store can be read at {far.url}: {str(error).rstrip('.')}",
            fix="data.store names the folder with manifest.json.",
        ) from error
    return read_manifest(folder)
