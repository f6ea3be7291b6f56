"""Inputs -> documents, lazily.

A reader turns one input into documents and can say whether the input changed. ``open_sources`` finds the readers
for what the user typed: a file, a folder (recursive, hidden names left out), a glob, ``builtin:NAME``, or a list of
these. The order is that of the list, sorted inside folders and globs; a file named twice is read once.

A new format is one ``FileReader`` subclass with its suffixes, listed in ``FILE_READERS``; files of any other suffix
are plain text.
"""

from __future__ import annotations

import difflib
import hashlib
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, ClassVar

from gpt_lightning.data.builtin import BUILTIN, python_fingerprint
from gpt_lightning.data.matching import match_files
from gpt_lightning.errors import DataError

_BOM = "\ufeff"


@dataclass(frozen=True)
class Document:
    """One text.

    Attributes:
        text: The content.
        name: Where it comes from, for messages: file, or file:line.
        num_bytes: Bytes of the input that it used up; for progress.
    """

    text: str
    name: str
    num_bytes: int


class Reader(ABC):
    """One input.

    Attributes:
        name: As the user would name it.
    """

    name: str

    @abstractmethod
    def iterate_documents(self) -> Iterator[Document]:
        """The documents in order; may be called again.

        Raises:
            DataError: The input cannot be read as what it claims to be; names the place.
        """

    @abstractmethod
    def measure(self) -> tuple[int, int]:
        """``(size in bytes, time of the last change in ns)``: cheap signs of change."""

    @abstractmethod
    def checksum(self) -> str:
        """SHA-256 (hex) that changes exactly when the documents may."""


class BuiltinReader(Reader):
    """A corpus carried by Python itself, see ``builtin``.

    Raises:
        DataError: There is none of that name.
    """

    def __init__(self, name: str) -> None:
        if name not in BUILTIN:
            nearest = difflib.get_close_matches(name, BUILTIN, n=1)
            hint = f"Did you mean builtin:{nearest[0]}?" if nearest else "Correct --data.source."
            known = ", ".join(f"builtin:{known}" for known in BUILTIN)
            raise DataError("No such built-in corpus", got=f"builtin:{name}", allowed=known, fix=hint)
        self.name = f"builtin:{name}"
        self._iterate = BUILTIN[name]

    def iterate_documents(self) -> Iterator[Document]:
        """One document per topic, module or file."""
        for name, text in self._iterate():
            yield Document(text, f"{self.name}/{name}", len(text.encode("utf-8", errors="replace")))

    def measure(self) -> tuple[int, int]:
        """Sizes are unknown before reading; Python's version tells changes."""
        return 0, 0

    def checksum(self) -> str:
        """Of Python's version."""
        return python_fingerprint()


class FileReader(Reader):
    """One file.

    Args:
        path: The file.
        name: As the user would name it.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()

    def __init__(self, path: Path, name: str) -> None:
        self.path, self.name = path, name

    @contextmanager
    def open(self) -> Iterator[IO[bytes]]:
        """The file, open for reading.

        Raises:
            DataError: It vanished, may not be read, or the disk fails.
        """
        try:
            with self.path.open("rb") as file:
                yield file
        except OSError as error:
            raise DataError(
                f"Cannot read {self.name} ({error.strerror or error})", fix="Check that it exists and may be read."
            ) from error

    def measure(self) -> tuple[int, int]:
        """From the file system."""
        with self.open() as file:
            status = os.fstat(file.fileno())
        return status.st_size, status.st_mtime_ns

    def checksum(self) -> str:
        """Of the bytes."""
        digest = hashlib.sha256()
        with self.open() as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


class TextReader(FileReader):
    """A plain text file in UTF-8: one document. A byte order mark is dropped, line ends stay as they are."""

    suffixes = (".txt", ".md", ".py")

    def iterate_documents(self) -> Iterator[Document]:
        """The one document."""
        with self.open() as file:
            data = file.read()
        yield Document(_decode(data, self.name, 0).removeprefix(_BOM), self.name, len(data))


class JsonLinesReader(FileReader):
    """One JSON object per line; the field ``text`` is the document. Blank lines are passed over."""

    suffixes = (".jsonl", ".ndjson")
    field = "text"

    def iterate_documents(self) -> Iterator[Document]:
        """One document per line."""
        offset = 0
        with self.open() as file:
            for number, line in enumerate(file, start=1):
                place = f"{self.name}:{number}"
                text = _decode(line, self.name, offset)
                offset += len(line)
                if content := text.removeprefix(_BOM).strip():
                    yield Document(self._parse(content, place), place, len(line))

    def _parse(self, content: str, place: str) -> str:
        try:
            record: Any = json.loads(content)
        except (ValueError, RecursionError) as error:
            raise DataError(
                f"{place} is not JSON ({error})", got=_shorten(content), fix="Write one JSON object per line."
            ) from error
        value = record.get(self.field) if isinstance(record, dict) else None
        if not isinstance(value, str):
            found = f"fields {', '.join(map(str, record))}" if isinstance(record, dict) else type(record).__name__
            raise DataError(
                f"{place} has no text in the field {self.field!r}",
                got=_shorten(found),
                allowed=f'{{"{self.field}": "..."}}',
                fix=f"Rename the field that holds the text to {self.field!r}.",
            )
        return value


FILE_READERS: tuple[type[FileReader], ...] = (TextReader, JsonLinesReader)
"""Readers by suffix; what none of them claims is read as plain text."""


def _decode(data: bytes, name: str, offset: int) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DataError(
            f"{name} is not UTF-8 at byte {offset + error.start} ({error.reason})",
            got=data[error.start : error.start + 4],
            fix="Convert it (iconv -f ENCODING -t utf-8), or leave it out with a glob such as folder/**/*.txt.",
        ) from error


def _shorten(text: str) -> str:
    return text if len(text) <= 80 else f"{text[:77]}..."


def open_sources(sources: Sequence[str]) -> list[Reader]:
    """Readers for what the user typed, in order; nothing is read yet.

    Args:
        sources: Files, folders, globs and ``builtin:NAME``.

    Raises:
        DataError: A path or glob matches nothing, a built-in corpus does not exist, or the list is empty.
    """
    if not sources:
        raise DataError(
            "No text to read", got=[], allowed="at least one file, folder or glob", fix="Set --data.source."
        )
    suffixes = {suffix: reader for reader in FILE_READERS for suffix in reader.suffixes}
    readers: list[Reader] = []
    seen: set[Path | str] = set()
    for source in sources:
        if source.startswith("builtin:"):
            if source not in seen:
                readers.append(BuiltinReader(source.removeprefix("builtin:")))
            seen.add(source)
            continue
        for path in match_files(source, accepted=tuple(suffixes)):
            if path.resolve() not in seen:
                readers.append(suffixes.get(path.suffix.lower(), TextReader)(path, str(path)))
            seen.add(path.resolve())
    return readers
