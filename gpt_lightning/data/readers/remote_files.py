"""Text behind a URL: ``https://host/corpus.jsonl.gz``, ``s3://bucket/folder``, ``gs://bucket/*.parquet``.

Read by fsspec (extra ``remote``) and the driver of the protocol; nothing is kept on this machine but the store made of
it. Sources without a time of change or an ETag are read once more whenever the store is looked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpt_lightning.data.folders import STORE_MARKER
from gpt_lightning.data.readers.files import InputFile
from gpt_lightning.errors import DataError
from gpt_lightning.parsing.extras import import_extra

_SIGNS = (
    "mtime", "LastModified", "last_modified", "Last-Modified", "updated", "ETag", "etag", "Content-MD5", "Digest",
    "md5Hash", "created",
)  # fmt: skip
_READ_BYTES = 1 << 20


class RemoteFile(InputFile):
    """A file behind a URL, which is also its name.

    Many web servers call ``a.jsonl.gz`` a text sent in gzip (``Content-Encoding``), which is undone on the way.
    """

    may_be_expanded = True

    def open(self) -> io.BufferedIOBase:
        """From its beginning, to its end, whatever the server says of its size."""
        return io.BufferedReader(_RemoteStream(self.name), _READ_BYTES)

    def can_be_entered(self) -> bool:
        """Tried out: not every server knows the size of what it sends, or sends parts."""
        size, _ = self.measure()
        try:
            with _RemoteStream(self.name) as stream:
                stream.seek(size - 1)
                return size > 1 and len(stream.read(1)) == 1
        except DataError:
            return False

    def measure(self) -> tuple[int, int]:
        """``(size, a number that changes with the file)``: most servers tell a time or an ETag."""
        system, path = _connect(self.name)
        with _explain(self.name):
            known = system.info(path)
        sign = next((str(known[name]) for name in _SIGNS if known.get(name)), None)
        number = int.from_bytes(hashlib.sha256(sign.encode()).digest()[:7], "big") if sign else 0
        return int(known.get("size") or 0), number


class _RemoteStream(io.RawIOBase):
    """A file behind a URL, read in one go as long as nobody asks for another place.

    A web server is asked once, for everything: many ignore requests for parts. The first that leads elsewhere opens the
    file anew, as fsspec opens it for reading anywhere; so does a transfer that broke off.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._system, self._path = _connect(url)
        self._opened: Any = None
        self._is_in_one_go = True
        self._position = 0

    def readable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """It may be tried, see ``RemoteFile.can_be_entered``."""
        return True

    def tell(self) -> int:
        """Bytes given so far, or where ``seek`` went."""
        return self._position

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Go elsewhere; that the server cannot is told when it is read there."""
        if whence == io.SEEK_END:
            with _explain(self._url):
                offset += int(self._system.info(self._path).get("size") or 0)
        target = offset + self._position if whence == io.SEEK_CUR else offset
        if target != self._position:
            self._close()
            self._position, self._is_in_one_go = target, False
        return target

    def readinto(self, buffer: Any) -> int:
        """Some bytes; 0 = the end."""
        try:
            data = self._read(len(buffer))
        except Exception as error:  # drivers have errors of their own (aiohttp, botocore, ...) without a common base
            data = self._read_again(len(buffer), error)
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)

    def _read(self, num_bytes: int) -> bytes:
        if self._opened is None:
            self._opened = self._system.open(self._path, "rb", **(in_one_go(self._url) if self._is_in_one_go else {}))
            if not self._is_in_one_go:
                self._opened.seek(self._position)
        data: bytes = self._opened.read(num_bytes)
        if not data and not self._is_in_one_go and self._position < (getattr(self._opened, "size", 0) or 0):
            raise EOFError("the server has no more")
        return data

    def _read_again(self, num_bytes: int, error: Exception) -> bytes:
        """Once more, from where the transfer broke off, if the server can."""
        self._close()
        if self._is_in_one_go and self._position:
            self._is_in_one_go = False
            with contextlib.suppress(Exception):
                if data := self._read(num_bytes):
                    return data
        where = f" behind byte {self._position:,}" if self._position else ""
        raise DataError(
            f"Cannot read {self._url}{where} ({_shorten(error)})",
            fix="Check the network and the server, and run the same command again; or download the file first.",
        ) from error

    def _close(self) -> None:
        if self._opened is not None:
            with contextlib.suppress(Exception):
                self._opened.close()
            self._opened = None

    def close(self) -> None:
        """Let go of the connection."""
        if not self.closed:
            self._close()
        super().close()


def connection_options(url: str) -> dict[str, Any]:
    """What fsspec's driver for a URL is created with."""
    if not _is_web(url):
        return {}
    # The default ends a transfer after five minutes, however well it goes.
    patience = import_extra("aiohttp", "remote").ClientTimeout(total=None, sock_connect=60, sock_read=300)
    return {"client_kwargs": {"timeout": patience}}


def in_one_go(url: str) -> dict[str, Any]:
    """What fsspec's driver opens a file with that is read once from its beginning to its end."""
    # Only the drivers for the web know the size 0: no blocks, one answer.
    return {"block_size": 0} if _is_web(url) else {}


def _is_web(url: str) -> bool:
    return url.startswith(("http://", "https://"))


def is_remote(source: str) -> bool:
    """Whether a source is a URL."""
    return "://" in source


def match_remote_files(source: str) -> list[InputFile]:
    """Files that a URL means, sorted: itself, those of a folder (recursive, hidden names left out), or of a glob.

    Raises:
        DataError: Nothing is there, the server cannot be reached, or a package is missing.
    """
    system, path = _connect(source)
    with _explain(source):
        # A file first: asked for folders, a web server's driver would download the page to look for links.
        if "*" in path:
            found = system.glob(path)
        elif system.isfile(path):
            found = [path]
        else:
            found = _leave_out(system.find(path), path)
        found = [name for name in found if system.isfile(name)]
        names = sorted(str(system.unstrip_protocol(name)) for name in found)
    if not names:
        raise DataError("No file is behind the URL", got=source, fix="Check it, and your credentials for the server.")
    return [RemoteFile(name) for name in names]


def _leave_out(names: list[str], folder: str) -> list[str]:
    """Without hidden names and without the files of our own stores, which carry a marker."""
    stores = {name.rpartition("/")[0] for name in names if name.endswith(f"/{STORE_MARKER}")}
    return [name for name in names if not _is_hidden(name[len(folder) :]) and name.rpartition("/")[0] not in stores]


def _is_hidden(relative: str) -> bool:
    return any(part.startswith(".") for part in relative.split("/"))


def _connect(url: str) -> tuple[Any, str]:
    core = import_extra("fsspec.core", "remote")
    try:
        system, path = core.url_to_fs(url, **connection_options(url))
    except ImportError as error:
        raise DataError(f"Reading {url} needs another package ({error})", fix="Install it with pip.") from error
    except ValueError as error:
        raise DataError(f"No such kind of URL ({error})", got=url, fix="Correct --data.source.") from error
    return system, str(path)


def _shorten(error: Exception) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())[:160]}"


@contextmanager
def _explain(url: str) -> Iterator[None]:
    """Drivers raise errors of their own packages, not only OSError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"Cannot read {url} ({_shorten(error)})",
            fix="Check the URL, the network, and your credentials for the server.",
        ) from error
