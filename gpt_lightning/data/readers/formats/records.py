"""Which part of a record is the text: one field, or a template of several.

JSON: a record per line (.jsonl), or a list of records in one file (.json).
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from functools import cached_property, partial
from typing import Any

from gpt_lightning.data.readers.bad_records import BadRecord
from gpt_lightning.data.readers.files import BOM, OpenFile, decode
from gpt_lightning.data.readers.readers import Content, Document, FileReader, Line, LineFileReader, Reading, Span
from gpt_lightning.errors import ConfigError, DataError

_HOLE = re.compile(r"\{([^{}]+)\}")


class TextField:
    r"""The name of a field (``text``, or ``meta.text`` inside another), or a template (``{title}\n\n{body}``).

    ``\n`` and ``\t`` in a template are a new line and a tab, since a command line can hardly hold them; braces around
    anything else cannot be written.

    Args:
        spec: Name or template.

    Raises:
        ConfigError: Empty, or braces that do not match.
    """

    def __init__(self, spec: str) -> None:
        self.spec = spec
        self.is_template = "{" in spec or "}" in spec
        rest = _HOLE.sub("", spec) if self.is_template else ""
        if not spec or "{" in rest or "}" in rest:
            raise ConfigError(
                "data.text_field is neither the name of a field nor a template",
                got=spec,
                allowed="text, or {title}\\n\\n{body}",
                fix="Close every brace around the name of a field.",
            )
        self.fields = list(dict.fromkeys(_HOLE.findall(spec))) if self.is_template else [spec]
        self._template = spec.replace("\\n", "\n").replace("\\t", "\t")

    def pick(self, record: Mapping[str, object], place: str) -> str:
        """The text of a record.

        In a template numbers and other JSON values are written as Python shows them; a single field must be text.

        Raises:
            BadRecord: A field is missing, null, or (without a template) not text; lists the fields there are.
        """
        values = {}
        for field in self.fields:
            values[field] = value = find_value(record, field)
            if value is None or not (self.is_template or isinstance(value, str)):
                raise self.complain(record, field, place)
        if not self.is_template:
            return str(values[self.spec])
        return _HOLE.sub(lambda hole: str(values[hole[1]]), self._template)

    def complain(
        self, record: Mapping[str, object], field: str, place: str, kind: type[DataError] = BadRecord
    ) -> DataError:
        """The error for a field that holds no text."""
        return kind(
            f"{place} has no text in the field {field!r}",
            got=shorten(_describe(record, field)),
            allowed=f'{{"{field}": "..."}}',
            fix="Set data.text_field to the field that holds the text, or to a template such as {title}\\n{body}.",
        )


def find_value(record: Mapping[str, object], field: str) -> object:
    """The value of a field, ``meta.text`` being the field text of the record meta; None = there is none."""
    if field in record:
        return record[field]
    head, _, rest = field.partition(".")
    inner = record.get(head)
    return find_value(inner, rest) if rest and isinstance(inner, Mapping) else None


def _describe(record: Mapping[str, object], field: str) -> str:
    """What is there instead of text."""
    if field not in record and field.partition(".")[0] not in record:
        return f"fields {', '.join(map(str, record))}"
    value = find_value(record, field)
    return "null" if value is None else f"{value!r} of type {type(value).__name__}"


def shorten(text: str) -> str:
    """At most 80 characters of a value, for messages."""
    return text if len(text) <= 80 else f"{text[:77]}..."


class Picker:
    """What is taken of a record: its text, and the fields that a layout reads.

    Args:
        reading: Says which.

    Attributes:
        required: Fields without which there is no text.
        fields: All that are looked for.
    """

    def __init__(self, reading: Reading) -> None:
        self.text = TextField(reading.text_field) if reading.text_field else None
        self._others = reading.fields
        self.required = [] if self.text is None else self.text.fields
        self.fields = list(dict.fromkeys([*self.required, *reading.fields]))

    def pick(self, record: object, place: str) -> Content:
        """Text and fields of a record; fields that are missing are left out, whoever needs them says so.

        Raises:
            BadRecord: It is no record, or has no text.
        """
        if not isinstance(record, Mapping):
            raise BadRecord(
                f"{place} has no text in the field {self.fields[0]!r}",
                got=type(record).__name__,
                allowed=f'{{"{self.fields[0]}": "..."}}',
                fix="Write one JSON object per record.",
            )
        text = "" if self.text is None else self.text.pick(record, place)
        found = {name: find_value(record, name) for name in self._others}
        return Content(text, {name: value for name, value in found.items() if value is not None})


class JsonLinesReader(LineFileReader):
    """One JSON object per line; a field or a template of several is the document. Blank lines are passed over."""

    suffixes = (".jsonl", ".ndjson")

    @cached_property
    def _picker(self) -> Picker:
        return Picker(self.reading)

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        for line in self.iterate_lines(opened, span):
            if self.lies_behind(line, span):
                return
            if document := self._document(line.place, line.num_bytes, partial(self._read, line)):
                yield document

    def _read(self, line: Line) -> Content | None:
        # A mark in the middle is from files that were put one behind the other.
        content = decode(line.content, self.codec, self.name, line.offset).strip().lstrip(BOM)
        return self._picker.pick(_parse(content, line.place), line.place) if content else None


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
        picker = Picker(self.reading)
        data = opened.stream.read()
        size = opened.use(len(data))
        records = self._load(decode(data, self.reading.encoding, self.name, 0, DataError))
        for number, record in enumerate(records):
            place = f"{self.name}, record {number + 1}"
            share = size * (number + 1) // len(records) - size * number // len(records)
            if document := self._document(place, share, partial(picker.pick, record, place)):
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
