"""Tables as text with a header line: .csv, quotes as in RFC 4180; .tsv, without quotes, as IANA has it.

Not divided into spans: whether a line end lies inside quotes is known only from the beginning of the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from typing import ClassVar

from gpt_lightning.data.readers.bad_records import BadRecord
from gpt_lightning.data.readers.files import OpenFile, decode
from gpt_lightning.data.readers.formats.records import Picker, shorten
from gpt_lightning.data.readers.readers import Content, Document, LineFileReader, Span
from gpt_lightning.errors import DataError

# Python refuses fields over 128 KB unless told otherwise; a document is often longer.
csv.field_size_limit(2**31 - 1)


@dataclass(frozen=True)
class _Row:
    """A row, or why it is none.

    Attributes:
        number: Of its last line.
        cells: Its cells.
        problem: Why it cannot be read.
    """

    number: int
    cells: list[str]
    problem: BadRecord | None = None


class CsvReader(LineFileReader):
    """Rows behind a header line; a column, or a template of several, is the document."""

    suffixes = (".csv",)
    delimiter: ClassVar[str] = ","
    advice: ClassVar[str] = "Put cells with commas or line ends into quotes."

    def list_spans(self, target_bytes: int) -> list[Span]:
        """Undivided."""
        return [self._whole()]

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        picker = Picker(self.reading)
        used = 0

        def texts() -> Iterator[str]:
            nonlocal used
            for line in self.iterate_lines(opened, span):
                used += line.num_bytes
                yield self._decode(line.content, line.offset)

        header: list[str] | None = None
        for row in self._rows(texts()):
            if header is None:
                header = self._check_header(row, picker) or None
                continue

            def read(row: _Row = row, header: list[str] = header) -> Content | None:
                return self._read(row, header, picker)

            if document := self._document(f"{self.name}:{row.number}", used, read):
                used = 0
                yield document

    def _decode(self, content: bytes, offset: int) -> str:
        try:
            return decode(content, self.codec, self.name, offset)
        except BadRecord:
            if self.reading.bad_records == "refuse":
                raise
            # The rows behind are wanted, so the row is taken out when it is whole.
            return content.decode(self.codec, "surrogateescape")

    def _rows(self, lines: Iterator[str]) -> Iterator[_Row]:
        # strict: a quote that is never closed would otherwise swallow the rest of the file into one document.
        rows = csv.reader(lines, delimiter=self.delimiter, strict=True)
        while True:
            try:
                cells = next(rows)
            except StopIteration:
                return
            except csv.Error as error:
                yield _Row(rows.line_num, [], self._explain(rows.line_num, error))
                continue
            yield _Row(rows.line_num, cells)

    def _explain(self, number: int, error: csv.Error) -> BadRecord:
        # What is open at the end of the file may be all of it: no record that can be left out.
        kind = DataError if "end of data" in str(error) else BadRecord
        problem = kind(
            f"{self.name}:{number} is not a table ({error})",
            got="quotes that do not close" if kind is DataError else "text behind a closing quote",
            allowed='cells with line ends or quotes as "..." with "" for a quote',
            fix="Mend the quotes, or use .jsonl.",
        )
        if not isinstance(problem, BadRecord):
            raise problem from error
        return problem

    def _read(self, row: _Row, header: list[str], picker: Picker) -> Content | None:
        place = f"{self.name}:{row.number}"
        if row.problem is not None:
            raise row.problem
        if not row.cells:
            return None
        if len(row.cells) != len(header):
            raise BadRecord(
                f"{place} has {len(row.cells)} cells under a header of {len(header)}",
                got=shorten(self.delimiter.join(row.cells)),
                fix=self.advice,
            )
        if any("\udc80" <= character <= "\udcff" for cell in row.cells if not cell.isascii() for character in cell):
            raise BadRecord(f"{place} is not {self.reading.encoding.upper()}", got=shorten(ascii(row.cells)))
        return picker.pick(dict(zip(header, row.cells, strict=True)), place)

    def _check_header(self, row: _Row, picker: Picker) -> list[str]:
        if row.problem is not None:
            raise row.problem
        twice = [name for name in picker.fields if row.cells.count(name) > 1]
        if twice:
            raise DataError(
                f"{self.name} has several columns of the same name",
                got=twice[0],
                fix="Rename one of them in the first line, or set data.text_field to another.",
            )
        return row.cells


class TsvReader(CsvReader):
    """The same with tabs, and without quotes: a cell cannot hold tabs or line ends, and a quote is a quote."""

    suffixes = (".tsv",)
    delimiter = "\t"
    advice = "A cell of a .tsv cannot hold tabs or line ends: write such text as .csv or .jsonl."

    def _rows(self, lines: Iterator[str]) -> Iterator[_Row]:
        for number, line in enumerate(lines, start=1):
            text = line.rstrip("\r\n")
            yield _Row(number, text.split("\t") if text else [])
