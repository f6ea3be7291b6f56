"""The two files of a shard, byte by byte.

``tokens-SPLIT-NNNNN.bin`` is what llm.c and modded-nanogpt read: 256 little-endian int32 (magic, version, number of
tokens, zeros), then the ids. Magic 20240520 version 1 for uint16 (GPT-2), 20240801 version 7 for uint32 (Llama 3).
``docs-SPLIT-NNNNN.idx`` holds one little-endian uint64 per document: where it ends, in tokens from the shard's start.

A file is checked against the manifest when it is opened: its size (truncation) and its header. The ids themselves are
checked by ``verification``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from gpt_lightning.data.manifest import ShardRecord
from gpt_lightning.data.mapping import MappedFile
from gpt_lightning.errors import DataError

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
