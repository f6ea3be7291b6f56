"""Columns: .parquet and .arrow, read by pyarrow (extra ``parquet``). Only the columns that are asked for are read."""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from typing import Any

from gpt_lightning.data.readers.bad_records import BadRecord
from gpt_lightning.data.readers.files import OpenFile, is_compressed, open_expanded, spool
from gpt_lightning.data.readers.formats.records import Picker
from gpt_lightning.data.readers.readers import Content, Document, FileReader, Span
from gpt_lightning.errors import DataError
from gpt_lightning.parsing.extras import import_extra

_BATCH_ROWS = 1000


class ParquetReader(FileReader):
    """A document per row; spans are runs of row groups."""

    suffixes = (".parquet",)

    def list_spans(self, target_bytes: int) -> list[Span]:
        """Runs of row groups, as many as fit; all of them when the file can only be read from its beginning."""
        size, _ = self.measure()
        if not self._can_be_entered:
            return [self._whole()]
        with open_expanded(self.file) as opened, self._explained():
            meta = _open_parquet(opened.stream).metadata
            sizes = [meta.row_group(number).total_byte_size for number in range(meta.num_row_groups)]
        # Sizes inside are of expanded columns; progress wants bytes of the file.
        whole = max(1, sum(sizes))
        spans, start, begin, seen = [], 0, 0, 0
        for number, num_bytes in enumerate(sizes):
            seen += num_bytes
            position = seen * size // whole
            if position - begin >= target_bytes or number == len(sizes) - 1:
                spans.append(Span(start, number + 1, position - begin))
                start, begin = number + 1, position
        return spans or [self._whole()]

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        picker = Picker(self.reading)
        with self._stream(opened) as stream:
            with self._explained():
                file = _open_parquet(stream)
                groups = range(span.start, file.metadata.num_row_groups if span.end is None else span.end)
                columns = self._check_columns(picker, file.schema_arrow.names)
                num_rows = sum(file.metadata.row_group(group).num_rows for group in groups)
                row = sum(file.metadata.row_group(group).num_rows for group in range(span.start))
                batches = file.iter_batches(_BATCH_ROWS, row_groups=list(groups), columns=columns)
            yield from self._pick(picker, columns, batches, row, _Shares(span.num_bytes, num_rows))

    @cached_property
    def _can_be_entered(self) -> bool:
        return not is_compressed(self.file) and self.file.can_be_entered()

    def _look(self, opened: OpenFile) -> None:
        """The library says what is wrong with its own formats."""

    @contextmanager
    def _stream(self, opened: OpenFile) -> Iterator[io.BufferedIOBase]:
        """These formats are read from their end, and a file that cannot be entered is therefore copied first."""
        if self._can_be_entered:
            yield opened.stream
            return
        with spool(opened.stream) as copy:
            yield copy

    def _check_columns(self, picker: Picker, names: list[str]) -> list[str]:
        """The columns that hold the fields, ``meta`` for ``meta.text``."""
        columns = {wanted: wanted if wanted in names else wanted.partition(".")[0] for wanted in picker.fields}
        for wanted, column in columns.items():
            if column not in names and picker.text is not None and wanted in picker.required:
                raise picker.text.complain(dict.fromkeys(names), wanted, self.name, DataError)
            if names.count(column) > 1:
                raise DataError(
                    f"{self.name} has several columns of the same name",
                    got=column,
                    fix="Write it again without one of them, or set data.text_field to another.",
                )
        return [column for column in dict.fromkeys(columns.values()) if column in names]

    def _pick(
        self, picker: Picker, columns: list[str], batches: Iterator[Any], row: int, shares: _Shares
    ) -> Iterator[Document]:
        batches = iter(batches)
        while True:
            with self._explained():
                batch = next(batches, None)
            if batch is None:
                return
            values = {name: _to_list(batch.column(name)) for name in columns}
            for number in range(batch.num_rows):
                row += 1
                place = f"{self.name}, row {row}"
                read = partial(_read, picker, values, number, place)
                if document := self._document(place, shares.next(), read):
                    yield document

    @contextmanager
    def _explained(self) -> Iterator[None]:
        pyarrow = import_extra("pyarrow", "parquet")
        try:
            yield
        except (pyarrow.ArrowException, OSError) as error:
            # pyarrow tells some damage as an OSError too; one with a number is the disk's.
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise DataError(
                f"{self.name} is damaged or not {self.suffixes[0]} ({' '.join(str(error).split())[:120]})",
                fix="Copy it again, or give it the suffix of what it is.",
            ) from error


class ArrowReader(ParquetReader):
    """Arrow's own format, as a file or (as the library datasets saves it) as a stream; one span."""

    suffixes = (".arrow",)

    def list_spans(self, target_bytes: int) -> list[Span]:
        """Undivided."""
        return [self._whole()]

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        picker = Picker(self.reading)
        with self._stream(opened) as stream:
            with self._explained():
                names, batches = _open_arrow(stream)
            columns = self._check_columns(picker, names)
            yield from self._pick(picker, columns, batches, 0, _Shares(span.num_bytes, 0))


def _to_list(column: Any) -> Sequence[Any]:
    """The values of a column; one by one, when one of them is not what the column says."""
    try:
        values: Sequence[Any] = column.to_pylist()
    except UnicodeDecodeError:
        return _OneByOne(column)
    return values


class _OneByOne(Sequence[Any]):
    def __init__(self, column: Any) -> None:
        self._column = column

    def __getitem__(self, index: Any) -> Any:
        return self._column[index].as_py()

    def __len__(self) -> int:
        return len(self._column)


def _read(picker: Picker, values: Mapping[str, Sequence[Any]], number: int, place: str) -> Content:
    try:
        record = {name: column[number] for name, column in values.items()}
    except UnicodeDecodeError as error:
        raise BadRecord(
            f"{place} is not UTF-8 at byte {error.start} of its text ({error.reason})",
            got=error.object[error.start : error.start + 4],
            fix="Write the file again from sound text.",
        ) from error
    return picker.pick(record, place)


class _Shares:
    """A span's bytes dealt out evenly to its rows, without loss; all to the first where their number is unknown."""

    def __init__(self, num_bytes: int, num_rows: int) -> None:
        self._num_bytes, self._num_rows, self._row = num_bytes, max(1, num_rows), 0

    def next(self) -> int:
        """Of the next row."""
        row, self._row = self._row, min(self._row + 1, self._num_rows)
        return self._num_bytes * self._row // self._num_rows - self._num_bytes * row // self._num_rows


def _open_parquet(stream: io.BufferedIOBase) -> Any:
    return import_extra("pyarrow.parquet", "parquet").ParquetFile(stream)


def _open_arrow(stream: io.BufferedIOBase) -> tuple[list[str], Iterator[Any]]:
    ipc = import_extra("pyarrow.ipc", "parquet")
    magic = stream.read(6)
    stream.seek(0)
    if magic == b"ARROW1":
        file = ipc.open_file(stream)
        return file.schema.names, (file.get_batch(number) for number in range(file.num_record_batches))
    reader = ipc.open_stream(stream)
    return reader.schema.names, iter(reader)
