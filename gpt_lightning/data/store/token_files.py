"""Token files that other programs wrote, as memory-mapped arrays; nothing is copied or converted.

    LlmC        llm.c, modded-nanogpt   NAME.bin             256 int32 (magic, version, count), then the ids
    NanoGPT     nanoGPT                 NAME.bin             ids as uint16 (or uint32) and nothing else
    Megatron    Megatron-LM             NAME.bin + NAME.idx  ids; the index has dtype, lengths, documents
    Datatrove   datatrove               NAME.ds (+ .index)   ids; the index has the ends of the documents

Without a header nothing says how wide the ids are; ``data.dtype`` does, or the numbers themselves.

The first two do not say where documents end; there, the end-of-text token does, which llm.c writes in front of a
document and nanoGPT behind it.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.store.mapping import MappedFile
from gpt_lightning.errors import DataError

_HEADER_BYTES = 1024
_LLM_C_DTYPES = {(20240520, 1): "<u2", (20240801, 7): "<u4"}
_MEGATRON_MAGIC = b"MMIDIDX\x00\x00"
_MEGATRON_DTYPES = {4: "<u4", 8: "<u2"}
"""Code 4 is int32; ids are not negative, so the bytes are those of uint32."""
_CHUNK = 1 << 24
_HIGHEST_HALF = 64
"""Ids of real vocabularies are below 64 x 65,536."""
_FEWEST_TO_TELL = 32


@dataclass(frozen=True)
class TokenFile:
    """One opened file.

    Attributes:
        path: The file with the ids.
        layout: Name of its format.
        ids: The ids, uint16 or uint32; none in a shard that was left empty.
        ends: Where each document ends; None = to be found by ``find_ends``.
    """

    path: Path
    layout: str
    ids: MappedFile
    ends: npt.NDArray[np.int64] | None = None

    @property
    def tokens(self) -> npt.NDArray[Any]:
        """The ids, mapped."""
        return self.ids.load()


@dataclass(frozen=True)
class Width:
    """What is known of the ids beside the files.

    Attributes:
        vocab_size: Of the tokenizer that made them.
        dtype: ``uint16`` or ``uint32``, as the user says; None = not said.
    """

    vocab_size: int
    dtype: str | None = None


class TokenFormat(ABC):
    """A layout of token files."""

    @abstractmethod
    def recognizes(self, path: Path) -> bool:
        """Whether ``path``, an existing file, is of this format."""

    @abstractmethod
    def open(self, path: Path, width: Width) -> TokenFile:
        """Look at the file.

        Args:
            path: The file.
            width: For formats that do not say it.

        Raises:
            DataError: It is truncated, or of a kind that cannot be read.
        """


class LlmC(TokenFormat):
    """Header with a magic number."""

    def recognizes(self, path: Path) -> bool:
        """By magic and version."""
        return path.suffix == ".bin" and _read_llm_c_header(path)[:2] in _LLM_C_DTYPES

    def open(self, path: Path, width: Width) -> TokenFile:
        """The size must be what the header says."""
        magic, version, count = _read_llm_c_header(path)
        tokens = _find(path, _LLM_C_DTYPES[magic, version], _HEADER_BYTES, count)
        return TokenFile(path, type(self).__name__, tokens)


def _read_llm_c_header(path: Path) -> tuple[int, int, int]:
    with path.open("rb") as file:
        header = file.read(12)
    return struct.unpack("<3i", header) if len(header) == 12 else (0, 0, 0)


class Megatron(TokenFormat):
    """Ids beside an index."""

    def recognizes(self, path: Path) -> bool:
        """By the index beside it."""
        return path.suffix == ".bin" and path.with_suffix(".idx").is_file()

    def open(self, path: Path, width: Width) -> TokenFile:
        """Sequences must lie one behind the other, as Megatron's own tools write them."""
        index = path.with_suffix(".idx")
        data = index.read_bytes()
        if data[:9] != _MEGATRON_MAGIC or len(data) < 34:
            raise DataError(
                f"{index} is no Megatron index", got=data[:9], allowed=repr(_MEGATRON_MAGIC), fix="Build it again."
            )
        version, code, sequences, borders = struct.unpack("<QBQQ", data[9:34])
        if version != 1 or code not in _MEGATRON_DTYPES:
            raise DataError(
                f"{index} has a version and token type that cannot be read",
                got=(version, code),
                allowed="version 1 with type 4 (int32) or 8 (uint16)",
                fix="Build it again with such ids.",
            )
        if len(data) < 34 + 12 * sequences + 8 * borders:
            raise DataError(f"{index} is truncated", got=f"{len(data)} bytes", fix="Copy it again.")
        lengths = np.frombuffer(data, "<i4", sequences, 34).astype(np.int64)
        pointers = np.frombuffer(data, "<i8", sequences, 34 + 4 * sequences)
        documents = np.frombuffer(data, "<i8", borders, 34 + 12 * sequences)
        dtype = np.dtype(_MEGATRON_DTYPES[code])
        ends = np.cumsum(lengths)
        if (pointers != (ends - lengths) * dtype.itemsize).any():
            raise DataError(
                f"{index} does not list sequences one behind the other",
                fix="Merge or build the data set again with Megatron's tools.",
            )
        tokens = _find(path, dtype.str, 0, int(ends[-1]) if sequences else 0)
        # documents lists the first sequence of each document, and at the end the number of sequences.
        last = np.unique(documents[documents > 0]) - 1
        return TokenFile(path, type(self).__name__, tokens, ends[last] if len(last) else ends[-1:])


