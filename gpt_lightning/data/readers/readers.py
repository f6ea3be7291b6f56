"""Inputs -> documents, lazily: what every reader is. The formats are in ``formats``, their choice in ``sources``.

A reader turns one input into documents, can say whether the input changed, and divides large inputs into spans that
are read independently. The spans in order give the documents of the whole, each once: a document belongs to the span
in which it begins.
"""

from __future__ import annotations

import difflib
import hashlib
import io
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, ClassVar

from gpt_lightning.data.readers.bad_records import BadRecord
from gpt_lightning.data.readers.builtin import BUILTIN, python_fingerprint
from gpt_lightning.data.readers.files import (
    InputFile,
    OpenFile,
    end_lines,
    is_compressed,
    keeps_newlines,
    open_expanded,
    open_stored,
    peek,
    widen,
)
from gpt_lightning.data.readers.recognizing import refuse_binary
from gpt_lightning.errors import DataError


@dataclass(frozen=True)
class Document:
    """One text.

    Attributes:
        text: The content.
        name: Where it comes from, for messages: file, or file:line.
        num_bytes: Stored bytes of the input that it used up; for progress.
        problem: Why it cannot be used, under ``data.bad_records skip``; empty otherwise.
        fields: What else of the record was asked for (``Reading.fields``) and is there.
    """

    text: str
    name: str
    num_bytes: int
    problem: str = ""
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Content:
    """What one record holds: its text, and its other fields."""

    text: str
    fields: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Span:
    """A part of an input, in units of its reader: bytes of a text file, row groups of a parquet file.

    Attributes:
        start: First unit.
        end: The unit behind the last; None = to the end of the input, wherever that is.
        num_bytes: Stored bytes, for progress and fair shares; 0 when unknown.
    """

    start: int
    end: int | None
    num_bytes: int


@dataclass(frozen=True)
class Reading:
    """How the bytes of files become documents; see ``PrepareSettings`` for the meaning of each.

    Attributes:
        document_per: What a document is in plain text.
        text_field: Where the text of a record is; empty = the fields hold all that is wanted.
        encoding: Of the files.
        bad_records: What becomes of records that cannot be read.
        fields: What else is taken of a record, where it is there.
    """

    document_per: str
    text_field: str
    encoding: str
    bad_records: str = "refuse"
    fields: tuple[str, ...] = ()

    def describe(self) -> dict[str, Any]:
        """Plain JSON values; no fields are left out, so that half-done work of text stays what it was."""
        described = {**vars(self), "fields": list(self.fields)}
        if not self.fields:
            del described["fields"]
        return described


