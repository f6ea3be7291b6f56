"""Memory-mapped files that are mapped when they are looked at, and only so many at a time.

A mapping holds a file descriptor, and a process may have 1,024 of them on many machines: the shards of about 50 billion
tokens, or of a mixture of smaller stores. All files of the process share one allowance; what was looked at longest ago
is let go, and mapped again when it is wanted.
"""

from __future__ import annotations

import threading
import weakref
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.errors import DataError
from gpt_lightning.files.processes import open_files_limit

_FEWEST, _MOST = 16, 8192
"""The second because a process may have some 65,000 mappings of all kinds on Linux."""


def count_mappings() -> int:
    """How many files may be mapped at once: a quarter of the descriptors that the process may have."""
    limit = open_files_limit()
    return max(_FEWEST, min(limit // 4, _MOST)) if limit > 0 else _MOST


class MappedFile:
    """The numbers of a file from some byte on.

    Args:
        path: The file, which exists.
        dtype: Of the numbers, with their byte order, e.g. ``<u2``.
        offset: Where they begin, in bytes.
        count: How many.
    """

    def __init__(self, path: Path, dtype: str | np.dtype[Any], offset: int, count: int) -> None:
        self.path, self.dtype = path, np.dtype(dtype)
        self._offset, self._count = offset, count
        self._identity = _identify(path)
        self._array: npt.NDArray[Any] | None = None

    def __len__(self) -> int:
        return self._count

    def load(self) -> npt.NDArray[Any]:
        """The numbers, ``(count,)``, read-only; nothing is read before they are looked at.

        Raises:
            DataError: The file is another than it was, or the process may open no more.
        """
        array = self._array
        if array is None:
            array = self._array = self._map()
        _allowance.note(self)
        return array

    def let_go(self) -> None:
        """Unmap, once nobody uses the numbers any more."""
        self._array = None

    def _map(self) -> npt.NDArray[Any]:
        if self._count == 0:
            return np.empty(0, self.dtype)  # nothing cannot be mapped
        try:
            # A plain ndarray view: indexing np.memmap itself is 1.5 times slower.
            array = np.memmap(self.path, self.dtype, "r", self._offset, self._count).view(np.ndarray)
            same = _identify(self.path) == self._identity
        except OSError as error:
            raise DataError(
                f"Cannot map {self.path} ({error.strerror or error})",
                fix="Check that it is there; with too many open files, type ulimit -n 4096 first.",
            ) from error
        if not same:
            raise DataError(f"{self.path} was replaced while it was in use", fix="Start again.")
        return array


class MappedFiles(Sequence[npt.NDArray[Any]]):
    """The numbers of several files, each mapped when it is looked at."""

    def __init__(self, files: Sequence[MappedFile]) -> None:
        self._files = files

    def __getitem__(self, index: Any, /) -> Any:
        return self._files[index].load()

    def __len__(self) -> int:
        return len(self._files)


class _Allowance:
    """Which files are mapped, those looked at last at the end."""

    def __init__(self) -> None:
        self._mapped: OrderedDict[int, weakref.ref[MappedFile]] = OrderedDict()
        self._lock = threading.Lock()

    def note(self, file: MappedFile) -> None:
        key = id(file)
        with self._lock:
            if key in self._mapped:
                self._mapped.move_to_end(key)
                return
            # Gone files count no more. Without the lock: collecting garbage may come to this while it is held.
            self._mapped[key] = weakref.ref(file, lambda _: self._mapped.pop(key, None) and None)
            most = count_mappings()
            while len(self._mapped) > most:
                _, oldest = self._mapped.popitem(last=False)
                if (gone := oldest()) is not None:
                    gone.let_go()


_allowance = _Allowance()


def _identify(path: Path) -> tuple[int, int, int]:
    status = path.stat()
    return status.st_dev, status.st_ino, status.st_size
