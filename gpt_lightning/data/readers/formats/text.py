"""Plain text: a document per file, per line or per paragraph (lines between blank ones)."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from gpt_lightning.data.readers.files import BOM, OpenFile, decode
from gpt_lightning.data.readers.readers import Content, Document, FileReader, Line, LineFileReader, Span

_LONGEST_BLANK = 400


class TextReader(FileReader):
    """The file is one document. A byte order mark is dropped, line ends stay as they are."""

    suffixes = (".txt", ".md", ".py")

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        data = opened.stream.read()
        used = opened.use(len(data))

        def read() -> Content:
            return Content(decode(data, self.reading.encoding, self.name, 0))

        if document := self._document(self.name, used, read):
            yield document


class LineReader(LineFileReader):
    """Every line that is not blank is a document, without its line end."""

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        for line in self.iterate_lines(opened, span):
            if self.lies_behind(line, span):
                return
            if document := self._document(line.place, line.num_bytes, partial(self._read, line)):
                yield document

    def _read(self, line: Line) -> Content | None:
        # A mark in the middle is from files that were put one behind the other.
        text = decode(line.content, self.codec, self.name, line.offset).rstrip("\r\n").removeprefix(BOM)
        return Content(text) if text.strip() else None


class ParagraphReader(LineFileReader):
    """Lines between blank lines are one document, without the last line end.

    A paragraph belongs to the span that holds the blank line before it: entering the file in the middle of a
    paragraph, only a blank line tells where the next begins.
    """

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        collected: list[Line] = []
        ours = span.start == 0
        for line in self.iterate_lines(opened, span):
            if not self._is_blank(line.content):
                if ours:
                    collected.append(line)
                continue
            if collected:
                yield from self._join(collected)
                collected = []
            if self.lies_behind(line, span):
                return
            ours = True
        if collected:
            yield from self._join(collected)

    def _is_blank(self, content: bytes) -> bool:
        if content.isspace():
            return True
        # Spaces beyond ASCII: ideographic ones, no-break ones. A long line holds something else.
        begins = content.strip()[:1]
        return begins > b"\x7f" and len(content) <= _LONGEST_BLANK and content.decode(self.codec, "replace").isspace()

    def _join(self, lines: list[Line]) -> Iterator[Document]:
        data, used = b"".join(line.content for line in lines), sum(line.num_bytes for line in lines)

        def read() -> Content:
            return Content(decode(data, self.codec, self.name, lines[0].offset).rstrip("\r\n").removeprefix(BOM))

        if document := self._document(lines[0].place, used, read):
            yield document


TEXT_READERS: dict[str, type[FileReader]] = {"file": TextReader, "line": LineReader, "paragraph": ParagraphReader}
"""By ``data.document_per``."""