class Datatrove(TokenFormat):
    """Ids beside the ends of the documents."""

    def recognizes(self, path: Path) -> bool:
        """By suffix."""
        return path.suffix == ".ds"

    def open(self, path: Path, width: Width) -> TokenFile:
        """The size of an id follows from the last end."""
        index, mask = Path(f"{path}.index"), Path(f"{path}.loss")
        if not index.is_file():
            raise DataError(f"{index} is missing", fix=f"Copy it beside {path.name}.")
        if mask.exists():
            raise DataError(
                f"{mask.name} beside {path} excludes tokens from the loss, which is not supported",
                fix="Remove it to train on all tokens.",
            )
        ends = np.fromfile(index, dtype="<u8").astype(np.int64)
        total = int(ends[-1]) if len(ends) else 0
        size = path.stat().st_size
        num_bytes = next((num_bytes for num_bytes in (2, 4) if size == num_bytes * total), None)
        if num_bytes is None:
            raise DataError(
                f"{path} does not fit its index",
                got=f"{size} bytes",
                allowed=f"2 or 4 bytes for each of {total} tokens",
                fix="Copy both again.",
            )
        return TokenFile(path, type(self).__name__, _find(path, f"<u{num_bytes}", 0, total), ends)


class NanoGPT(TokenFormat):
    """Ids without any header: uint16, as nanoGPT writes them, or uint32 where that is said or plain to see."""

    def recognizes(self, path: Path) -> bool:
        """Whatever else ends in .bin."""
        return path.suffix == ".bin"

    def open(self, path: Path, width: Width) -> TokenFile:
        """A whole number of ids."""
        size = path.stat().st_size
        dtype = width.dtype or ("uint32" if _is_wide(path, width) else "uint16")
        num_bytes = np.dtype(dtype).itemsize
        if size % num_bytes:
            raise DataError(
                f"{path} has {'an odd number of' if size % 2 else size} bytes, so it cannot be {dtype} ids",
                got=size,
                allowed=f"a multiple of {num_bytes}",
                fix="Copy it again." if width.dtype is None else "Correct --data.dtype, or copy it again.",
            )
        return TokenFile(path, type(self).__name__, _find(path, f"<u{num_bytes}", 0, size // num_bytes))


def _is_wide(path: Path, width: Width) -> bool:
    """Whether ids without a header are uint32: read as uint16, every second number would be next to nothing.

    In uint16 text the numbers at even and at odd places are distributed alike, so that those at odd places do not all
    stay below the median of the others: the chance is 2 to the power of minus their number.

    Raises:
        DataError: They look like uint32 but are too few to tell, or the tokenizer does not have them.
    """
    size = path.stat().st_size
    if size % 4 or size == 0:
        return False
    halves = np.memmap(path, "<u2", "r").view(np.ndarray)
    low, high = halves[0::2], halves[1::2]
    limit = min(float(np.median(low[:_CHUNK])), _HIGHEST_HALF)
    # In text this ends with the first look.
    if any((high[start : start + _CHUNK] >= limit).any() for start in range(0, len(high), _CHUNK)):
        return False
    ids = np.memmap(path, "<u4", "r").view(np.ndarray)
    largest = max(int(ids[start : start + _CHUNK].max()) for start in range(0, len(ids), _CHUNK))
    if len(high) >= _FEWEST_TO_TELL and largest < width.vocab_size:
        return True
    raise DataError(
        f"{path} does not say how wide its ids are, and every second number is below {limit:g}: they look like uint32 "
        f"ids up to {largest}",
        got=f"{len(ids)} such ids, a tokenizer of {width.vocab_size}",
        fix="Set --data.dtype to uint32 or uint16, and --data.tokenizer to the one that made them.",
    )


FORMATS: tuple[TokenFormat, ...] = (Megatron(), LlmC(), NanoGPT(), Datatrove())
"""In the order in which they are asked; nanoGPT takes what has no other sign."""


def _find(path: Path, dtype: str, offset: int, count: int) -> MappedFile:
    expected, found = offset + count * np.dtype(dtype).itemsize, path.stat().st_size
    if found != expected:
        what = "truncated" if found < expected else "too long"
        raise DataError(
            f"{path} is {what}: {expected} bytes expected, {found} found", fix="Copy it again, with its index if any."
        )
    return MappedFile(path, dtype, offset, count)


def find_ends(tokens: npt.NDArray[Any], eot_id: int) -> npt.NDArray[np.int64]:
    """Ends of the documents of a file without an index, ``(documents,)``; the last is the number of tokens.

    Args:
        tokens: All ids of the file.
        eot_id: End-of-text. If the file begins with it, it opens documents (llm.c); else it closes them (nanoGPT).
    """
    places = [
        start + np.flatnonzero(tokens[start : start + _CHUNK] == eot_id) for start in range(0, len(tokens), _CHUNK)
    ]
    ends = np.concatenate(places).astype(np.int64) + (0 if tokens[0] == eot_id else 1)
    return np.append(ends[(ends > 0) & (ends < len(tokens))], len(tokens))
