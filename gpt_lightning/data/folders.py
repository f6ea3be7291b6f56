"""Where stores live, and how one appears: whole or not at all, one writer at a time.

A store is written into a temporary folder beside its place, which is renamed when everything is on disk. Only folders
that carry our marker file are ever deleted. The lock is a file beside the store (``files.locks``): it vanishes with its
process, however that ends. An attempt that failed leaves its reason there, and its finished units: whoever gets the
lock next, on whatever machine, takes them over.
"""

from __future__ import annotations

import contextlib
import glob
import json
import logging
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import fsync_folder
from gpt_lightning.files.locks import FileLock, LockHeld, is_locked, read_last_words
from gpt_lightning.files.processes import own_mark

_log = logging.getLogger(__name__)
STORE_MARKER = ".gpt-lightning-store"
JOURNAL_FILE = "journal.jsonl"
"""In a working folder: a line with the number of units, then one for each that is finished."""


def cache_folder() -> Path:
    """Everything that can be made again: ``$GPT_LIGHTNING_CACHE``, or ``~/.cache/gpt_lightning``."""
    chosen = os.environ.get("GPT_LIGHTNING_CACHE")
    return Path(chosen).expanduser() if chosen else Path.home() / ".cache" / "gpt_lightning"


def is_marked(folder: Path) -> bool:
    """Whether this program made a folder for a store."""
    return (folder / STORE_MARKER).is_file()


@contextmanager
def hold_lock(store: Path) -> Iterator[None]:
    """Be the only writer of a store; others wait here, and the log says for whom.

    Raises:
        DataError: The folder around the store cannot be written.
    """
    lock = FileLock(_lock_path(store), beats=True)
    try:
        store.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(waiting=lambda holder: _log.warning("Waiting for %s, which prepares %s", holder, store))
    except OSError as error:
        raise DataError(
            f"Cannot write in {store.parent} ({error.strerror})",
            fix="Choose another folder with --data.store or GPT_LIGHTNING_CACHE.",
        ) from error
    reason = ""
    try:
        yield
    except Exception as error:
        reason = str(error)
        raise
    finally:
        lock.release(last_words=reason)


def _lock_path(store: Path) -> Path:
    return store.with_name(store.name + ".lock")


def is_being_made(store: Path) -> bool:
    """Whether some process is making a store."""
    return is_locked(_lock_path(store))


def last_failure(store: Path) -> tuple[int, str] | None:
    """When (ns) and why the last attempt to make a store failed; None = it did not, was killed, or is going on."""
    path = _lock_path(store)
    reason = read_last_words(path)
    return (path.stat().st_mtime_ns, reason) if reason and not is_locked(path) else None


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
            _clear(temporary)


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
            _take_over(store)
            folder.mkdir(exist_ok=True)
            (folder / STORE_MARKER).touch()
            yield folder
    except BaseException:
        if count_finished(store)[0] == 0:
            _clear(folder)
        raise
    _clear(folder)


def work_path(store: Path) -> Path:
    """The folder for half-done work on a store, whether it is there or not."""
    return store.with_name(f".units-{store.name}")


def _take_over(store: Path) -> None:
    """Find what an older version left, which put the machine's name into the folder's."""
    for folder in sorted(store.parent.glob(f".units-{glob.escape(store.name)}-*")):
        if is_marked(folder) and (folder / JOURNAL_FILE).is_file() and not work_path(store).exists():
            os.rename(folder, work_path(store))
        else:
            _remove_marked(folder)


def count_finished(store: Path) -> tuple[int, int]:
    """``(finished units, units in all)`` of a store that was begun; (0, 0) = it was not."""
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
    for leftover in _unfinished(store):
        _remove_marked(leftover)
    folder = store.with_name(f".preparing-{store.name}@{own_mark()}")
    folder.mkdir()
    (folder / STORE_MARKER).touch()
    return folder


def _publish(temporary: Path, store: Path) -> None:
    check_place(store)
    fsync_folder(temporary)
    trash = store.with_name(f".trash-{store.name}@{own_mark()}")
    if store.exists():
        os.rename(store, trash)
    os.rename(temporary, store)
    fsync_folder(store.parent)
    _clear(trash)


def _unfinished(store: Path) -> list[Path]:
    """What a killed process may have left: a store half written, or the one that was replaced."""
    names = (f".preparing-{store.name}", f".trash-{store.name}")
    return [child for child in store.parent.iterdir() if child.name.rpartition("@")[0] in names]


def remove_leftovers(store: Path) -> None:
    """Delete what was left of making a store that is ready, by a process killed behind the rename."""
    lock = FileLock(_lock_path(store), beats=True)
    with contextlib.suppress(OSError, LockHeld):  # a disk that is read only, or somebody who cleans up himself
        leftovers = [path for path in (work_path(store), *_unfinished(store)) if path.is_dir()]
        if not leftovers:
            return
        lock.acquire(wait=False)
        try:
            for folder in leftovers:
                _clear(folder)
        finally:
            lock.release()


def _clear(folder: Path) -> None:
    """Delete a folder of ours if the disk allows it: what went wrong before is told, not that this does too."""
    try:
        _remove_marked(folder)
    except OSError as error:
        _log.warning("Could not delete %s (%s): the next preparation does", folder, error.strerror or error)


def check_place(store: Path) -> None:
    """Raise DataError when ``store`` holds something that we did not write."""
    if not store.exists() or (store / STORE_MARKER).is_file():
        return
    if store.is_dir() and not any(store.iterdir()):
        store.rmdir()
        return
    raise DataError(
        f"{store} exists and is not a store of gpt-lightning (it has no {STORE_MARKER}), so it will not be replaced",
        fix="Choose another --data.store.",
    )


def _remove_marked(folder: Path) -> None:
    """Delete a folder that carries our marker, or that is empty (killed between two steps); leave any other alone."""
    if not folder.is_dir():
        return
    names = {child.name for child in folder.iterdir()}
    if names and STORE_MARKER not in names:
        return
    # The marker goes last, or an interrupted removal would leave a folder that nobody may delete.
    for name in sorted(names, key=lambda name: name == STORE_MARKER):
        (folder / name).unlink()
    folder.rmdir()
