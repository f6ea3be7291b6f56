"""A prepared store behind a URL (``data.store: s3://bucket/store``), read through a local cache of whole shards.

Only what is read is fetched. As the order of samples is a function, the stream can say in advance which shards come
next (``TokenSplit.expect``), and they are fetched meanwhile. A store larger than the cache needs an order that stays
with some shards for a while: ``data.shuffle_tokens``.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Integer

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.store.manifest import MANIFEST_FILE, Manifest, ShardRecord, read_manifest
from gpt_lightning.data.store.shard_cache import RemoteFolder, ShardCache, cache_limit_bytes, crc32_of
from gpt_lightning.data.store.shard_files import HEADER_BYTES, check_size, find_documents, find_tokens
from gpt_lightning.data.store.shards import TokenSplit, TokenStore
from gpt_lightning.errors import ConfigError, DataError


def is_url(place: str) -> bool:
    """Whether a store's place is a URL rather than a path."""
    return "://" in place


class _Files:
    """Token files, or files of document ends, of some shards; fetched when they are looked at."""

    def __init__(self, cache: ShardCache, shards: list[ShardRecord], dtype: str, *, documents: bool) -> None:
        self._cache, self._shards, self._dtype, self._documents = cache, shards, dtype, documents

    def __len__(self) -> int:
        return len(self._shards)

    def __getitem__(self, index: int) -> npt.NDArray[Any]:
        shard, folder = self._shards[index], self._cache.folder
        if self._documents:
            return self._cache.read(*self._wish(index), lambda: find_documents(folder, shard).load())
        return self._cache.read(*self._wish(index), lambda: find_tokens(folder, shard, self._dtype).load())

    def _wish(self, index: int) -> tuple[str, int, Callable[[Path], None]]:
        shard = self._shards[index]
        if self._documents:
            return _wish(shard.documents_file, shard.num_documents * 8, 0, shard.documents_crc32)
        size = HEADER_BYTES + shard.num_tokens * np.dtype(self._dtype).itemsize
        return _wish(shard.tokens_file, size, HEADER_BYTES, shard.tokens_crc32)

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
        layout = json.dumps([[vars(shard) for shard in split.shards] for split in manifest.splits.values()])
        name = hashlib.sha256(f"{manifest.fingerprint} {layout}".encode()).hexdigest()[:24]
        super().__init__(cache_folder() / "remote" / name, manifest)
        self.url = far.url
        self._cache = ShardCache(far, self.path)

    def _open_split(self, name: str) -> TokenSplit:
        record = self._find_record(name)
        dtype, eot_id = self.manifest.dtype, self.manifest.eot_id
        tokens, ends = (_Files(self._cache, record.shards, dtype, documents=kind) for kind in (False, True))
        return RemoteSplit(name, record, tokens, ends, eot_id=eot_id, dtype=dtype)

    def verify(self) -> None:
        """Fetch every shard anew, whatever copies are here, and compare its checksums.

        Raises:
            DataError: Names the damaged file.
        """
        for name in self.manifest.splits:
            if not self.manifest.splits[name].shards:
                continue
            record = self.manifest.splits[name]
            for kind in (False, True):
                files = _Files(self._cache, record.shards, self.manifest.dtype, documents=kind)
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
