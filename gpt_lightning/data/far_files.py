"""Text behind a URL: ``https://host/corpus.jsonl.gz``, ``s3://bucket/folder``, ``gs://bucket/*.parquet``.

Read by fsspec (extra ``remote``) and the driver of the protocol; nothing is kept on this machine but the store made of
it. Sources without a time of change or an ETag are read once more whenever the store is looked for.
"""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from gpt_lightning.data.files import InputFile
from gpt_lightning.errors import DataError
from gpt_lightning.parsing.extras import import_extra

_SIGNS = ("mtime", "LastModified", "last_modified", "updated", "ETag", "etag", "md5Hash", "created")


class FarFile(InputFile):
    """A file behind a URL, which is also its name."""

    def open(self) -> io.BufferedIOBase:
        """Opened by fsspec; seekable where the server can."""
        system, path = _connect(self.name)
        with _explain(self.name):
            opened: Any = system.open(path, "rb")
        return io.BufferedReader(opened)

    def measure(self) -> tuple[int, int]:
        """``(size, a number that changes with the file)``: most servers tell a time or an ETag."""
        system, path = _connect(self.name)
        with _explain(self.name):
            known = system.info(path)
        sign = next((str(known[name]) for name in _SIGNS if known.get(name)), None)
        number = int.from_bytes(hashlib.sha256(sign.encode()).digest()[:7], "big") if sign else 0
        return int(known.get("size") or 0), number


def is_far(source: str) -> bool:
    """Whether a source is a URL."""
    return "://" in source


def match_far_files(source: str) -> list[InputFile]:
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
            found = [name for name in system.find(path) if not _is_hidden(name[len(path) :])]
        found = [name for name in found if system.isfile(name)]
        names = sorted(str(system.unstrip_protocol(name)) for name in found)
    if not names:
        raise DataError("No file is behind the URL", got=source, fix="Check it, and your credentials for the server.")
    return [FarFile(name) for name in names]


def _is_hidden(relative: str) -> bool:
    return any(part.startswith(".") for part in relative.split("/"))


def _connect(url: str) -> tuple[Any, str]:
    core = import_extra("fsspec.core", "remote")
    try:
        system, path = core.url_to_fs(url)
    except ImportError as error:
        raise DataError(f"Reading {url} needs another package ({error})", fix="Install it with pip.") from error
    except ValueError as error:
        raise DataError(f"No such kind of URL ({error})", got=url, fix="Correct --data.source.") from error
    return system, str(path)


@contextmanager
def _explain(url: str) -> Iterator[None]:
    """Drivers raise errors of their own packages, not only OSError."""
    try:
        yield
    except DataError:
        raise
    except Exception as error:
        raise DataError(
            f"Cannot read {url} ({type(error).__name__}: {' '.join(str(error).split())[:160]})",
            fix="Check the URL, the network, and your credentials for the server.",
        ) from error
