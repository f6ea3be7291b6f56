"""JSON: a record per line (.jsonl), or a list of records in one file (.json)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from functools import cached_property, partial
from typing import Any

from gpt_lightning.data.bad_records import BadRecord
from gpt_lightning.data.files import BOM, OpenFile, decode
from gpt_lightning.data.formats.fields import TextField, shorten
from gpt_lightning.data.readers import Document, FileReader, Line, LineFileReader, Span
from gpt_lightning.errors import DataError


def _pick(field: TextField, record: object, place: str) -> str:
    if isinstance(record, dict):
        return field.pick(record, place)
    raise BadRecord(
        f"{place} has no text in the field {field.fields[0]!r}",
        got=type(record).__name__,
        allowed=f'{{"{field.fields[0]}": "..."}}',
        fix="Write one JSON object per record.",
    )


class JsonLinesReader(LineFileReader):
    """One JSON object per line; a field or a template of several is the document. Blank lines are passed over."""

    suffixes = (".jsonl", ".ndjson")

    @cached_property
    def _field(self) -> TextField:
        return TextField(self.reading.text_field)

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        for line in self.iterate_lines(opened, span):
            if self.lies_behind(line, span):
                return
            if document := self._document(line.place, line.num_bytes, partial(self._read, line)):
                yield document

    def _read(self, line: Line) -> str | None:
        # A mark in the middle is from files that were put one behind the other.
        content = decode(line.content, self.codec, self.name, line.offset).strip().lstrip(BOM)
        return _pick(self._field, _parse(content, line.place), line.place) if content else None


def _parse(content: str, place: str) -> object:
    try:
        return json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadRecord(
            f"{place} is not JSON ({error})", got=shorten(content), fix="Write one JSON object per line."
        ) from error


class JsonReader(FileReader):
    """A list of JSON objects, or a single one, in one file, which is read as a whole."""

    suffixes = (".json",)

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        field = TextField(self.reading.text_field)
        data = opened.stream.read()
        size = opened.use(len(data))
        records = self._load(decode(data, self.reading.encoding, self.name, 0, DataError))
        for number, record in enumerate(records):
            place = f"{self.name}, record {number + 1}"
            share = size * (number + 1) // len(records) - size * number // len(records)
            if document := self._document(place, share, partial(_pick, field, record, place)):
                yield document

    def _load(self, content: str) -> list[Any]:
        try:
            loaded = json.loads(content)
        except (ValueError, RecursionError) as error:
            hint = (
                "give it the suffix .jsonl if it has one object per line" if "Extra data" in str(error) else "mend it"
            )
            raise DataError(
                f"{self.name} is not JSON ({error})", allowed="a list of objects", fix=f"{hint.capitalize()}."
            ) from error
        return loaded if isinstance(loaded, list) else [loaded]
