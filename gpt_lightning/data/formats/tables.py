"""Tables as text: .csv and .tsv with a header line, quotes as in RFC 4180.

Not divided into spans: whether a line end lies inside quotes is known only from the beginning of the file.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import ClassVar

from gpt_lightning.data.files import OpenFile, decode
from gpt_lightning.data.formats.fields import TextField, shorten
from gpt_lightning.data.readers import Document, LineFileReader, Span
from gpt_lightning.errors import DataError

# Python refuses fields over 128 KB unless told otherwise; a document is often longer.
csv.field_size_limit(2**31 - 1)


class CsvReader(LineFileReader):
    """Rows behind a header line; a column, or a template of several, is the document."""

    suffixes = (".csv",)
    delimiter: ClassVar[str] = ","

    def list_spans(self, target_bytes: int) -> list[Span]:
        """Undivided."""
        return [self._whole()]

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        field = TextField(self.reading.text_field)
        used = 0

        def texts() -> Iterator[str]:
            nonlocal used
            for line in self.iterate_lines(opened, span):
                used += line.num_bytes
                yield decode(line.content, self.codec, self.name, line.offset)

        # strict: a quote that is never closed would otherwise swallow the rest of the file into one document.
        rows = csv.reader(texts(), delimiter=self.delimiter, strict=True)
        header: list[str] | None = None
        while (row := self._next(rows)) is not None:
            if header is None or not row:
                header = header or self._check_header(row, field) or None
                continue
            place = f"{self.name}:{rows.line_num}"
            if len(row) != len(header):
                raise DataError(
                    f"{place} has {len(row)} cells under a header of {len(header)}",
                    got=shorten(self.delimiter.join(row)),
                    fix="Put cells with commas, tabs or line ends into quotes.",
                )
            yield Document(field.pick(dict(zip(header, row, strict=True)), place), place, used)
            used = 0

    def _check_header(self, header: list[str], field: TextField) -> list[str]:
        twice = [name for name in field.fields if header.count(name) > 1]
        if twice:
            raise DataError(
                f"{self.name} has several columns of the same name",
                got=twice[0],
                fix="Rename one of them in the first line, or set data.text_field to another.",
            )
        return header

    def _next(self, rows: Iterator[list[str]]) -> list[str] | None:
        try:
            return next(rows, None)
        except csv.Error as error:
            raise DataError(
                f"{self.name}:{getattr(rows, 'line_num', 0)} is not a table ({error})",
                allowed='cells with line ends or quotes as "..." with "" for a quote',
                fix="Mend the quotes, or use .jsonl.",
            ) from error


class TsvReader(CsvReader):
    """The same with tabs."""

    suffixes = (".tsv",)
    delimiter = "\t"
