"""Locks of file systems that have none, or whose locks end at a machine: a file that exists (filelock)."""

from __future__ import annotations

import logging
import os
import socket
import time
from pathlib import Path

import filelock
import psutil

_log = logging.getLogger(__name__)
_CRASHED_SECONDS = 120.0
"""Silence after which a holder of another machine has crashed: all that can be known of it."""


class MarkerLock:
    """A file that exists as long as the lock is held: for file systems whose own locks are missing or end at a machine.

    Args:
        path: The file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock: filelock.SoftFileLock | None = None
        self._seen: tuple[int, float] | None = None

    def acquire(self) -> None:
        """Wait for it; a holder of this machine is waited for as long as it lives."""
        pause = 0.001
        while not self.try_acquire():
            time.sleep(pause)
            pause = min(0.05, 2 * pause)

    def try_acquire(self) -> bool:
        """Take it if it is free."""
        lock = filelock.SoftFileLock(self._path, thread_local=False)
        try:
            lock.acquire(blocking=False)
        except filelock.Timeout:
            self._break_if_crashed(lock)
            return False
        self._lock = lock
        return True

    def _break_if_crashed(self, lock: filelock.SoftFileLock) -> None:
        """Filelock breaks the marker of a dead process of this machine; of another one silence is all that is known."""
        pid, host = self._read()
        if host in ("", socket.gethostname()):
            return
        touched = self._path.stat().st_mtime_ns
        if self._seen is None or self._seen[0] != touched:
            self._seen = (touched, time.monotonic())
        elif time.monotonic() - self._seen[1] > _CRASHED_SECONDS:
            _log.warning("%s is removed: its holder %s has been silent", self._path, f"{pid} on {host}")
            lock.break_lock()

    def _read(self) -> tuple[int, str]:
        """Process and host that filelock has noted there."""
        try:
            pid, host, *_ = self._path.read_text(encoding="utf-8").splitlines()
            return int(pid), host
        except (OSError, ValueError):
            return 0, ""

    def is_there(self) -> bool:
        """Whether it exists and its process may live."""
        pid, host = self._read()
        return self._path.exists() and (host != socket.gethostname() or psutil.pid_exists(pid))

    def touch(self) -> None:
        """Show that its holder lives."""
        if self._lock is not None:
            os.utime(self._path)

    def release(self) -> None:
        """Give it back; harmless when it is not held."""
        if self._lock is not None:
            self._lock.release()
            self._lock = None


def find_file_system(path: Path) -> tuple[str, str]:
    """Kind and mount point of the file system of a path, as far as this machine tells."""
    place = path.absolute()
    mounts = [(Path(each.mountpoint), each.fstype) for each in psutil.disk_partitions(all=True)]
    above = [(len(mount.parts), kind, str(mount)) for mount, kind in mounts if place.is_relative_to(mount)]
    _, kind, mount = max(above, default=(0, "", place.anchor))
    return kind or "unknown", mount
