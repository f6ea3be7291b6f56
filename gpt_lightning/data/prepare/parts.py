"""A part: what one work unit gives to one store, on disk until the store is assembled.

Numbers are kept per piece (a document, or the part of it that went to one split), so that duplicates can be dropped
and shards be counted exactly when all parts are known. The file is an uncompressed ``.npz``: checksummed, and read
without executing anything.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.prepare.cleaning import is_chinese
from gpt_lightning.data.store.columns import Column
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import replacing

Counts = npt.NDArray[np.int64]
_BESIDE = ("token_columns", "document_columns")


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
        token_columns: What stands beside the ids, by name, ``(tokens,)``.
        document_columns: What stands beside the pieces, by name, ``(pieces, width)``.
    """

    ids: npt.NDArray[Any]
    num_tokens: Counts
    text_bytes: Counts
    num_characters: Counts
    chinese: Counts
    documents: Counts
    token_columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict)
    document_columns: dict[str, npt.NDArray[Any]] = field(default_factory=dict)

    @property
    def columns(self) -> dict[str, npt.NDArray[Any]]:
        """All columns by name."""
        return self.token_columns | self.document_columns

    def select(self, keep: npt.NDArray[np.bool_]) -> Part:
        """Only the pieces where ``keep``, ``(pieces,)``, is true."""
        if keep.all():
            return self
        counts = {name: getattr(self, name)[keep] for name in _COUNTS}
        tokens = np.repeat(keep, self.num_tokens)
        return Part(
            ids=self.ids[tokens],
            **counts,
            token_columns={name: values[tokens] for name, values in self.token_columns.items()},
            document_columns={name: values[keep] for name, values in self.document_columns.items()},
        )


_COUNTS = [each.name for each in fields(Part) if each.name not in ("ids", *_BESIDE)]


class PartBuilder:
    """Collects the pieces of one split of one unit.

    Args:
        eot_id: Id in front of every piece.
        dtype: Of the ids.
        columns: What stands beside them; beside the id in front what fills a column.
    """

    def __init__(self, eot_id: int, dtype: np.dtype[Any], columns: Sequence[Column] = ()) -> None:
        self._columns = columns
        self._beside: dict[str, list[npt.NDArray[Any]]] = {each.name: [each.shape([])] for each in columns}
        self._eot = np.array([eot_id], dtype=dtype)
        self._ids: list[npt.NDArray[Any]] = [self._eot[:0]]
        self._rows: list[tuple[int, int, int, int, int]] = []

    def add(self, ids: npt.NDArray[Any], text: str, document: int, columns: Mapping[str, Any] | None = None) -> None:
        """Append a piece.

        Args:
            ids: Without end-of-text.
            text: Behind them.
            document: Its number in the unit.
            columns: By name, see ``Encoded.columns``.
        """
        self._ids += (self._eot, ids)
        for column in self._columns:
            values = (columns or {})[column.name]
            own = np.concatenate([[column.fill], values]) if column.per == "token" else values
            self._beside[column.name].append(column.shape(own))
        num_bytes = len(text) if text.isascii() else len(text.encode("utf-8"))
        self._rows.append((len(ids) + 1, num_bytes, len(text), int(is_chinese(text)), document))

    def build(self) -> Part:
        """The part so far."""
        table = np.array(self._rows, dtype=np.int64).reshape(-1, 5).T
        whole = {each.name: (each.per, np.concatenate(self._beside[each.name])) for each in self._columns}
        counts: dict[str, Any] = dict(zip(_COUNTS, table, strict=True))
        return Part(
            # Ids that a layout put together may be wider than they are stored.
            ids=np.concatenate(self._ids).astype(self._eot.dtype, copy=False),
            **counts,
            token_columns={name: values for name, (per, values) in whole.items() if per == "token"},
            document_columns={name: values for name, (per, values) in whole.items() if per == "document"},
        )


@dataclass(frozen=True)
class Hashes:
    """Hashes of the documents of a unit, ``(documents, 2)`` each; no rows where they are not looked at.

    Attributes:
        digests: Of the text, for duplicates.
        keys: Of what may not stand on two sides of a split.
    """

    digests: npt.NDArray[np.uint64]
    keys: npt.NDArray[np.uint64]


def write_parts(path: Path, parts: dict[str, Part], hashes: Hashes) -> int:
    """Write the parts of a unit, whole or not at all.

    Args:
        path: The file.
        parts: By split.
        hashes: Of its documents.

    Returns:
        The size of the file in bytes.
    """
    arrays = {f"{split}.{name}": getattr(part, name) for split, part in parts.items() for name in ("ids", *_COUNTS)}
    for split, part in parts.items():
        for kind in _BESIDE:
            arrays |= {f"{split}.{kind}.{name}": values for name, values in getattr(part, kind).items()}
    if len(hashes.keys):
        arrays["keys"] = hashes.keys
    with replacing(path) as file:
        np.savez(file, digests=hashes.digests, **arrays)
    return path.stat().st_size


def read_parts(path: Path, splits: Sequence[str]) -> dict[str, Part]:
    """The parts by split.

    Raises:
        DataError: The file was damaged since it was written.
    """
    with _open(path) as file:
        return {split: _read_part(file, split) for split in splits}


def _read_part(file: Any, split: str) -> Part:
    def beside(kind: str) -> dict[str, npt.NDArray[Any]]:
        front = f"{split}.{kind}."
        return {name.removeprefix(front): file[name] for name in file.files if name.startswith(front)}

    known: dict[str, Any] = {name: file[f"{split}.{name}"] for name in ("ids", *_COUNTS)}
    return Part(**known, token_columns=beside("token_columns"), document_columns=beside("document_columns"))


def read_hashes(path: Path) -> Hashes:
    """The hashes of the unit's documents.

    Raises:
        DataError: The file was damaged since it was written.
    """
    with _open(path) as file:
        none = np.empty((0, 2), dtype=np.uint64)
        return Hashes(np.asarray(file["digests"]), np.asarray(file["keys"]) if "keys" in file.files else none)


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
