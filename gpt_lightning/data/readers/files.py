"""Files as readers see them: bytes, size and time of change, wherever they lie.

``InputFile`` is the seam: a local path today, an object store with the same three methods tomorrow; readers do not
know the difference. Compression is undone by suffix (``compression``), encodings are decoded here, so that every
mistake in the bytes is told in the same words.

Texts whose lines end with a carriage return alone, as old Macs wrote them.
"""

from __future__ import annotations

import codecs
import io
import shutil
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from tempfile import SpooledTemporaryFile
from typing import Any, ClassVar

from gpt_lightning.data.readers.bad_records import BadRecord
from gpt_lightning.data.readers.compression import damage_errors, find_compression, recognize_compression, strip_query
from gpt_lightning.data.readers.recognizing import HEAD_BYTES, refuse_pointer
from gpt_lightning.errors import ConfigError, DataError

BOM = "\ufeff"
_SPOOL_BYTES = 1 << 27


class InputFile(ABC):
    """One file of the corpus.

    Attributes:
        name: As the user would name it.
        may_be_expanded: Whether the bytes may come with the compression undone that the name states.
    """

    may_be_expanded: ClassVar[bool] = False

    def __init__(self, name: str) -> None:
        self.name = name

    @abstractmethod
    def open(self) -> io.BufferedIOBase:
        """The stored bytes from the start; seekable. May raise OSError."""

    @abstractmethod
    def measure(self) -> tuple[int, int]:
        """``(size in bytes, time of the last change in ns)``, each 0 when unknown. May raise OSError."""

    def can_be_entered(self) -> bool:
        """Whether reading can begin in its middle."""
        return True


class LocalFile(InputFile):
    """A file of this machine."""

    def __init__(self, path: Path) -> None:
        super().__init__(str(path))
        self.path = path

    def open(self) -> io.BufferedIOBase:
        """From the file system."""
        return self.path.open("rb")

    def measure(self) -> tuple[int, int]:
        """From the file system."""
        status = self.path.stat()
        return status.st_size, status.st_mtime_ns


class OpenFile:
    """Expanded bytes of a file, and how far the stored ones are used up.

    Attributes:
        stream: The bytes after decompression.
    """

    def __init__(self, stored: io.BufferedIOBase, stream: io.BufferedIOBase) -> None:
        self.stream = stream
        self._stored, self._seen = stored, 0

    def use(self, num_bytes: int) -> int:
        """Stored bytes used up since the last call, given that ``num_bytes`` expanded ones were."""
        if self.stream is self._stored:
            return num_bytes
        before, self._seen = self._seen, self._stored.tell()
        return self._seen - before


@contextmanager
def open_stored(file: InputFile) -> Iterator[io.BufferedIOBase]:
    """The file as it is stored.

    Raises:
        DataError: It vanished, may not be read, or the disk fails.
    """
    try:
        with file.open() as stored:
            yield stored
    except OSError as error:
        raise DataError(
            f"Cannot read {file.name} ({error.strerror or error})", fix="Check that it exists and may be read."
        ) from error


@contextmanager
def open_expanded(file: InputFile) -> Iterator[OpenFile]:
    """The file with its compression undone, if its suffix names one or its first bytes are those of one.

    Raises:
        DataError: As ``open_stored``; or it is not what its suffix says, cut short, or needs a package.
    """
    with open_stored(file) as stored:
        head = peek(stored)
        refuse_pointer(head, file.name)
        compression = find_compression(file.name) or recognize_compression(head)
        if compression and file.may_be_expanded and head and not head.startswith(compression.magic):
            compression = None
        if compression is None:
            yield OpenFile(stored, stored)
            return
        try:
            with compression.expand(stored) as stream:
                yield OpenFile(stored, stream)
        except damage_errors() as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise  # the disk, not the content
            raise DataError(
                f"{file.name} is damaged or not {compression.suffix} ({error or type(error).__name__})",
                fix="Copy it again, or give it the suffix of what it is.",
            ) from error


