"""Checksums: a flipped bit is found before training, once per machine and file.

A flipped bit in the ids is still an id; nothing downstream would notice. Therefore a shard is read through CRC-32
(about 1 GB/s) the first time it is opened; the result is remembered in the cache under path, size and times, and costs
nothing afterwards.
"""

from __future__ import annotations

import hashlib
import json
import os
import zlib
from pathlib import Path

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.manifest import ShardRecord
from gpt_lightning.data.shard_file import HEADER_BYTES, repair_advice
from gpt_lightning.errors import DataError

_READ_BYTES = 1 << 22


def verify_shard(folder: Path, shard: ShardRecord) -> None:
    """Compare the checksums of both files of a shard with the manifest.

    Raises:
        DataError: Names the file, the checksum expected and the one found.
    """
    _verify_file(folder / shard.tokens_file, HEADER_BYTES, shard.tokens_crc32)
    _verify_file(folder / shard.documents_file, 0, shard.documents_crc32)


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


def verify_once(folder: Path, shards: list[ShardRecord]) -> None:
    """Verify the shards that this machine has not verified since they last changed.

    Raises:
        DataError: As ``verify_shard``.
    """
    folder = folder.resolve()
    memory = cache_folder() / "verified" / f"{hashlib.sha256(str(folder).encode()).hexdigest()[:24]}.json"
    known = _recall(memory)
    states = {shard.tokens_file: _state(folder, shard) for shard in shards}
    unknown = [shard for shard in shards if known.get(shard.tokens_file) != states[shard.tokens_file]]
    for shard in unknown:
        verify_shard(folder, shard)
    if unknown:
        _remember(memory, {**known, **states})


def _state(folder: Path, shard: ShardRecord) -> list[int]:
    """Changes whenever a file or its expected checksum does; ctime, unlike mtime, cannot be set back."""
    numbers = [shard.tokens_crc32, shard.documents_crc32]
    for name in (shard.tokens_file, shard.documents_file):
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
    temporary = memory.with_suffix(f".{os.getpid()}")
    try:
        memory.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_text(json.dumps(states), encoding="utf-8")
        os.replace(temporary, memory)
    except OSError:
        return  # a cache that cannot be written only means verifying again next time
