"""One process at a time, on any file system: exclusive locks on files, on top of filelock.

The kernel drops a lock when its holder dies, however that ends; a file system without such locks (some network disks
answer ENOLCK, EOPNOTSUPP or ENOSYS) gets a marker file beside the lock's instead. A lock file stays where it is, since
deleting it would let a second process lock a new file while a third holds the old one; it is never a link that is
followed; and it says who holds it: a ``Holder`` as JSON. Nobody's lock is ever taken away while he lives.

A lock is held either for moments (``with``), or for long and then *beats*: its file is touched every few seconds. A
holder of another machine that neither keeps the kernel's lock nor beats has crashed; one that beats although the
kernel's lock is free lives on a file system that does not share locks between machines, and is waited for.
"""

from __future__ import annotations

import contextlib
import errno
import json
import logging
import os
import socket
import stat
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import filelock

from gpt_lightning.errors import RunFolderError
from gpt_lightning.files.markers import MarkerLock, find_file_system
from gpt_lightning.files.processes import ProcessIdentity, ctrl_z_deferred

_log = logging.getLogger(__name__)
_NO_LOCKS = (errno.ENOLCK, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS)
_BUSY = (errno.EAGAIN, errno.EACCES)
_PROBED_SECONDS = 0.15
"""``is_locked`` holds a lock for as long as it takes to ask; whoever takes it tries again for this long."""
_BEAT_SECONDS = 4.0
_SILENT_SECONDS = 3 * _BEAT_SECONDS
_SAY_AFTER_SECONDS = 5.0


@dataclass(frozen=True)
class Holder:
    """Who holds a lock.

    Attributes:
        process: The process.
        since: Local time, for people.
        beats: Whether it touches the lock file while it lives.
    """

    process: ProcessIdentity
    since: str
    beats: bool = False

    def __str__(self) -> str:
        process = self.process
        stopped = process.here() and process.stopped()
        advice = f" (stopped: continue it with fg or kill -CONT {process.pid}, or end it)" if stopped else ""
        return f"host {process.host}, process {process.pid}, since {self.since}{advice}"


class LockHeld(Exception):
    """Another process, or another part of this one, has the lock."""

    def __init__(self, holder: Holder | None) -> None:
        self.holder = holder
        super().__init__(str(holder or "another process"))


