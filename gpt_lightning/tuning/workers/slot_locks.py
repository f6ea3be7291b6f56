"""One worker for each slot of a machine, whoever started it: the launcher now, one that died before, or a person."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.files.locks import FileLock, LockHeld, find_holder_elsewhere, is_locked, read_holder
from gpt_lightning.files.processes import ProcessIdentity
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study.sweep_folder import SweepFolder

_PATIENCE_SECONDS = 2.0


def _path(folder: SweepFolder, index: int) -> Path:
    place = str(index) if index >= 0 else f"p{os.getpid()}"
    return folder.logs / f"slot-{socket.gethostname()}-{place}.lock"


@contextmanager
def hold_slot(folder: SweepFolder, index: int) -> Iterator[None]:
    """Have a slot for as long as the block lasts; a number below 0 is a worker without one.

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
        lock.release(remove=index < 0)


def check_reach(spec: SweepSpec, folder: SweepFolder) -> None:
    """Before a study is opened: SQLite shares memory or locks between processes, which those of two machines lack.

    Raises:
        ConfigError: Its file is to be shared by several machines, or a worker of another one is at it.
    """
    if not spec.storage.startswith("sqlite"):
        return
    several = spec.launcher.type in ("slurm", "ray")
    found = None if several else find_holder_elsewhere(sorted(folder.logs.glob("slot-*.lock")))
    if several or found is not None:
        told = f"launcher {spec.launcher.type} starts workers on several" if several else f"a worker is on {found}"
        raise ConfigError(
            f"storage sqlite is for the processes of one machine, and {told}, which could destroy the study",
            got=spec.storage,
            allowed="journal (in the sweep's folder), or the URL of a database, such as postgresql+psycopg://...",
            fix="Say --set storage=journal; a sweep that was begun is stopped and takes its trials along with "
            "gpt-lightning sweep fsck SWEEP --repair --set storage=journal.",
        )


def holder(folder: SweepFolder, index: int) -> ProcessIdentity | None:
    """The worker of a slot; None when it is free."""
    path, end = _path(folder, index), time.monotonic() + _PATIENCE_SECONDS
    while is_locked(path):
        found = read_holder(path)
        if found is not None and (time.monotonic() > end or found.process.alive()):
            return found.process
        time.sleep(0.01)  # it has just been taken: nobody's name stands there yet, or that of one who was killed
    return None
