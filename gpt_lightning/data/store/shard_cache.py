"""Files of a far-away store on this machine: fetched whole, verified, and only so many bytes of them.

A file appears under its name when it is complete and its checksum right; processes that want the same one wait for the
first to fetch it. When the cache is full, what was used longest ago goes (``$GPT_LIGHTNING_CACHE_GB``, 50 by default).
The cache decides how long reading takes, never what is read.
"""

from __future__ import annotations

import logging
import os
import queue
import threading
import time
import zlib
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy.typing as npt

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.readers.remote_files import connection_options, in_one_go
from gpt_lightning.data.store.mapping import count_mappings
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.files.atomic import fsync_file
from gpt_lightning.files.locks import FileLock
from gpt_lightning.files.processes import own_mark
from gpt_lightning.parsing.extras import import_extra

_log = logging.getLogger(__name__)
_CHUNK_BYTES = 1 << 22
_PAUSES_SECONDS = (1.0, 4.0, 15.0)
"""Between attempts: a store that is out of reach for a moment must not end a run of days."""


def cache_limit_bytes() -> int:
    """``$GPT_LIGHTNING_CACHE_GB`` in bytes, 50 GB when it is not set; for fetched shards alone.

    Raises:
        ConfigError: It is no positive number.
    """
    text = os.environ.get("GPT_LIGHTNING_CACHE_GB", "50")
    try:
        limit = float(text)
    except ValueError:
        limit = 0.0
    if not 0 < limit < float("inf"):
        raise ConfigError("GPT_LIGHTNING_CACHE_GB is a size", got=text, allowed="> 0, in GB", fix="Write 50.")
    return int(limit * 1e9)


class RemoteFolder:
    """A folder behind a URL that fsspec understands.

    Args:
        url: E.g. ``s3://bucket/store`` or ``https://host/store``.

    Raises:
        DataError: fsspec or the driver of this kind of URL is not installed.
    """

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/")
        fsspec = import_extra("fsspec", "remote")
        try:
            self._files, self._path = fsspec.core.url_to_fs(self.url, **connection_options(self.url))
        except (ImportError, ValueError) as error:
            raise DataError(
                f"{self.url} cannot be opened: {error}",
                fix="Install the driver it names, e.g. pip install 'gpt-lightning[remote]' s3fs, or correct the URL.",
            ) from error

    def copy(self, name: str, target: Path) -> None:
        """Copy one file; whatever the driver raises comes out as it is."""
        whole = in_one_go(self.url)
        with self._files.open(f"{self._path}/{name}", "rb", **whole) as source, target.open("wb") as file:
            while block := source.read(_CHUNK_BYTES):
                file.write(block)
            fsync_file(file)

    def fetch(self, name: str, target: Path, check: Callable[[Path], None]) -> None:
        """Copy one file to ``target``, which appears when ``check`` has accepted the copy.

        Args:
            name: Within the folder.
            target: Where it goes.
            check: Raises DataError when the copy is not what it should be.

        Raises:
            DataError: All attempts failed; tells the last failure.
        """
        part = target.with_name(f".{target.name}@{own_mark()}.{threading.get_ident()}")
        for pause in (*_PAUSES_SECONDS, None):
            try:
                self.copy(name, part)
                check(part)
                os.replace(part, target)
                return
            # Drivers have errors of their own (aiohttp, botocore, ...), which share no base class.
            except Exception as error:
                gone = isinstance(error, FileNotFoundError)
                if pause is None or gone:
                    what = "is missing" if gone else f"cannot be fetched: {type(error).__name__}: {error}"
                    raise DataError(
                        f"{self.url}/{name} {what}", fix="Check the URL, the network and your credentials."
                    ) from error
                _log.warning("%s/%s: %s; next attempt in %g s", self.url, name, error, pause)
                time.sleep(pause)
            finally:
                part.unlink(missing_ok=True)


