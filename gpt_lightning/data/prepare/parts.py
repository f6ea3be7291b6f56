"""A part: what one work unit gives to one store, on disk until the store is assembled.

Numbers are kept per piece (a document, or the part of it that went to one split), so that duplicates can be dropped
and shards be counted exactly when all parts are known. The file is an uncompressed ``.npz``: checksummed, and read
without executing anything.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.prepare.cleaning import is_chinese
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import replacing

Column = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Part:
    """Pieces of one split in order.

    Attributes:
        ids: Their ids one behind the other, each with end-of-text in front, ``(tokens,)``.
        num_tokens: Ids of each piece, ``(pieces,)``.
        text_bytes: UTF-8 bytes of each, ``(pieces,)``.
        num_characters: Characters of each, ``(pieces,)``.
        chinese: 1 where at least half of the characters are Chinese, ``(pieces,)``.
        documents: Number of the document of each within the unit, ``(pieces,)``.
    """

    ids: npt.NDArray[Any]
    num_tokens: Column
    text_bytes: Column
    num_characters: Column
    chinese: Column
    documents: Column

    def select(self, keep: npt.NDArray[np.bool_]) -> Part:
        """Only the pieces where ``keep``, ``(pieces,)``, is true."""
        if keep.all():
            return self
        columns = {column.name: getattr(self, column.name)[keep] for column in fields(self) if column.name != "ids"}
        return Part(ids=self.ids[np.repeat(keep, self.num_tokens)], **columns)


class PartBuilder:
    """Collects the pieces of one split of one unit.

    Args:
        eot_id: Id in front of every piece.
        dtype: Of the ids.
    """

    def __init__(self, eot_id: int, dtype: np.dtype[Any]) -> None:
        self._eot = np.array([eot_id], dtype=dtype)
        self._ids: list[npt.NDArray[Any]] = [self._eot[:0]]
        self._rows: list[tuple[int, int, int, int, int]] = []

    def add(self, ids: npt.NDArray[Any], text: str, document: int) -> None:
        """Append a piece."""
        self._ids += (self._eot, ids)
        num_bytes = len(text) if text.isascii() else len(text.encode("utf-8"))
        self._rows.append((len(ids) + 1, num_bytes, len(text), int(is_chinese(text)), document))

    def build(self) -> Part:
        """The part so far."""
        table = np.array(self._rows, dtype=np.int64).reshape(-1, 5).T
        return Part(np.concatenate(self._ids), *table)


def write_parts(path: Path, parts: dict[str, Part], digests: npt.NDArray[np.uint64]) -> int:
    """Write the parts of a unit, whole or not at all.

    Args:
        path: The file.
        parts: By split.
        digests: Hash of each document of the unit, ``(documents, 2)``; no rows where duplicates are not looked for.

    Returns:
        The size of the file in bytes.
    """
    arrays = {
        f"{split}.{column.name}": getattr(part, column.name) for split, part in parts.items() for column in fields(part)
    }
    with replacing(path) as file:
        np.savez(file, digests=digests, **arrays)
    return path.stat().st_size


def read_parts(path: Path, splits: Sequence[str]) -> dict[str, Part]:
    """The parts by split.

    Raises:
        DataError: The file was damaged since it was written.
    """
    with _open(path) as file:
        return {
            split: Part(**{column.name: file[f"{split}.{column.name}"] for column in fields(Part)}) for split in splits
        }


def read_digests(path: Path) -> npt.NDArray[np.uint64]:
    """The hashes of the unit's documents, ``(documents, 2)``.

    Raises:
        DataError: The file was damaged since it was written.
    """
    with _open(path) as file:
        return np.asarray(file["digests"])


@contextmanager
def _open(path: Path) -> Iterator[Any]:
    try:
        with np.load(path, allow_pickle=False) as file:
            yield file
    except (zipfile.BadZipFile, ValueError, KeyError, EOFError) as error:
        raise DataError(
            f"The intermediate file {path} is damaged ({type(error).__name__})",
            fix=f"Delete the folder {path.parent} and run the same command again.",
        ) from error
