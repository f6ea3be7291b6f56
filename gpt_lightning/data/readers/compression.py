"""Compressed files by suffix: ``.gz .bz2 .xz`` with the standard library, ``.zst`` with the extra ``zstd``.

A compressed file cannot be entered in its middle, so that one is one unit of work; many files of some 100 MB are
prepared in parallel, one file of 100 GB is not.
"""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zlib
from abc import ABC, abstractmethod
from typing import Any, ClassVar

from gpt_lightning.parsing.extras import import_extra

_READ_BYTES = 1 << 18
_LARGEST_WINDOW = 1 << 31
"""What the format allows; memory is taken as a file asks for it."""


def _buffered(stream: Any) -> io.BufferedIOBase:
    # One type for all, and lines are found twice as fast as by the streams' own readline.
    return io.BufferedReader(stream, _READ_BYTES)


class Compression(ABC):
    """A way to compress.

    Attributes:
        suffix: Of the files, with its dot.
        magic: How every such file begins.
    """

    suffix: ClassVar[str]
    magic: ClassVar[bytes]

    @abstractmethod
    def expand(self, stored: io.BufferedIOBase) -> io.BufferedIOBase:
        """A stream of the expanded bytes; raises one of ``damage_errors`` where the file is damaged or cut short."""


class Gzip(Compression):
    """RFC 1952, several members allowed."""

    suffix = ".gz"
    magic = b"\x1f\x8b\x08"

    def expand(self, stored: io.BufferedIOBase) -> io.BufferedIOBase:
        """With zlib."""
        return _buffered(gzip.GzipFile(fileobj=stored, mode="rb"))


class Bzip2(Compression):
    """Several streams allowed."""

    suffix = ".bz2"
    magic = b"BZh"

    def expand(self, stored: io.BufferedIOBase) -> io.BufferedIOBase:
        """With libbz2."""
        return _buffered(bz2.BZ2File(stored, "rb"))


class Xz(Compression):
    """LZMA in an .xz container."""

    suffix = ".xz"
    magic = b"\xfd7zXZ\x00"

    def expand(self, stored: io.BufferedIOBase) -> io.BufferedIOBase:
        """With liblzma."""
        readable: Any = stored  # typeshed asks for IO
        return _buffered(lzma.LZMAFile(readable, "rb"))


class Zstandard(Compression):
    """RFC 8878, several frames allowed."""

    suffix = ".zst"
    magic = b"\x28\xb5\x2f\xfd"

    def expand(self, stored: io.BufferedIOBase) -> io.BufferedIOBase:
        """With the package zstandard, imported now."""
        return _buffered(_ZstandardStream(stored, import_extra("zstandard", "zstd")))


class _ZstandardStream(io.RawIOBase):
    """The package's own reader takes the end of a truncated file for the end of the data; this one does not."""

    def __init__(self, stored: io.BufferedIOBase, package: Any) -> None:
        self._stored, self._package = stored, package
        self._frame: Any = None
        self._compressed = self._ready = b""

    def readable(self) -> bool:
        """Always."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Fill the buffer, at least with one byte; 0 = the end."""
        while not self._ready:
            if not self._compressed:
                self._compressed = self._stored.read(_READ_BYTES)
            if not self._compressed:
                if self._frame is not None:
                    raise EOFError("the last frame is cut short")
                return 0
            self._expand_more()
        count = min(len(buffer), len(self._ready))
        buffer[:count], self._ready = self._ready[:count], self._ready[count:]
        return count

    def _expand_more(self) -> None:
        if self._frame is None:
            # The package's own limit refuses the long windows that public dumps have (zstd --long=31).
            self._frame = self._package.ZstdDecompressor(max_window_size=_LARGEST_WINDOW).decompressobj()
        try:
            self._ready = self._frame.decompress(self._compressed)
        except self._package.ZstdError as error:
            raise EOFError(str(error)) from error
        self._compressed = self._frame.unused_data if self._frame.eof else b""
        if self._frame.eof:
            self._frame = None


COMPRESSIONS: tuple[Compression, ...] = (Gzip(), Bzip2(), Xz(), Zstandard())
"""Every way we know; a new one is a class and its entry here."""


def find_compression(name: str) -> Compression | None:
    """The compression that a file's name states."""
    path = strip_query(name).lower()
    return next((each for each in COMPRESSIONS if path.endswith(each.suffix)), None)


def recognize_compression(head: bytes) -> Compression | None:
    """The compression of a file that begins with ``head``, whatever its name; bzip2's two letters alone are text."""
    found = next((each for each in COMPRESSIONS if head.startswith(each.magic)), None)
    return None if isinstance(found, Bzip2) and head[4:10] != b"1AY&SY" else found


def strip_query(name: str) -> str:
    """A URL without ``?download=true`` and the like; any other name as it is."""
    return name.partition("?")[0] if "://" in name else name


def damage_errors() -> tuple[type[Exception], ...]:
    """What the streams raise when a file is not what it claims to be."""
    return OSError, EOFError, zlib.error, lzma.LZMAError
