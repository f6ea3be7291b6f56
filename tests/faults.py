"""A disk and a kernel that fail at the n-th call: ENOSPC, EIO, SIGKILL, SIGSTOP at a write, fsync, rename or unlink.

Installed in a process of its own, since there is no way back::

    install(Fault("SIGKILL", at=17), place)             in a forked child
    environment(Fault("ENOSPC", at=17), place)          for a program: tests/sitecustomize installs it at its start

Only files below ``place`` count. Files are watched where Python opens them for writing (``open``, ``Path.open``,
``write_text``); what C code writes by itself, as numpy's ``tofile`` does, is seen at the next fsync or rename. A write
that fails has written half of its bytes, as a real one may. A full disk stays full; EIO comes once.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KINDS = ("ENOSPC", "EIO", "SIGKILL", "SIGSTOP")
_VARIABLE = "TESTS_FAULT"


@dataclass(frozen=True)
class Fault:
    """What happens at which call.

    Attributes:
        kind: One of ``KINDS``.
        at: Number of the call, 1 for the first; 0 = never, to count them.
    """

    kind: str
    at: int


class _Injector:
    def __init__(self, fault: Fault, place: Path) -> None:
        self.fault, self.place, self.count = fault, os.path.realpath(place), 0

    def concerns(self, path: Any) -> bool:
        try:
            name = os.path.realpath(os.fspath(path))
        except TypeError:
            return False
        return isinstance(name, str) and name.startswith(self.place)

    def meet(self, before: Callable[[], object] = lambda: None) -> None:
        """Count a call; when it is the one, do ``before`` (half of the work) and let it fail."""
        self.count += 1
        kind, at = self.fault.kind, self.fault.at
        if self.count != at and not (kind == "ENOSPC" and 0 < at < self.count):
            return
        before()
        if kind.startswith("SIG"):
            os.kill(os.getpid(), getattr(signal, kind))
        else:
            raise OSError(getattr(errno, kind), os.strerror(getattr(errno, kind)))


class _Watched:
    """A file open for writing."""

    def __init__(self, file: Any, injector: _Injector) -> None:
        self._file, self._injector = file, injector

    def write(self, data: Any) -> Any:
        if self._injector.fault.kind != "SIGSTOP":
            self._injector.meet(lambda: (self._file.write(data[: len(data) // 2]), self._file.flush()))
        return self._file.write(data)

    def __enter__(self) -> _Watched:
        self._file.__enter__()
        return self

    def __exit__(self, *args: Any) -> Any:
        return self._file.__exit__(*args)

    def __iter__(self) -> Any:
        return iter(self._file)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)


def install(fault: Fault, place: Path) -> _Injector:
    """Let ``fault`` happen to this process; the injector counts the calls."""
    injector = _Injector(fault, place)
    really_open = io.open

    def watched_open(file: Any, mode: str = "r", *args: Any, **kwargs: Any) -> Any:
        opened = really_open(file, mode, *args, **kwargs)
        writes = any(sign in mode for sign in "wax+")
        return _Watched(opened, injector) if writes and injector.concerns(file) else opened

    vars(io)["open"] = watched_open
    vars(builtins)["open"] = watched_open
    for name in ("rename", "replace", "unlink", "mkdir"):
        vars(os)[name] = _watch(getattr(os, name), injector)
    really_sync = os.fsync

    def watched_sync(descriptor: int) -> None:
        injector.meet()
        really_sync(descriptor)

    vars(os)["fsync"] = watched_sync
    return injector


def _watch(real: Callable[..., Any], injector: _Injector) -> Callable[..., Any]:
    def watched(path: Any, *args: Any, **kwargs: Any) -> Any:
        if injector.concerns(path):
            injector.meet()
        return real(path, *args, **kwargs)

    return watched


def environment(fault: Fault, place: Path) -> dict[str, str]:
    """Variables with which a Python program installs the fault at its start."""
    here = Path(__file__).parent
    places = os.pathsep.join([str(here / "sitecustomize"), str(here.parent)])
    return {_VARIABLE: f"{fault.kind} {fault.at} {place}", "PYTHONPATH": places}


def install_from_environment() -> None:
    """For ``tests/sitecustomize``."""
    text = os.environ.pop(_VARIABLE, None)  # of this process alone, not of those that it starts
    if text is not None:
        kind, at, place = text.split(" ", 2)
        install(Fault(kind, int(at)), Path(place))


def wake(pid: int) -> bool:
    """Continue a process if it stands still; whether it did. On Linux; elsewhere nobody can be asked."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return False
    if state == "T":
        os.kill(pid, signal.SIGCONT)
    return state == "T"


assert sys.platform != "win32", "signals of Unix"
