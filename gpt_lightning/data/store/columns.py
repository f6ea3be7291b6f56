"""What stands in a store beside the tokens: columns, one file per shard and column.

``NAME-SPLIT-NNNNN.bin`` holds plain little-endian numbers without a header, in the order of the tokens (``per`` token)
or of the documents (``per`` document, ``width`` numbers each). Loss marks take a byte per token: packed as bits they
would take an eighth, but could not be copied in runs like the ids they belong to.

A store without columns is what it was before there were any (format 1), to the byte.
"""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Literal

import numpy as np
import numpy.typing as npt

from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import fsync_file

IGNORED = -100
"""What fills signed columns where there is nothing, as ``batch.IGNORE_INDEX``; others are filled with 0."""
ENDS = "ends"
"""Column that the windows add: where in its row each document ends (position of its last token)."""
MARKS = "marks"
"""Token column: 1 where a token is one that the model shall learn to write, 0 where it is given to it."""
_RESERVED = ("tokens", "docs", ENDS)


@dataclass(frozen=True)
class Column:
    """One column.

    Attributes:
        name: In ``Batch.columns`` and in the file's name.
        per: ``token`` or ``document``.
        dtype: ``uint8``, ``int32`` or ``float32``.
        width: Numbers for each document; 1 for token columns.
    """

    name: str
    per: Literal["token", "document"]
    dtype: str
    width: int = 1

    def __post_init__(self) -> None:
        assert self.name not in _RESERVED
        assert self.per == "document" or self.width == 1

    @property
    def stored(self) -> np.dtype[Any]:
        """Little-endian on every machine."""
        return np.dtype(self.dtype).newbyteorder("<")

    @property
    def fill(self) -> int:
        """What stands where there is no token or document: ``IGNORED`` in signed columns, 0 in others."""
        return IGNORED if np.dtype(self.dtype).kind == "i" else 0

    def count(self, num_tokens: int, num_documents: int) -> int:
        """Numbers for so many tokens in so many documents."""
        return num_tokens if self.per == "token" else num_documents * self.width

    def shape(self, values: Any) -> npt.NDArray[Any]:
        """Values as stored: ``(tokens,)`` or ``(documents, width)``."""
        array = np.asarray(values, dtype=self.stored)
        return array if self.per == "token" else array.reshape(-1, self.width)


@dataclass(frozen=True)
class ColumnRecord:
    """The file of one column of one shard, and the CRC-32 of its content."""

    file: str
    crc32: int


@dataclass(frozen=True)
class LayoutRecord:
    """What the documents of a store are, for those who train on them.

    Attributes:
        name: Class of the layout, e.g. ``Labelled``.
        columns: What stands beside the tokens.
        labels: Names of the classes; a label is its place here. Empty where there are none.
        rows_per_sample: Rows that belong together and follow each other: 2 for pairs of chosen and rejected.
        mismatched: Whether the second of them is made when it is read: the prompt with another document's answer.
        longest: Tokens of the longest document, end-of-text included.
        cut: What was shortened to fit, or left out where it could not be, by what was done.
        leaks: Documents of each other split, how many are also in training, and how many nearly.
        chat_format: How a conversation is written (``marked`` or ``plain``); empty where there is none.
    """

    name: str
    columns: tuple[Column, ...]
    labels: tuple[str, ...] = ()
    rows_per_sample: int = 1
    mismatched: bool = False
    longest: int = 0
    cut: Mapping[str, int] = field(default_factory=dict)
    leaks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    chat_format: str = ""

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> LayoutRecord:
        """From the JSON of a manifest."""
        columns = tuple(Column(**column) for column in data["columns"])
        return cls(**{**data, "columns": columns, "labels": tuple(data["labels"])})

    def content(self) -> dict[str, Any]:
        """What belongs to the identity of the data: the same tokens under other labels are other data."""
        columns = [[column.name, column.per, column.dtype, column.width] for column in self.columns]
        rows = {"rows_per_sample": self.rows_per_sample, "mismatched": self.mismatched}
        return {"columns": columns, "labels": list(self.labels), **rows}


class ColumnWriter:
    """Writes the columns of one split, shard after shard.

    Args:
        folder: Where the files go.
        split: Part of their names.
        columns: Which.
    """

    def __init__(self, folder: Path, split: str, columns: Sequence[Column]) -> None:
        self._folder, self._split, self._columns = folder, split, columns
        self._sha256 = {column.name: hashlib.sha256() for column in columns}
        self._crc32: dict[str, int] = {}
        self._files: dict[str, IO[bytes]] = {}

    def write(self, values: Mapping[str, npt.NDArray[Any]], number: int) -> None:
        """Append to the shard of this number.

        Args:
            values: By name, see ``Column.shape``.
            number: Of the shard.
        """
        for column in self._columns:
            if column.name not in self._files:
                self._files[column.name] = (self._folder / self._name(column, number)).open("wb")
            data = column.shape(values[column.name]).tobytes()
            self._files[column.name].write(data)
            self._sha256[column.name].update(data)
            self._crc32[column.name] = zlib.crc32(data, self._crc32.get(column.name, 0))

    def finish(self, number: int) -> dict[str, ColumnRecord]:
        """Complete the files of a shard."""
        for file in self._files.values():
            fsync_file(file)
        self.close()
        records = {c.name: ColumnRecord(self._name(c, number), self._crc32[c.name]) for c in self._columns}
        self._crc32 = {}
        return records

    def digests(self) -> dict[str, str]:
        """SHA-256 (hex) of each column of the split, however it is cut into shards."""
        return {name: digest.hexdigest() for name, digest in self._sha256.items()}

    def close(self) -> None:
        """Close what is open."""
        for file in self._files.values():
            file.close()
        self._files = {}

    def _name(self, column: Column, number: int) -> str:
        return f"{column.name}-{self._split}-{number:05d}.bin"


def check_labels(record: LayoutRecord | None, labels: Sequence[str], *, owner: str = "The checkpoint") -> None:
    """The classes of a store must be those that a model was trained on, in the same order.

    Args:
        record: Of the store; None = text without labels.
        labels: Of the model.
        owner: Who the model is, as the start of the message.

    Raises:
        DataError: They differ: shows the first place where they do.
    """
    found = record.labels if record is not None else ()
    if tuple(labels) == tuple(found):
        return
    if sorted(labels) == sorted(found):
        problem, fix = "in another order", f"Set --data.layout.labels {list(labels)}."
    else:
        problem, fix = "others", "Prepare data of the same labels, or train a new head."
    raise DataError(
        f"{owner} was trained with the labels {_show(labels)}, and the store's are {problem}",
        got=_show(found),
        allowed=_show(labels),
        fix=fix,
    )


def check_columns(record: LayoutRecord | None, names: Sequence[str], *, owner: str) -> None:
    """Whoever needs columns must find them in the store.

    Args:
        record: Of the store; None = text without columns.
        names: Of the columns.
        owner: Who needs them, as the start of the message.

    Raises:
        DataError: Names what is missing, and the layout the store has.
    """
    known = [column.name for column in record.columns] if record is not None else []
    if missing := [name for name in names if name not in known]:
        found = record.name if record is not None else "running text"
        raise DataError(
            f"{owner} needs the column {missing[0]}, and the store has none of that name",
            got=f"{found} with {', '.join(known) or 'no column'}",
            fix="Set --data.layout to one that has it.",
        )


def _show(labels: Sequence[str]) -> str:
    shown = ", ".join(labels[:6]) + (f" and {len(labels) - 6} more" if len(labels) > 6 else "")
    return shown or "none"
