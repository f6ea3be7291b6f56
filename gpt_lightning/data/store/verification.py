"""Checksums: a flipped bit is found before training, once per machine and file.

A flipped bit in the ids is still an id; nothing downstream would notice. Therefore a shard is read through CRC-32
(about 1 GB/s) the first time it is opened; the result is remembered in the cache under path, size and times, and costs
nothing afterwards. The first gigabyte is read before training begins, the rest of a large split by a thread beside it.
"""

from __future__ import annotations

import hashlib
import json
import threading
import zlib
from pathlib import Path

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.store.manifest import ShardRecord
from gpt_lightning.data.store.shard_files import HEADER_BYTES, repair_advice
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import write_text_atomically

_READ_BYTES = 1 << 22
AT_ONCE_BYTES = 1 << 30
"""About a second's reading."""


def verify_shard(folder: Path, shard: ShardRecord) -> None:
    """Compare the checksums of all files of a shard with the manifest.

    Raises:
        DataError: Names the file, the checksum expected and the one found.
    """
    _verify_file(folder / shard.tokens_file, HEADER_BYTES, shard.tokens_crc32)
    _verify_file(folder / shard.documents_file, 0, shard.documents_crc32)
    for column in shard.columns.values():
        _verify_file(folder / column.file, 0, column.crc32)


def _verify_file(path: Path, start: int, expected: int) -> None:
    found = 0
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_READ_BYTES):
            found = zlib.crc32(block, found)
    if found != expected:
        raise DataError(
            f"{path} is damaged: CRC-32 {expected:08x} expected, {found:08x} found", fix=repair_advice(path.parent)
        )


def verify_once(folder: Path, shards: list[ShardRecord], *, at_once: int | None = None) -> ChecksumCache:
    """Verify the shards that this machine has not verified since they last changed.

    Args:
        folder: The store.
        shards: Of one split, in order.
        at_once: Bytes to read before returning, None = ``AT_ONCE_BYTES``; what is left is read by a thread, while
            training has begun.

    Raises:
        DataError: As ``verify_shard``.
    """
    look = ChecksumCache(folder, shards)
    look.run(AT_ONCE_BYTES if at_once is None else at_once)
    if look.num_missing:
        threading.Thread(target=look.run_behind, name="verification", daemon=True).start()
    return look


class ChecksumCache:
    """The first reading of a split's shards on this machine: what was verified, and what was found."""

    def __init__(self, folder: Path, shards: list[ShardRecord]) -> None:
        self._folder = folder.resolve()
        self._memory = _memory_of(self._folder)
        known = _recall(self._memory)
        self._missing = [shard for shard in shards if known.get(shard.tokens_file) != _state(self._folder, shard)]
        self._error: DataError | None = None

    @property
    def num_missing(self) -> int:
        """Shards not verified yet."""
        return len(self._missing)

    def check(self) -> None:
        """Raise DataError when the reading in the background has found a damaged shard."""
        if self._error is not None:
            raise self._error

    def run(self, num_bytes: int) -> None:
        """Verify shards until so many bytes were read; each that is whole is remembered.

        Raises:
            DataError: As ``verify_shard``.
        """
        verified = {}
        try:
            while self._missing and num_bytes > 0:
                shard = self._missing[0]
                # Taken before reading: a file that changes meanwhile is unknown next time.
                state = _state(self._folder, shard)
                verify_shard(self._folder, shard)
                verified[shard.tokens_file] = state
                num_bytes -= (self._folder / shard.tokens_file).stat().st_size
                del self._missing[0]
        finally:
            if verified:
                _remember(self._memory, {**_recall(self._memory), **verified})

    def run_behind(self) -> None:
        """Verify the rest, a shard at a time, and keep what goes wrong for ``check``."""
        try:
            while self._missing:
                self.run(1)
        except DataError as error:
            self._error = DataError(
                "Damage was found while training went on, so what was trained since this start is in doubt: "
                + str(error).rstrip(".")
            )
        except OSError:
            return  # a file that vanished under a running program; whoever reads it will say so


def forget_verified(folder: Path) -> None:
    """Remove what is remembered of a store that is gone for good."""
    _memory_of(folder.resolve()).unlink(missing_ok=True)


def _memory_of(folder: Path) -> Path:
    return cache_folder() / "verified" / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:24]}.json"


def _state(folder: Path, shard: ShardRecord) -> list[int]:
    """Changes whenever a file or its expected checksum does; ctime, unlike mtime, cannot be set back."""
    columns = shard.columns.values()
    numbers = [shard.tokens_crc32, shard.documents_crc32, *(column.crc32 for column in columns)]
    for name in (shard.tokens_file, shard.documents_file, *(column.file for column in columns)):
        status = (folder / name).stat()
        numbers += [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return numbers


def _recall(memory: Path) -> dict[str, object]:
    try:
        known = json.loads(memory.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return known if isinstance(known, dict) else {}


def _remember(memory: Path, states: dict[str, object]) -> None:
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        write_text_atomically(memory, json.dumps(states))
    except OSError:
        return  # a cache that cannot be written only means verifying again next time