class FileLock:
    """An exclusive lock between processes and between threads.

    ``with lock:`` waits, and is for moments: Ctrl-Z is put off until the end, or everyone else would wait for as long
    as this process is stopped.

    Args:
        path: The lock file; made where it is missing, in a folder that exists.
        beats: Whether it will be held for long.
    """

    def __init__(self, path: Path, *, beats: bool = False) -> None:
        self.path = path
        self._beats = beats
        self._descriptor: int | None = None
        self._marker = _marker_of(path)
        self._over: threading.Event | None = None
        self._deferred: contextlib.AbstractContextManager[None] | None = None

    def acquire(self, *, wait: bool = True, waiting: Callable[[str], None] | None = None) -> None:
        """Take the lock.

        Args:
            wait: Whether to wait until it is free.
            waiting: Told once for whom; None = the log is told when it takes long.

        Raises:
            LockHeld: It is not free, and ``wait`` is false.
            RunFolderError: Its file is a link.
            OSError: The file cannot be written.
        """
        begin, pause, told = time.monotonic(), 0.001, False
        while not self._try():
            passed = time.monotonic() - begin
            if not wait and passed > _PROBED_SECONDS:
                raise LockHeld(read_holder(self.path))
            if not told and passed > (_PROBED_SECONDS if waiting else _SAY_AFTER_SECONDS):
                (waiting or self._say)(str(LockHeld(read_holder(self.path))))
                told = True
            time.sleep(pause)
            pause = min(0.05, 2 * pause)
        self._sign()

    def _say(self, holder: str) -> None:
        _log.warning("Waiting for %s, which holds %s", holder, self.path)

    def _try(self) -> bool:
        descriptor = _open(self.path)
        try:
            held = self._try_kernel(descriptor) and _is_at(descriptor, self.path) and not _beating([self.path])
        except BaseException:
            os.close(descriptor)
            raise
        if held:
            self._descriptor = descriptor
        else:
            os.close(descriptor)
        return held

    def _try_kernel(self, descriptor: int) -> bool:
        try:
            return filelock.lock_descriptor(descriptor, blocking=False)
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            _tell_missing(self.path, error)
            return self._marker.try_acquire()

    def _sign(self) -> None:
        assert self._descriptor is not None
        since = time.strftime("%Y-%m-%d %H:%M:%S")
        note = ProcessIdentity.of(os.getpid()).plain() | {"since": since, "beats": self._beats}
        _rewrite(self._descriptor, json.dumps(note) + "\n")
        if self._beats:
            self._over = threading.Event()
            beat = threading.Thread(target=self._beat, args=(self._over,), name="lock-beat", daemon=True)
            beat.start()

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(_BEAT_SECONDS):
            with contextlib.suppress(OSError):
                os.utime(self.path)
                self._marker.touch()

    def release(self, *, remove: bool = False, last_words: str = "") -> None:
        """Give the lock back; harmless when it is not held.

        Args:
            remove: Whether nobody needs the file any more.
            last_words: What it says from now on; see ``read_last_words``.
        """
        if self._descriptor is None:
            return
        if self._over is not None:
            self._over.set()
        with contextlib.suppress(OSError):
            _rewrite(self._descriptor, json.dumps({"last_words": last_words}) + "\n" if last_words else "")
        if remove and sys.platform != "win32":  # which deletes no open file
            self.path.unlink(missing_ok=True)
        os.close(self._descriptor)
        self._descriptor = None
        self._marker.release()
        if remove and sys.platform == "win32":
            with contextlib.suppress(OSError):
                self.path.unlink(missing_ok=True)

    def __enter__(self) -> FileLock:
        """Take the lock for a moment."""
        self.acquire()
        self._deferred = ctrl_z_deferred()
        self._deferred.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Give it back."""
        self.release()
        if self._deferred is not None:
            self._deferred.__exit__(None, None, None)


def _marker_of(path: Path) -> MarkerLock:
    return MarkerLock(path.with_name(f"{path.name}.held"))


_told: set[str] = set()


def _tell_missing(path: Path, error: OSError) -> None:
    kind, mount = find_file_system(path)
    if mount not in _told:
        _told.add(mount)
        _log.warning(
            "The file system %s at %s has no locks (%s): files .held serve instead", kind, mount, error.strerror
        )


def is_locked(path: Path) -> bool:
    """Whether somebody holds the lock of this file; asking leaves no trace, and never makes a taker fail."""
    try:
        descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    except OSError:
        return False
    try:
        return not _try_shared(descriptor)
    except OSError as error:
        return error.errno in _NO_LOCKS and _marker_of(path).is_there()
    finally:
        os.close(descriptor)  # with what was locked


def find_holder_elsewhere(paths: Sequence[Path]) -> Holder | None:
    """Somebody who lives on another machine and holds one of these locks: the kernel says so, or it beats.

    Where neither is so at once, it takes the seconds that a silence must last to be a death.
    """
    holders = {path: holder for path in paths if (holder := read_holder(path)) is not None and not _is_near(holder)}
    alive = [path for path in holders if is_locked(path)] or _beating(list(holders))
    return holders[alive[0]] if alive else None


def _is_near(holder: Holder) -> bool:
    return holder.process.host == socket.gethostname()


def _beating(paths: Sequence[Path]) -> list[Path]:
    """Those of locks held on other machines, free for the kernel, whose holders still beat; none after a silence."""
    holders = [(path, read_holder(path)) for path in paths]
    waited = {path: holder for path, holder in holders if holder and holder.beats and not _is_near(holder)}
    if not waited:
        return []
    _log.info("Looking whether %s has crashed", ", ".join(f"{holder} of {path}" for path, holder in waited.items()))
    first, end = {path: _touched(path) for path in waited}, time.monotonic() + _SILENT_SECONDS
    while time.monotonic() < end:
        time.sleep(_BEAT_SECONDS / 8)
        if beating := [path for path in waited if _touched(path) != first[path]]:
            return beating
    return []


def _try_shared(descriptor: int) -> bool:
    """Shared, so that those who ask do not see each other, where the system knows such locks."""
    try:
        import fcntl
    except ImportError:
        return filelock.lock_descriptor(descriptor, blocking=False)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in _BUSY:
            return False
        raise
    return True


def read_holder(path: Path, tries: int = 20) -> Holder | None:
    """Who holds the lock of this file, or held it when the machine went down; None = nobody."""
    for _ in range(tries):
        try:
            note = json.loads(_read(path) or "{}")
            if "pid" not in note:
                return None
            process = ProcessIdentity(*(note[name] for name in ("host", "boot", "pid", "started")))
            return Holder(process, str(note.get("since", "")), bool(note.get("beats")))
        except OSError:
            return None
        except (ValueError, KeyError, TypeError):
            time.sleep(0.005)  # it is just being written
    return None


def read_last_words(path: Path) -> str:
    """What the last holder left, see ``FileLock.release``; empty while somebody holds the lock."""
    try:
        note = json.loads(_read(path) or "{}")
        return str(note.get("last_words", ""))
    except (OSError, ValueError, AttributeError):
        return ""


_FLAGS = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)


def _open(path: Path) -> int:
    if not path.is_symlink():  # for systems without O_NOFOLLOW
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | _FLAGS, 0o666)
        except OSError as error:
            if error.errno != errno.ELOOP:
                raise
        else:
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                return descriptor
            os.close(descriptor)
    raise RunFolderError(
        f"The lock file {path} is a link or no file at all, and such a lock is never followed", fix="Delete it."
    )


def _is_at(descriptor: int, path: Path) -> bool:
    """Whether the file that is locked is still the one of this name."""
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _read(path: Path) -> str:
    descriptor = os.open(path, os.O_RDONLY | _FLAGS)
    try:
        return os.read(descriptor, 1 << 16).decode("utf-8", errors="replace")
    finally:
        os.close(descriptor)


def _rewrite(descriptor: int, text: str) -> None:
    content = text.encode("utf-8")
    os.lseek(descriptor, 0, os.SEEK_SET)
    os.write(descriptor, content)
    os.ftruncate(descriptor, len(content))


def _touched(path: Path) -> int:
    descriptor = os.open(path, os.O_RDONLY | _FLAGS)  # opening is what makes a network disk look anew
    try:
        return os.fstat(descriptor).st_mtime_ns
    finally:
        os.close(descriptor)
