"""One worker for each slot of a machine, whoever started it: the launcher now, one that died before, or a person."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt_lightning.errors import RunFolderError
from gpt_lightning.files.locks import FileLock, LockHeld, is_locked, read_holder
from gpt_lightning.files.processes import ProcessIdentity
from gpt_lightning.tuning.study.sweep_folder import SweepFolder

_PATIENCE_SECONDS = 2.0


def _path(folder: SweepFolder, index: int) -> Path:
    return folder.logs / f"slot-{socket.gethostname()}-{index}.lock"


@contextmanager
def hold_slot(folder: SweepFolder, index: int) -> Iterator[None]:
    """Have a slot for as long as the block lasts.

    Raises:
        RunFolderError: Another worker has it.
    """
    lock = FileLock(_path(folder, index), beats=True)
    try:
        lock.acquire(wait=False)
    except LockHeld as held:
        raise RunFolderError(
            f"Slot {index} of {folder.path} has a worker already ({held})",
            fix="Leave out --slot, or take another number.",
        ) from held
    try:
        yield
    finally:
        lock.release()


def holder(folder: SweepFolder, index: int) -> ProcessIdentity | None:
    """The worker of a slot; None when it is free."""
    path, end = _path(folder, index), time.monotonic() + _PATIENCE_SECONDS
    while is_locked(path):
        found = read_holder(path)
        if found is not None and (time.monotonic() > end or found.process.alive()):
            return found.process
        time.sleep(0.01)  # it has just been taken: nobody's name stands there yet, or that of one who was killed
    return None
