"""What the user typed -> readers.

A source is a file, a folder (recursive, hidden names and our own outputs left out), a folder written by
``save_to_disk`` of the library datasets, a glob, a URL of these, or ``builtin:NAME``; several make a list. The order is
that of the list, sorted inside folders and globs; a file named twice is read once. The suffix chooses the reader,
behind one of compression if there is one.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpt_lightning.data.compression import COMPRESSIONS
from gpt_lightning.data.far_files import is_far, match_far_files
from gpt_lightning.data.files import InputFile, LocalFile, logical_suffix
from gpt_lightning.data.formats.columns import ArrowReader, ParquetReader
from gpt_lightning.data.formats.records import JsonLinesReader, JsonReader
from gpt_lightning.data.formats.tables import CsvReader, TsvReader
from gpt_lightning.data.formats.text import TEXT_READERS, TextReader
from gpt_lightning.data.matching import Told, ignore, match_files, question_far
from gpt_lightning.data.readers import BuiltinReader, FileReader, Reader, Reading
from gpt_lightning.errors import DataError

RECORD_READERS: tuple[type[FileReader], ...] = (
    JsonLinesReader,
    JsonReader,
    CsvReader,
    TsvReader,
    ParquetReader,
    ArrowReader,
)
"""Readers of records by suffix; what none of them claims is plain text, read as ``data.document_per`` says."""


def open_sources(sources: Sequence[str], reading: Reading, tell: Told = ignore) -> list[Reader]:
    """Readers for what the user typed, in order; nothing is read yet.

    Args:
        sources: Files, folders, globs and ``builtin:NAME``.
        reading: How files become documents.
        tell: Called with what was left out of folders, and what in them may not have been meant.

    Raises:
        DataError: A path or glob matches nothing, a built-in corpus does not exist, the list is empty, or
            ``document_per`` is set and there is no plain text.
    """
    if not sources or not all(sources):
        raise DataError(
            "No text to read", got=list(sources), allowed="at least one file, folder or glob", fix="Set --data.source."
        )
    readers: list[Reader] = []
    seen: set[Path | str] = set()
    for source in sources:
        if source.startswith("builtin:"):
            if source not in seen:
                readers.append(BuiltinReader(source.removeprefix("builtin:")))
            seen.add(source)
            continue
        for file in _match(source, tell):
            place = file.path.resolve() if isinstance(file, LocalFile) else file.name
            if place not in seen:
                readers.append(choose_reader(file, reading))
            seen.add(place)
    if reading.document_per != "file" and not any(isinstance(reader, _text_reader(reading)) for reader in readers):
        raise DataError(
            "data.document_per divides plain text, but the source holds records only",
            got=reading.document_per,
            allowed="file (the default) for records, which are documents already",
            fix="Leave data.document_per out.",
        )
    return readers


def _match(source: str, tell: Told) -> Sequence[InputFile]:
    if is_far(source):
        files = match_far_files(source)
        for note in question_far(source, [file.name for file in files]):
            tell(note)
        return files
    return [LocalFile(path) for path in match_files(source, accepted=_accepted(), tell=tell)]


def choose_reader(file: InputFile, reading: Reading) -> FileReader:
    """The reader for a file, by its name."""
    suffix = logical_suffix(file.name)
    kinds = [reader for reader in RECORD_READERS if suffix in reader.suffixes]
    return (*kinds, _text_reader(reading))[0](file, reading)


def _text_reader(reading: Reading) -> type[FileReader]:
    return TEXT_READERS[reading.document_per]


def _accepted() -> tuple[str, ...]:
    kinds: tuple[type[FileReader], ...] = (TextReader, *RECORD_READERS)
    known = [suffix for kind in kinds for suffix in kind.suffixes]
    return (*known, *(f"*{compression.suffix}" for compression in COMPRESSIONS))
