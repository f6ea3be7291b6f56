"""Lines and JSON records of files, with their places for messages."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt_lightning.errors import DataError


def read_texts(path: Path, field: str) -> list[tuple[Any, str]]:
    """A text a line (or a record a line, in .jsonl), with its place; an empty line of plain text is an empty text.

    Raises:
        DataError: Not there, not UTF-8, not JSON, or a record without the field; names file and line.
    """
    lines = read_lines(path)
    if path.suffix not in (".jsonl", ".ndjson"):
        return [(line, f"{path}:{number}") for number, line in lines]
    return [
        (pick_field(parse_record(line, f"{path}:{number}"), field, f"{path}:{number}"), f"{path}:{number}")
        for number, line in lines
        if line.strip()
    ]


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a UTF-8 file and their numbers, from 1.

    Raises:
        DataError: It cannot be read; names the line that is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path} ({error.strerror})", fix="Check the path.") from error
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    decoded = []
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, start=1):
        try:
            decoded.append((number, line.decode("utf-8").removesuffix("\r")))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{number} is not UTF-8 ({error.reason})",
                got=line[max(0, error.start - 8) : error.start + 8],
                fix="Convert the file to UTF-8.",
            ) from error
    return decoded


def parse_record(line: str, place: str) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        DataError: It is none.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place} is not JSON ({error})", got=line[:60], fix="Write one JSON object per line."
        ) from error
    if not isinstance(record, dict):
        raise DataError(f"{place} is not a JSON object", got=type(record).__name__, fix="Write one object per line.")
    return record


def pick_field(record: dict[str, Any], field: str, place: str) -> Any:
    """The value of a field; dots lead into objects and lists (``target.span1_text``, ``answers.0.text``).

    Raises:
        DataError: There is no such field; lists those there are.
    """
    value: Any = record
    for part in field.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            known = ", ".join(map(str, value)) if isinstance(value, dict) else f"{type(value).__name__}"
            raise DataError(f"{place} has no field {field!r}", got=known[:80], fix="Correct the name of the field.")
    return value
