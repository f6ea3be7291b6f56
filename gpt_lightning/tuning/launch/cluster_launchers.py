"""Workers on the machines of a cluster, which share the sweep's folder: jobs of SLURM, or tasks of Ray."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.launch.launchers import GRACE_SECONDS, Launcher, Local, Nobody, worker_command
from gpt_lightning.tuning.spec.spec import LauncherSettings
from gpt_lightning.tuning.study.sweep_folder import SweepFolder
from gpt_lightning.tuning.workers.slots import Slot

_OPTION = re.compile(r"[a-z][a-z-]*")
_LOOK_SECONDS, _PAUSE_SECONDS = 2.0, 0.1
"""Between two questions: to SLURM's controller, which serves everybody, and to a process."""


class Slurm(Launcher):
    """An array of jobs, each a worker; the job script is in the sweep's folder and may be submitted by hand.

    USR1, which SLURM sends before a time limit, makes a worker save, give its trial back and requeue its job. TERM,
    which it sends when a job is cancelled or preempted, makes it save and give back: whether the job starts again is
    then SLURM's to say.
    """

    def __init__(self, folder: SweepFolder, settings: LauncherSettings) -> None:
        super().__init__(folder, settings)
        if shutil.which("sbatch") is None:
            raise ConfigError("launcher slurm needs sbatch, which is not here", fix="Take launcher.type: local.")
        self._file = folder.path / "workers.job"  # a launcher that is started again finds the jobs of the one before
        self._job = self._file.read_text(encoding="utf-8").strip() if self._file.is_file() else None
        self._submitted_at: int | None = None
        self._asked, self._answer = -_LOOK_SECONDS, 0

    def script(self, count: int) -> str:
        """The job script for ``count`` workers."""
        given = {str(name).replace("_", "-"): value for name, value in self._settings.slurm.items()}
        given.pop("array", None)
        options = {
            "job-name": f"sweep-{self._folder.path.name}",
            # sbatch(1) takes % for the beginning of a pattern.
            "output": f"{str(self._folder.logs.resolve()).replace('%', '%%')}/slurm-%A-%a.log",
            "open-mode": "append",
            "signal": "B:USR1@120",
            **given,
        }
        requeue = options.pop("requeue", True)
        for name, value in options.items():
            if not _OPTION.fullmatch(name) or not str(value).isprintable():
                # The line of a comment would end there, and the shell run the rest.
                raise ConfigError("launcher.slurm holds what is no option of sbatch", got={name: value})
        lines = [f"#SBATCH --{name}={shlex.quote(str(value))}" for name, value in options.items()]
        lines += ["#SBATCH --requeue"] if requeue else ["#SBATCH --no-requeue"]
        command = worker_command(self._folder, Slot(-1)) + ["--requeue"] * bool(requeue)
        lines += [
            f"#SBATCH --array=0-{count - 1}",
            f"cd {shlex.quote(os.getcwd())} || exit 1",
            f'exec {shlex.join(command)} --threads="${{SLURM_CPUS_PER_TASK:-0}}"',
        ]
        return "\n".join(["#!/bin/bash", *lines, ""])

    def ensure(self, wanted: int, begun: int) -> None:
        """Submit an array when none is left of the last one."""
        if self.running():
            return
        if self._submitted_at is not None and begun == self._submitted_at:
            self._note_failure(begun, self._newest_log())
        limit = self._settings.workers if self._settings.workers != "auto" else self._settings.slurm.get("array", 4)
        file = self._folder.path / "workers.sbatch"
        file.write_text(self.script(min(wanted, int(limit))), encoding="utf-8")
        done = subprocess.run(["sbatch", "--parsable", str(file)], capture_output=True, text=True, check=False)
        if done.returncode:
            raise ConfigError(f"sbatch refused {file}: {' '.join(done.stderr.split())}", fix="See launcher.slurm.")
        self._job = done.stdout.strip().partition(";")[0]
        self._file.write_text(f"{self._job}\n", encoding="utf-8")
        self._submitted_at, self._asked = begun, -_LOOK_SECONDS

    def _newest_log(self) -> Path:
        logs = sorted(self._folder.logs.glob("slurm-*.log"), key=lambda log: log.stat().st_mtime)
        return logs[-1] if logs else self._folder.logs / "slurm-*.log"

    def running(self) -> int:
        """Jobs of the array that wait or run; a scheduler that does not answer counts as one."""
        if self._job is None:
            return 0
        if time.monotonic() - self._asked >= _LOOK_SECONDS:
            self._asked, self._answer = time.monotonic(), self._ask()
        return self._answer

    def _ask(self) -> int:
        command = ["squeue", "--noheader", "--array", "--format=%T", f"--jobs={self._job}"]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            return 0 if "Invalid job id" in done.stderr else 1
        return len(done.stdout.split())

    def stop(self) -> None:
        """Take back what waits, send TERM to what runs, and wait for it."""
        if self._job is None or not self._ask():
            return
        for options in (["--state=PENDING"], ["--signal=TERM", "--full"]):
            # It complains of jobs that ended in between.
            subprocess.run(["scancel", "--quiet", *options, self._job], check=False, stderr=subprocess.DEVNULL)
        end = time.monotonic() + GRACE_SECONDS
        while self._ask():
            if time.monotonic() > end:
                subprocess.run(["scancel", "--quiet", self._job], check=False)
                return
            time.sleep(_LOOK_SECONDS)

    def describe(self) -> str:
        """Where the script is."""
        return f"workers as an array of jobs ({self._folder.path}/workers.sbatch)"