@contextmanager
def spool(stream: io.BufferedIOBase) -> Iterator[io.BufferedIOBase]:
    """A copy that can be read from its end, for formats that are: in memory, a large one in a temporary file."""
    with SpooledTemporaryFile(_SPOOL_BYTES) as copy:
        shutil.copyfileobj(stream, copy)
        copy.seek(0)
        seekable: Any = copy
        yield seekable


def is_compressed(file: InputFile) -> bool:
    """Whether the bytes are compressed, by name or by how they begin.

    Raises:
        DataError: As ``open_stored``.
    """
    if find_compression(file.name) is not None:
        return True
    with open_stored(file) as stored:
        return recognize_compression(peek(stored)) is not None


def peek(stream: Any) -> bytes:
    """The next bytes of a buffered stream, some thousands if there are so many; they stay to be read."""
    head: bytes = stream.peek(HEAD_BYTES)
    return head[:HEAD_BYTES]


def logical_suffix(name: str) -> str:
    """What is inside, by name: ``.jsonl`` for ``a.jsonl.gz``, ``""`` for ``README`` and ``README.gz``."""
    path = PurePosixPath(strip_query(name).lower())
    return (path.with_suffix("") if find_compression(name) else path).suffix


def check_encoding(encoding: str) -> None:
    """Raise ConfigError unless Python knows the encoding of text."""
    try:
        codec = codecs.lookup(encoding)
    except (LookupError, ValueError):
        codec = None
    if codec is None or not getattr(codec, "_is_text_encoding", True):
        raise ConfigError(
            "data.encoding is no encoding of text",
            got=encoding,
            allowed="utf-8, gb18030, big5, utf-16, latin-1 and the others of Python's codecs",
            fix="Write --data.encoding gb18030.",
        )


def keeps_newlines(encoding: str) -> bool:
    r"""Whether the byte 0x0A always ends a line, so that a file can be cut there before it is decoded.

    True for UTF-8, the national encodings and the 8-bit ones, false for UTF-16 and UTF-32.
    """
    return "\n".encode(encoding) == b"\n" or codecs.lookup(encoding).name == "utf-8-sig"


def decode(data: bytes, encoding: str, name: str, offset: int, kind: type[DataError] = BadRecord) -> str:
    """Text of bytes that begin at ``offset`` of a file; a byte order mark at its start is dropped.

    Raises:
        DataError: Of that kind: names the file, the first byte that does not belong there, and the encoding tried.
    """
    try:
        text = data.decode(encoding)
    except UnicodeDecodeError as error:
        raise kind(
            f"{name} is not {encoding.upper()} at byte {offset + error.start} ({error.reason})",
            got=data[error.start : error.start + 4],
            fix="Say what it is in with data.encoding or --encoding (gb18030, utf-16, latin-1 ...), or leave the file "
            "out with a glob such as folder/**/*.txt.",
        ) from error
    return text.removeprefix(BOM) if offset == 0 else text


def widen(opened: OpenFile, encoding: str, name: str) -> io.BufferedIOBase:
    """The same text as UTF-8, for encodings that cannot be cut at line ends; read as a whole."""
    data = opened.stream.read()
    raw: Any = io.BytesIO(decode(data, encoding, name, 0, DataError).encode("utf-8"))
    return io.BufferedReader(raw)


def end_lines(stream: io.BufferedIOBase) -> io.BufferedIOBase:
    """The stream with a line feed for every carriage return, if its beginning has only the latter.

    Byte for byte, so that every place keeps its number.

    Args:
        stream: At its beginning.
    """
    head = peek(stream)
    if b"\n" in head or b"\r" not in head.rstrip(b"\r"):
        return stream
    raw: Any = _LineFeeds(stream)
    return io.BufferedReader(raw)


class _LineFeeds(io.RawIOBase):
    def __init__(self, stream: io.BufferedIOBase) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return self._stream.seekable()

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: Any) -> int:
        data = self._stream.read1(len(buffer)).replace(b"\r", b"\n")
        buffer[: len(data)] = data
        return len(data)
