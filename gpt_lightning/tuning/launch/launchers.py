"""Who starts workers. A launcher only starts, counts and ends them; all they do is in ``worker``.

local    a process for each slot of this machine
none     nobody: `gpt-lightning sweep worker` is typed by hand, or by a scheduler of your own
slurm    an array of jobs, requeued when the cluster takes a node away: ``cluster_launchers``
ray      a task for each slot of a Ray cluster (an extra): ``cluster_launchers``
"""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.spec.spec import LauncherSettings
from gpt_lightning.tuning.study.sweep_folder import SweepFolder
from gpt_lightning.tuning.workers.slots import Slot, find_devices, holder, make_slots

GRACE_SECONDS = 150.0
"""Longest time that workers get to save and end; a little more than they give their trials."""
_FAILURES_ALLOWED = 5


class Launcher(ABC):
    """Starts workers of one sweep.

    Args:
        folder: The sweep's folder.
        settings: ``launcher`` of the sweep file.
    """

    def __init__(self, folder: SweepFolder, settings: LauncherSettings) -> None:
        self._folder, self._settings = folder, settings
        self._failures, self._begun = 0, 0

    @abstractmethod
    def ensure(self, wanted: int, begun: int) -> None:
        """Have workers for ``wanted`` trials at once, or as many as there are slots.

        Args:
            wanted: At least 1.
            begun: Attempts that workers have begun so far.

        Raises:
            ConfigError: They cannot be started, or end again and again before they begin anything.
        """

    @abstractmethod
    def running(self) -> int:
        """Workers that run or wait to run."""

    @abstractmethod
    def stop(self) -> None:
        """Ask all workers to save and end, and wait for them."""

    def describe(self) -> str:
        """One line for the user."""
        return ""

    def _note_failure(self, begun: int, log: Path) -> None:
        """A worker has ended too early; several in a row without a trial begun in between are an error.

        Raises:
            ConfigError: They are.
        """
        self._failures = 1 if begun > self._begun else self._failures + 1
        self._begun = max(begun, self._begun)
        if self._failures >= _FAILURES_ALLOWED:
            raise ConfigError(f"Workers cannot run: {_last_line(log)}", fix=f"See {log}.")


class Local(Launcher):
    """Processes of this machine, one for each slot; those that a launcher before has left are counted in."""

    def __init__(self, folder: SweepFolder, settings: LauncherSettings) -> None:
        super().__init__(folder, settings)
        self._slots = make_slots(settings, find_devices())
        self._workers: dict[int, subprocess.Popen[bytes]] = {}

    def _busy(self, slot: Slot) -> bool:
        worker = self._workers.get(slot.index)
        return (worker is not None and worker.poll() is None) or holder(self._folder, slot.index) is not None

    def ensure(self, wanted: int, begun: int) -> None:
        """Start what is missing."""
        free = [slot for slot in self._slots if not self._busy(slot)]
        missing = min(wanted, len(self._slots)) - (len(self._slots) - len(free))
        for slot in free[: max(missing, 0)]:
            worker = self._workers.pop(slot.index, None)
            if worker is not None and worker.returncode:
                self._note_failure(begun, self._log(slot))
            self._workers[slot.index] = self._start(slot)

    def _start(self, slot: Slot) -> subprocess.Popen[bytes]:
        with self._log(slot).open("ab") as log:
            # A session of its own: Ctrl-C reaches the launcher alone, which asks the workers to save.
            return subprocess.Popen(
                worker_command(self._folder, slot),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _log(self, slot: Slot) -> Path:
        return self._folder.logs / f"worker-{slot.index}.log"

    def running(self) -> int:
        """Slots with a worker."""
        return sum(self._busy(slot) for slot in self._slots)

    def stop(self) -> None:
        """SIGTERM, and patience."""
        for slot in self._slots:
            worker, found = self._workers.get(slot.index), holder(self._folder, slot.index)
            if worker is not None and worker.poll() is None:
                worker.send_signal(signal.SIGTERM)
            elif found is not None:
                found.signal_alone(signal.SIGTERM)
        end = time.monotonic() + GRACE_SECONDS
        while self.running() and time.monotonic() < end:
            time.sleep(0.05)
        for worker in self._workers.values():
            if worker.poll() is None:
                worker.kill()

    def describe(self) -> str:
        """The slots."""
        shown = [",".join(slot.devices) or f"cpu with {slot.threads or 'all'} threads" for slot in self._slots]
        return f"{len(self._slots)} local worker{'s' * (len(self._slots) != 1)} ({'; '.join(shown[:8])})"


class Nobody(Launcher):
    """Workers are started by hand; this process only watches."""

    def ensure(self, wanted: int, begun: int) -> None:
        """Nothing."""

    def running(self) -> int:
        """Unknown: others may come at any time."""
        return 1

    def stop(self) -> None:
        """They are stopped with ``sweep stop``."""

    def describe(self) -> str:
        """What to type."""
        return f"workers are started by hand: gpt-lightning sweep worker {self._folder.path}"


def worker_command(folder: SweepFolder, slot: Slot) -> list[str]:
    """The command of a worker."""
    command = [sys.executable, "-m", "gpt_lightning", "sweep", "worker", str(folder.path)]
    if slot.index >= 0:
        command.append(f"--slot={slot.index}")
    if slot.devices:
        command.append(f"--devices={','.join(slot.devices)}")
    return [*command, f"--threads={slot.threads}"] if slot.threads else command


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() if log.is_file() else []
    return lines[-1] if lines else "no message"
