"""Who starts workers. A launcher only starts, counts and ends them; all they do is in ``worker``.

local    a process for each slot of this machine
slurm    an array of jobs, requeued when the cluster takes a node away
none     nobody: `gpt-lightning sweep worker` is typed by hand, or by a scheduler of your own
ray      a task for each slot of a Ray cluster (an extra)
"""

from __future__ import annotations

import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.slot_locks import holder
from gpt_lightning.tuning.slots import Slot, find_devices, make_slots
from gpt_lightning.tuning.spec import LauncherSettings
from gpt_lightning.tuning.sweep_folder import SweepFolder

_GRACE_SECONDS = 150.0
_FAILURES_ALLOWED = 3


class Launcher(ABC):
    """Starts workers of one sweep.

    Args:
        folder: The sweep's folder.
        settings: ``launcher`` of the sweep file.
    """

    def __init__(self, folder: SweepFolder, settings: LauncherSettings) -> None:
        self._folder, self._settings = folder, settings

    @abstractmethod
    def ensure(self, wanted: int) -> None:
        """Have workers for ``wanted`` trials at once, or as many as there are slots.

        Raises:
            ConfigError: They cannot be started.
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


class Local(Launcher):
    """Processes of this machine, one for each slot; those that a launcher before has left are counted in."""

    def __init__(self, folder: SweepFolder, settings: LauncherSettings) -> None:
        super().__init__(folder, settings)
        self._slots = make_slots(settings, find_devices())
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self._failures = 0

    def _busy(self, slot: Slot) -> bool:
        worker = self._workers.get(slot.index)
        return (worker is not None and worker.poll() is None) or holder(self._folder, slot.index) is not None

    def ensure(self, wanted: int) -> None:
        """Start what is missing; workers that fail again and again are an error."""
        free = [slot for slot in self._slots if not self._busy(slot)]
        missing = min(wanted, len(self._slots)) - (len(self._slots) - len(free))
        for slot in free[: max(missing, 0)]:
            worker = self._workers.get(slot.index)
            if worker is not None and worker.returncode > 0:
                self._failures += 1
            if self._failures >= _FAILURES_ALLOWED:
                log = self._log(slot)
                raise ConfigError(f"Workers cannot run: {_last_line(log)}", fix=f"See {log}.")
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
        end = time.monotonic() + _GRACE_SECONDS
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

    def ensure(self, wanted: int) -> None:
        """Nothing."""

    def running(self) -> int:
        """Unknown: others may come at any time."""
        return 1

    def stop(self) -> None:
        """They are stopped with ``sweep stop``."""

    def describe(self) -> str:
        """What to type."""
        return f"workers are started by hand: gpt-lightning sweep worker {self._folder.path}"


class Slurm(Launcher):
    """An array of jobs, each a worker; the job script is in the sweep's folder and may be submitted by hand."""

    def __init__(self, folder: SweepFolder, settings: LauncherSettings) -> None:
        super().__init__(folder, settings)
        if shutil.which("sbatch") is None:
            raise ConfigError("launcher slurm needs sbatch, which is not here", fix="Take launcher.type: local.")
        self._job: str | None = None

    def script(self, count: int) -> str:
        """The job script for ``count`` workers."""
        given = {str(name).replace("_", "-"): value for name, value in self._settings.slurm.items()}
        given.pop("array", None)
        options = {
            "job-name": f"sweep-{self._folder.path.name}",
            "output": f"{self._folder.logs.resolve()}/slurm-%A-%a.log",
            "open-mode": "append",
            # The worker then saves, puts its trial back, and ends with a code that says so.
            "signal": "B:USR1@120",
            **given,
        }
        requeue = options.pop("requeue", True)
        lines = [f"#SBATCH --{name}={value}" for name, value in options.items()]
        lines += ["#SBATCH --requeue"] if requeue else []
        command = shlex.join(
            [*worker_command(self._folder, Slot(-1)), "--requeue"]
            if requeue
            else worker_command(self._folder, Slot(-1))
        )
        lines += [f"#SBATCH --array=0-{count - 1}", f"cd {shlex.quote(os.getcwd())}", f"exec {command}"]
        return "\n".join(["#!/bin/bash", *lines, ""])

    def ensure(self, wanted: int) -> None:
        """Submit an array when none is left of the last one."""
        if wanted < 1 or self.running():
            return
        limit = self._settings.workers if self._settings.workers != "auto" else self._settings.slurm.get("array", 4)
        file = self._folder.path / "workers.sbatch"
        file.write_text(self.script(min(wanted, int(limit))), encoding="utf-8")
        done = subprocess.run(["sbatch", "--parsable", str(file)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"sbatch refused {file}: {' '.join(done.stderr.split())}", fix="See launcher.slurm.")
        self._job = done.stdout.strip().partition(";")[0]

    def running(self) -> int:
        """Jobs of the array that wait or run; a scheduler that does not answer counts as one."""
        if self._job is None:
            return 0
        done = subprocess.run(
            ["squeue", "--noheader", "--array", "--format=%T", f"--jobs={self._job}"],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return 0 if "Invalid job id" in done.stderr else 1
        return len(done.stdout.split())

    def stop(self) -> None:
        """Cancel, which sends SIGTERM first."""
        if self._job is not None:
            subprocess.run(["scancel", "--signal=TERM", "--full", self._job], check=False)
            time.sleep(1)

    def describe(self) -> str:
        """Where the script is."""
        return f"workers as an array of jobs ({self._folder.path}/workers.sbatch)"


class Ray(Launcher):
    """A task for each slot of a Ray cluster, whose machines share the sweep's folder."""

    def __init__(self, folder: SweepFolder, settings: LauncherSettings) -> None:
        super().__init__(folder, settings)
        try:
            import ray
        except ImportError as problem:
            raise ConfigError("launcher ray needs the package ray", fix="pip install 'gpt-lightning[ray]'") from problem
        self._ray: Any = ray
        if not ray.is_initialized():
            ray.init(log_to_driver=False)
        gpus = int(ray.cluster_resources().get("GPU", 0))
        each = settings.devices_per_trial / settings.trials_per_device
        self._needs = {"num_gpus": each, "num_cpus": 1} if gpus else {"num_cpus": 1}
        found = int(gpus / each) if gpus else settings.trials_per_device
        self._most = found if settings.workers == "auto" else int(settings.workers)
        self._tasks: list[Any] = []

    def ensure(self, wanted: int) -> None:
        """Submit what is missing; Ray sets CUDA_VISIBLE_DEVICES."""
        run = self._ray.remote(max_retries=-1, **self._needs)(_run_worker)
        for index in range(self.running(), min(wanted, self._most)):
            command = worker_command(self._folder, Slot(-1))
            self._tasks.append(run.remote(command, os.getcwd(), str(self._folder.logs / f"worker-{index}.log")))

    def running(self) -> int:
        """Tasks that have not ended."""
        if not self._tasks:
            return 0
        _, self._tasks = self._ray.wait(self._tasks, num_returns=len(self._tasks), timeout=0)
        return len(self._tasks)

    def stop(self) -> None:
        """Cancel; the workers get SIGINT, save, and end."""
        for task in self._tasks:
            self._ray.cancel(task)
        self._ray.wait(self._tasks, num_returns=len(self._tasks), timeout=_GRACE_SECONDS) if self._tasks else None

    def describe(self) -> str:
        """The number of slots."""
        return f"up to {self._most} workers on a Ray cluster"


def _run_worker(command: list[str], place: str, log: str) -> int:
    """Body of a Ray task."""
    with open(log, "ab") as file:
        process = subprocess.Popen(command, cwd=place, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            return process.wait()
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait(_GRACE_SECONDS)
            raise


def worker_command(folder: SweepFolder, slot: Slot) -> list[str]:
    """The command of a worker."""
    command = [sys.executable, "-m", "gpt_lightning", "sweep", "worker", str(folder.path)]
    if slot.index >= 0:
        command.append(f"--slot={slot.index}")
    if slot.devices:
        command.append(f"--devices={','.join(slot.devices)}")
    return [*command, f"--threads={slot.threads}"] if slot.threads else command


def make_launcher(folder: SweepFolder, settings: LauncherSettings) -> Launcher:
    """The launcher that the sweep file names."""
    kinds: dict[str, type[Launcher]] = {"local": Local, "slurm": Slurm, "none": Nobody, "ray": Ray}
    return kinds[settings.type](folder, settings)


def _last_line(log: Path) -> str:
    lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
    return lines[-1] if lines else "no message"
