"""What one worker may use: a set of devices or a share of one, and its part of the CPU's threads.

A lock keeps it to one worker for each slot of a machine, whoever started it: the launcher now, one that died before, or
a person.
"""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.files.locks import FileLock, LockHeld, find_holder_elsewhere, is_locked, read_holder
from gpt_lightning.files.processes import ProcessIdentity, count_cores
from gpt_lightning.tuning.spec.spec import LauncherSettings, SweepSpec
from gpt_lightning.tuning.study.sweep_folder import SweepFolder


@dataclass(frozen=True)
class Slot:
    """A place for one trial at a time.

    Attributes:
        index: Number of the slot; -1 = nobody counts.
        devices: Devices as ``CUDA_VISIBLE_DEVICES`` names them: numbers or UUIDs; empty = whatever the process sees.
        threads: CPU threads of a trial; 0 = as many as torch chooses.
    """

    index: int = 0
    devices: tuple[str, ...] = ()
    threads: int = 0

    def environment(self) -> dict[str, str]:
        """Variables of the trial's process."""
        return {"CUDA_VISIBLE_DEVICES": ",".join(self.devices)} if self.devices else {}


def make_slots(settings: LauncherSettings, found: tuple[str, ...], cores: int | None = None) -> list[Slot]:
    """The slots of this machine.

    Without devices the CPU counts as one, which ``trials_per_device`` trials share; alone on it, a trial gets the
    threads that torch chooses, as ``fit`` would.

    Args:
        settings: Of the sweep file.
        found: Devices of this machine, of which ``settings.devices`` may name some.
        cores: CPU cores; None = those of this process.

    Raises:
        ConfigError: More devices for one trial than there are, or one that does not exist.
    """
    named = found if settings.devices == "auto" else tuple(settings.devices)
    cores = cores or count_cores()
    if not named:
        count = settings.trials_per_device if settings.workers == "auto" else int(settings.workers)
        threads = 0 if count == 1 else max(1, cores // max(count, 1))
        return [Slot(index, (), threads) for index in range(count)]
    size = settings.devices_per_trial
    if size > len(named):
        raise ConfigError(
            "launcher.devices_per_trial is more than there are",
            got=size,
            allowed=f"1 to {len(named)} ({', '.join(named)})",
        )
    sets = [named[start : start + size] for start in range(0, len(named) - size + 1, size)]
    slots = [each for each in sets for _ in range(settings.trials_per_device)]
    if settings.workers != "auto":
        slots = [slots[index % len(slots)] for index in range(int(settings.workers))]
    return [Slot(index, each, max(1, cores // len(slots))) for index, each in enumerate(slots)]


def find_devices() -> tuple[str, ...]:
    """Devices that this process may use, as ``CUDA_VISIBLE_DEVICES`` names them."""
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is not None:
        return tuple(each.strip() for each in visible.split(",") if each.strip())
    import torch

    return tuple(str(index) for index in range(torch.cuda.device_count()))


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