class ShardCache:
    """Maps files of one far-away folder, fetching them when they are asked for.

    Args:
        far: Where they come from.
        folder: Where they are kept; a folder in ``cache_folder() / "remote"``.
    """

    def __init__(self, far: RemoteFolder, folder: Path) -> None:
        self._far, self.folder = far, folder
        self._mapped: OrderedDict[str, npt.NDArray[Any]] = OrderedDict()
        self._wanted: queue.Queue[tuple[str, int, Callable[[Path], None]]] = queue.Queue()
        self._announced: set[str] = set()
        self._fetcher: threading.Thread | None = None
        folder.mkdir(parents=True, exist_ok=True)

    def read(
        self, name: str, size: int, check: Callable[[Path], None], open_it: Callable[[], npt.NDArray[Any]]
    ) -> npt.NDArray[Any]:
        """The mapped file.

        Args:
            name: Of the file.
            size: Its bytes.
            check: Raises DataError when a copy is damaged.
            open_it: Maps the copy in ``folder``.
        """
        if name in self._mapped:
            self._mapped.move_to_end(name)
            return self._mapped[name]
        self.fetch(name, size, check)
        try:
            array = open_it()
        except (DataError, FileNotFoundError):
            # Another process made room in this very moment, or a crash of the machine cut the file short.
            (self.folder / name).unlink(missing_ok=True)
            self.fetch(name, size, check)
            array = open_it()
        self._announced.discard(name)
        self._mapped[name] = array
        while len(self._mapped) > 1 and self._holds_too_much():
            self._mapped.popitem(last=False)
        return array

    def _holds_too_much(self) -> bool:
        num_bytes = sum(each.nbytes for each in self._mapped.values())
        return num_bytes > cache_limit_bytes() or len(self._mapped) > count_mappings()

    def fetch(self, name: str, size: int, check: Callable[[Path], None], *, anew: bool = False) -> None:
        """Make sure that a complete copy of a file is here; with ``anew`` one that was fetched just now."""
        target = self.folder / name
        with FileLock(self.folder / f".{name}.lock"):
            if target.is_file() and not anew:
                os.utime(target)
                return
            _make_room(size, keep=target)
            self._far.fetch(name, target, check)

    def announce(self, name: str, size: int, check: Callable[[Path], None]) -> None:
        """Fetch a file in the background."""
        if name in self._mapped or name in self._announced:
            return
        self._announced.add(name)
        self._wanted.put((name, size, check))
        if self._fetcher is None:
            self._fetcher = threading.Thread(target=self._fetch_wanted, name="shard-fetcher", daemon=True)
            self._fetcher.start()

    def _fetch_wanted(self) -> None:
        while True:
            name, size, check = self._wanted.get()
            try:
                self.fetch(name, size, check)
            except Exception as error:  # whoever needs the file will meet the error again
                _log.debug("fetching %s ahead: %s", name, error)
            finally:
                self._wanted.task_done()

    def wait(self) -> None:
        """Wait until everything announced is here (or failed)."""
        self._wanted.join()


def _make_room(size: int, keep: Path) -> None:
    """Delete the copies that were used longest ago until ``size`` more bytes fit; maps of them stay readable."""
    copies = []
    for path in (cache_folder() / "remote").glob("*/[!.]*"):
        try:
            status = path.stat()
        except FileNotFoundError:
            continue
        copies.append((status.st_mtime_ns, status.st_size, path))
    total = size + sum(copy[1] for copy in copies)
    for _, bytes_, path in sorted(copies):
        if total <= cache_limit_bytes():
            return
        if path != keep:
            path.unlink(missing_ok=True)
            total -= bytes_


def crc32_of(path: Path, start: int) -> int:
    """CRC-32 of a file from byte ``start`` on."""
    found = 0
    with path.open("rb") as file:
        file.seek(start)
        while block := file.read(_CHUNK_BYTES):
            found = zlib.crc32(block, found)
    return found