class Reader(ABC):
    """One input.

    Attributes:
        name: As the user would name it.
    """

    name: str

    @abstractmethod
    def list_spans(self, target_bytes: int) -> list[Span]:
        """Divide the input into spans of about ``target_bytes``; a single one where it cannot be divided.

        Raises:
            DataError: The input cannot be read.
        """

    @abstractmethod
    def iterate_documents(self, span: Span | None = None) -> Iterator[Document]:
        """The documents in order; may be called again.

        Args:
            span: One of ``list_spans``; None = the whole input.

        Raises:
            DataError: The input cannot be read as what it claims to be; names the place.
        """

    @abstractmethod
    def measure(self) -> tuple[int, int]:
        """``(size in bytes, time of the last change in ns)``: cheap signs of change, each 0 when unknown."""

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

    def list_spans(self, target_bytes: int) -> list[Span]:
        """Undivided: a few MB, of unknown size before they are collected."""
        return [Span(0, None, 0)]

    def iterate_documents(self, span: Span | None = None) -> Iterator[Document]:
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
        file: Where its bytes are.
        reading: How they become documents.
    """

    suffixes: ClassVar[tuple[str, ...]] = ()
    """Files that this format claims by name."""

    def __init__(self, file: InputFile, reading: Reading) -> None:
        self.file, self.reading, self.name = file, reading, file.name
        self._planned: tuple[int, int] | None = None

    @abstractmethod
    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        """The documents of a span of the open file."""

    def list_spans(self, target_bytes: int) -> list[Span]:
        """Undivided; formats that can be entered in their middle know better."""
        return [self._whole()]

    def _whole(self) -> Span:
        # Without an end: the size is for progress, and may be unknown or wrong for what a server sends.
        return Span(0, None, self.measure()[0])

    def iterate_documents(self, span: Span | None = None) -> Iterator[Document]:
        """From the file, opened for as long as the iteration lasts."""
        try:
            with open_expanded(self.file) as opened:
                self._look(opened)
                yield from self._iterate(opened, span or self._whole())
        except DataError as error:
            if self._planned not in (None, self.measure()):
                # Half a file is no wrong one.
                raise DataError(
                    f"{self.name} was changed while it was being read", fix="Run the same command again."
                ) from error
            raise

    def _document(self, place: str, num_bytes: int, read: Callable[[], Content | None]) -> Document | None:
        """What ``read`` gives as a document, None if it gives none; a bad record as the user wants it."""
        try:
            content = read()
        except BadRecord as error:
            if self.reading.bad_records == "refuse":
                raise
            return Document("", place, num_bytes, error.brief)
        return None if content is None else Document(content.text, place, num_bytes, fields=content.fields)

    def _look(self, opened: OpenFile) -> None:
        """Refuse what is not text at all, though it may happen to decode."""
        encoding = self.reading.encoding
        refuse_binary(peek(opened.stream), self.name, encoding, is_wide=not keeps_newlines(encoding))

    def measure(self) -> tuple[int, int]:
        """From where the file lies."""
        with open_stored(self.file):
            measured = self.file.measure()
        self._planned = self._planned or measured
        return measured

    def checksum(self) -> str:
        """Of the bytes."""
        digest = hashlib.sha256()
        with open_stored(self.file) as file:
            while block := file.read(1 << 20):
                digest.update(block)
        return digest.hexdigest()


@dataclass(frozen=True)
class Line:
    """One line of bytes.

    Attributes:
        content: The bytes, the line end included.
        offset: Where it begins in the expanded file.
        place: For messages.
        num_bytes: Stored bytes it used up.
    """

    content: bytes
    offset: int
    place: str
    num_bytes: int


class LineFileReader(FileReader):
    """A file of lines, which can be entered anywhere unless it is compressed or in UTF-16."""

    @property
    def codec(self) -> str:
        """What single lines are encoded in."""
        return self.reading.encoding if keeps_newlines(self.reading.encoding) else "utf-8"

    def list_spans(self, target_bytes: int) -> list[Span]:
        """Equal parts, wherever their borders fall; a line belongs to the part in which it begins."""
        size, _ = self.measure()
        if size <= target_bytes or not self._can_be_entered():
            return [self._whole()]
        *starts, last = range(0, size, target_bytes)
        return [*(Span(start, start + target_bytes, target_bytes) for start in starts), Span(last, None, size - last)]

    def _can_be_entered(self) -> bool:
        return keeps_newlines(self.reading.encoding) and not is_compressed(self.file) and self.file.can_be_entered()

    @contextmanager
    def _stream(self, opened: OpenFile) -> Iterator[io.BufferedIOBase]:
        if keeps_newlines(self.reading.encoding):
            yield end_lines(opened.stream)
            return
        with widen(opened, self.reading.encoding, self.name) as stream:
            yield end_lines(stream)

    def iterate_lines(self, opened: OpenFile, span: Span) -> Iterator[Line]:
        """Lines from the first that begins in the span **to the end of the file**; the caller stops behind the span.

        It is the caller who knows whether the line behind the span still belongs to a document begun inside.
        """
        with self._stream(opened) as stream:
            origin = span.start
            if origin:
                # The byte before tells whether a line begins exactly here.
                stream.seek(origin - 1)
                origin += len(stream.readline()) - 1
            offset = origin
            for number, content in enumerate(stream, start=1):
                place = f"{self.name}:{number}" if not origin else f"{self.name}, line {number} behind byte {origin}"
                yield Line(content, offset, place, opened.use(len(content)))
                offset += len(content)

    def lies_behind(self, line: Line, span: Span) -> bool:
        """Whether a line begins behind the span."""
        return span.end is not None and line.offset >= span.end
