"""Files of ``torch.save`` from before its version 1.6 (2020), in which released weights still lie around.

Such a file is a row of pickles and then the numbers. ``torch.load`` allocates what the pickle states before it looks
at the numbers, so a look without torch comes first: what may be built is fixed, and elements are only counted.
"""

from __future__ import annotations

import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

_BEGIN = b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19."
"""The magic number, pickled."""


class _Nothing:
    """In the place of tensors and storages."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        pass


class _Count(pickle.Unpickler):
    """Counts the elements of the storages that a pickle asks for, and builds none."""

    sizes: dict[str, int]

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" or module.startswith("torch."):
            return _Nothing
        raise pickle.UnpicklingError(f"it names {module}.{name}")

    def persistent_load(self, pid: Any) -> Any:
        self.sizes[str(pid[2])] = int(pid[4])
        return _Nothing()


def is_old_file(file: Path) -> bool:
    """Whether a file was written by ``torch.save`` before version 1.6."""
    with file.open("rb") as stream:
        return stream.read(len(_BEGIN)) == _BEGIN


def check_old_file(file: Path) -> None:
    """Refuse a file that states more numbers than it can hold.

    Raises:
        pickle.UnpicklingError: It names something else than tensors.
        ValueError: It is damaged, or states more than it holds.
    """
    with file.open("rb") as stream:
        for _ in range(3):  # magic number, protocol, sizes of C types
            pickle.Unpickler.load(_Count(stream))
        counter = _Count(stream)
        counter.sizes = {}
        try:
            counter.load()
        except pickle.UnpicklingError:
            raise
        except Exception as error:  # whatever a damaged pickle makes of our stand-ins
            raise ValueError(f"{type(error).__name__}: {error}") from error
    stated = sum(counter.sizes.values())
    if stated > file.stat().st_size or min(counter.sizes.values(), default=0) < 0:
        raise ValueError(f"it states {stated:,} numbers and has {file.stat().st_size:,} bytes")
