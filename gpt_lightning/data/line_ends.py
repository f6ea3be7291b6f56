"""Texts whose lines end with a carriage return alone, as old Macs wrote them."""

from __future__ import annotations

import io
from typing import Any

from gpt_lightning.data.files import peek


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
