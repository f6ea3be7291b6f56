"""Plain text: a document per file, per line or per paragraph (lines between blank ones)."""

from __future__ import annotations

from collections.abc import Iterator

from gpt_lightning.data.files import OpenFile, decode
from gpt_lightning.data.readers import Document, FileReader, Line, LineFileReader, Span


class TextReader(FileReader):
    """The file is one document. A byte order mark is dropped, line ends stay as they are."""

    suffixes = (".txt", ".md", ".py")

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        data = opened.stream.read()
        yield Document(decode(data, self.reading.encoding, self.name, 0), self.name, opened.use(len(data)))


class LineReader(LineFileReader):
    """Every line that is not blank is a document, without its line end."""

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        for line in self.iterate_lines(opened, span):
            if self.lies_behind(line, span):
                return
            text = decode(line.content, self.codec, self.name, line.offset).rstrip("\r\n")
            if text.strip():
                yield Document(text, line.place, line.num_bytes)


class ParagraphReader(LineFileReader):
    """Lines between blank lines are one document, without the last line end.

    A paragraph belongs to the span that holds the blank line before it: entering the file in the middle of a
    paragraph, only a blank line tells where the next begins.
    """

    def _iterate(self, opened: OpenFile, span: Span) -> Iterator[Document]:
        collected: list[Line] = []
        ours = span.start == 0
        for line in self.iterate_lines(opened, span):
            if not line.content.isspace():
                if ours:
                    collected.append(line)
                continue
            if collected:
                yield self._join(collected)
                collected = []
            if self.lies_behind(line, span):
                return
            ours = True
        if collected:
            yield self._join(collected)

    def _join(self, lines: list[Line]) -> Document:
        data = b"".join(line.content for line in lines)
        text = decode(data, self.codec, self.name, lines[0].offset).rstrip("\r\n")
        return Document(text, lines[0].place, sum(line.num_bytes for line in lines))


TEXT_READERS: dict[str, type[FileReader]] = {"file": TextReader, "line": LineReader, "paragraph": ParagraphReader}
"""By ``data.document_per``."""