def requeue_job() -> None:
    """Let SLURM start the job of this process again; nothing outside of SLURM."""
    job, task = os.environ.get("SLURM_JOB_ID"), os.environ.get("SLURM_ARRAY_TASK_ID")
    if job is not None:
        name = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{task}" if task else job
        subprocess.run(["scontrol", "requeue", name], check=False)


class Ray(Launcher):
    """A task for each slot of a Ray cluster, whose machines share the sweep's folder.

    ``RAY_ADDRESS`` or ``ray start`` say which cluster; without them, one of this machine alone is started, which ends
    with this process. Its ports are open to the network, behind Ray's own token; its dashboard stays off.
    """

    def __init__(self, folder: SweepFolder, settings: LauncherSettings) -> None:
        super().__init__(folder, settings)
        try:
            import ray
        except ImportError as problem:
            raise ConfigError("launcher ray needs the package ray", fix="pip install 'gpt-lightning[ray]'") from problem
        self._ray: Any = ray
        if not self._ray.is_initialized():
            self._ray.init(log_to_driver=False, include_dashboard=False)
        gpus = int(self._ray.cluster_resources().get("GPU", 0))
        each = settings.devices_per_trial / settings.trials_per_device
        self._needs = {"num_gpus": each, "num_cpus": 1} if gpus else {"num_cpus": 1}
        found = int(gpus / each) if gpus else settings.trials_per_device
        self._most = found if settings.workers == "auto" else int(settings.workers)
        self._tasks: dict[int, Any] = {}

    def ensure(self, wanted: int, begun: int) -> None:
        """Submit what is missing; Ray sets CUDA_VISIBLE_DEVICES."""
        run = self._ray.remote(max_retries=-1, **self._needs)(_run_worker)
        for place in range(self._most):
            log = self._log(place)
            task = self._tasks.get(place)
            if task is not None and self._ended(task):
                del self._tasks[place]
                if self._failed(task):
                    self._note_failure(begun, log)
            if place not in self._tasks and len(self._tasks) < wanted:
                self._tasks[place] = run.remote(worker_command(self._folder, Slot(-1)), os.getcwd(), str(log))

    def _log(self, place: int) -> Path:
        return self._folder.logs / f"worker-{place}.log"

    def _ended(self, task: Any) -> bool:
        return bool(self._ray.wait([task], timeout=0)[0])

    def _failed(self, task: Any) -> bool:
        try:
            return bool(self._ray.get(task))
        except self._ray.exceptions.RayError:
            return True

    def running(self) -> int:
        """Tasks that have not ended."""
        return sum(not self._ended(task) for task in self._tasks.values())

    def stop(self) -> None:
        """Cancel; the workers get SIGTERM, save, and end."""
        tasks = [task for task in self._tasks.values() if not self._ended(task)]
        for task in tasks:
            self._ray.cancel(task)
        if tasks:
            self._ray.wait(tasks, num_returns=len(tasks), timeout=GRACE_SECONDS)

    def describe(self) -> str:
        """The number of slots."""
        return f"up to {self._most} workers on a Ray cluster"


def _run_worker(command: list[str], place: str, log: str) -> int:
    """Body of a Ray task."""
    with open(log, "ab") as file:
        process = subprocess.Popen(command, cwd=place, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        try:
            # Not wait(): Ray raises KeyboardInterrupt between two operations of Python, and does not end a system call.
            while process.poll() is None:
                time.sleep(_PAUSE_SECONDS)
            return process.returncode
        except BaseException:
            process.send_signal(signal.SIGTERM)
            process.wait(GRACE_SECONDS)
            raise


def make_launcher(folder: SweepFolder, settings: LauncherSettings) -> Launcher:
    """The launcher that the sweep file names."""
    kinds: dict[str, type[Launcher]] = {"local": Local, "slurm": Slurm, "none": Nobody, "ray": Ray}
    return kinds[settings.type](folder, settings)
