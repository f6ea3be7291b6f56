"""Where stores live, and how one appears: whole or not at all, one writer at a time.

A store is written into a temporary folder beside its place, which is renamed when everything is on disk. Only folders
that carry our marker file are ever deleted. The lock is ``flock`` on a file beside the store: it vanishes with its
process, however that ends; the host, pid and start time written in it are for the message only. An attempt that failed
leaves its reason there.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from gpt_lightning.errors import DataError

_log = logging.getLogger(__name__)
_MARKER = ".gpt-lightning-store"
_FAILED = "failed: "
JOURNAL_FILE = "journal.jsonl"
"""In a working folder: a line with the number of units, then one for each that is finished."""


def cache_folder() -> Path:
    """Everything that can be made again: ``$GPT_LIGHTNING_CACHE``, or ``~/.cache/gpt_lightning``."""
    chosen = os.environ.get("GPT_LIGHTNING_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "gpt_lightning"


def is_marked(folder: Path) -> bool:
    """Whether this program made a folder for a store."""
    return (folder / _MARKER).is_file()


@contextmanager
def hold_lock(store: Path) -> Iterator[None]:
    """Be the only writer of a store; others wait here, and the log says for whom.

    Raises:
        DataError: The folder around the store cannot be written.
    """
    path = store.with_name(store.name + ".lock")
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise DataError(
            f"Cannot write in {store.parent} ({error.strerror})",
            fix="Choose another folder with --data.store or GPT_LIGHTNING_CACHE.",
        ) from error
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            _log.warning("Waiting for %s, which prepares %s", file.read().strip() or "another process", store)
            fcntl.flock(file, fcntl.LOCK_EX)
        file.seek(0)
        file.truncate()
        now = datetime.now().astimezone().isoformat(timespec="seconds")
        file.write(f"{socket.gethostname()}, pid {os.getpid()}, since {now}")
        file.flush()
        # The file stays: deleting it would let a second process lock a new file while a third holds the old one.
        try:
            yield
        except Exception as error:
            file.seek(0)
            file.truncate()
            file.write(f"{_FAILED}{error}")
            raise


def is_locked(store: Path) -> bool:
    """Whether some process of this machine is making a store."""
    try:
        with store.with_name(store.name + ".lock").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


def last_failure(store: Path) -> tuple[int, str] | None:
    """When (ns) and why the last attempt to make a store failed; None = it did not, was killed, or is going on."""
    path = store.with_name(store.name + ".lock")
    try:
        when, text = path.stat().st_mtime_ns, path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return None
    return (when, text.removeprefix(_FAILED)) if text.startswith(_FAILED) and not is_locked(store) else None


@contextmanager
def build_folder(store: Path) -> Iterator[Path]:
    """A temporary folder to write a store into; it becomes ``store`` when the block ends, and vanishes if it raises.

    To be entered while holding the lock: then whoever wrote the left-overs found here cannot be alive.

    Raises:
        DataError: Something that is not a store is in the way, or the disk refuses the write.
    """
    temporary: Path | None = None
    try:
        with _explain_disk(store):
            temporary = _begin(store)
            yield temporary
            _publish(temporary, store)
    finally:
        if temporary is not None:
            _remove_marked(temporary)


@contextmanager
def work_folder(store: Path) -> Iterator[Path]:
    """The folder for half-done work on a store: found as the last process left it, removed when the block succeeds.

    When the block raises, the folder stays for the next attempt, unless nothing in it was finished. To be entered
    while holding the lock.

    Raises:
        DataError: The disk refuses the write.
    """
    folder = work_path(store)
    try:
        with _explain_disk(store):
            folder.mkdir(exist_ok=True)
            (folder / _MARKER).touch()
            yield folder
    except BaseException:
        if count_finished(store)[0] == 0:
            _remove_marked(folder)
        raise
    _remove_marked(folder)


def work_path(store: Path) -> Path:
    """The folder for half-done work on a store, whether it is there or not."""
    return store.with_name(f".units-{store.name}-{socket.gethostname()}")


def count_finished(store: Path) -> tuple[int, int]:
    """``(finished units, units in all)`` of a store that this machine began to make; (0, 0) = it did not."""
    try:
        head, *lines = (work_path(store) / JOURNAL_FILE).read_text(encoding="utf-8").splitlines()
        return len(lines), int(json.loads(head)["units"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0, 0


@contextmanager
def _explain_disk(store: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        free = shutil.disk_usage(store.parent).free
        raise DataError(
            f"Could not write the store {store}: {error.strerror or error}; {free / 1e6:.1f} MB are free",
            fix="Make room, or choose another folder with --data.store or GPT_LIGHTNING_CACHE.",
        ) from error


def _begin(store: Path) -> Path:
    host = socket.gethostname()
    prefix = f".preparing-{store.name}-{host}-"
    for leftover in store.parent.iterdir():
        if leftover.name.startswith((prefix, f".trash-{store.name}-{host}-")):
            _remove_marked(leftover)
    folder = store.parent / f"{prefix}{os.getpid()}"
    folder.mkdir()
    (folder / _MARKER).touch()
    return folder


def _publish(temporary: Path, store: Path) -> None:
    check_place(store)
    _sync_folder(temporary)
    trash = store.parent / f".trash-{store.name}-{socket.gethostname()}-{os.getpid()}"
    if store.exists():
        os.rename(store, trash)
    os.rename(temporary, store)
    _sync_folder(store.parent)
    _remove_marked(trash)


def check_place(store: Path) -> None:
    """Raise DataError when ``store`` holds something that we did not write."""
    if not store.exists() or (store / _MARKER).is_file():
        return
    if store.is_dir() and not any(store.iterdir()):
        store.rmdir()
        return
    raise DataError(
        f"{store} exists and is not a store of gpt-lightning (it has no {_MARKER}), so it will not be replaced",
        fix="Choose another --data.store.",
    )


def _remove_marked(folder: Path) -> None:
    """Delete a folder that carries our marker, or that is empty (killed between two steps); leave any other alone."""
    if not folder.is_dir():
        return
    names = {child.name for child in folder.iterdir()}
    if names and _MARKER not in names:
        return
    # The marker goes last, or an interrupted removal would leave a folder that nobody may delete.
    for name in sorted(names, key=lambda name: name == _MARKER):
        (folder / name).unlink()
    folder.rmdir()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
