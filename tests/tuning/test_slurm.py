"""Sweeps and runs as jobs of a real SLURM: arrays of workers, jobs that are warned, cancelled, and put back."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.errors import ConfigError
from gpt_lightning.training.fitting.build import build
from gpt_lightning.tuning.launch.cluster_launchers import Slurm
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.study.sweep import Sweep, open_sweep
from gpt_lightning.tuning.study.sweep_folder import SweepFolder
from tests.training.test_resume_exact import assert_equal, outcome
from tests.tuning.saboteurs import sabotage
from tests.tuning.slurm_cluster import missing, slurm_cluster
from tests.tuning.sweeping import BASE, write_sweep
from tests.tuning.watching import FOR_COMMANDS, start, wait_until


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def slurm() -> Iterator[dict[str, str]]:
    """The cluster's environment."""
    reason = missing()
    if reason is not None:
        pytest.skip(reason)
    with slurm_cluster() as environment:
        yield {**environment, **FOR_COMMANDS}


LOG = Path("launcher.log")


def finish(launcher: subprocess.Popen[bytes]) -> Sweep:
    assert launcher.wait(600) == 0, LOG.read_text()[-3000:]
    return open_sweep(SweepFolder(Path("runs/s")))


def ask(environment: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_job_script(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("gpt_lightning.tuning.launch.cluster_launchers.shutil.which", lambda _: "sbatch")
    settings = {"partition": "gpu", "gres": "gpu:1", "cpus_per_task": 8, "time": "12:00:00", "array": 16}
    spec = read_spec(write_sweep(tmp_path, {"launcher": {"type": "slurm", "slurm": settings}}))
    folder = SweepFolder(tmp_path / "runs" / "with space")
    lines = Slurm(folder, spec.launcher).script(3).splitlines()
    assert lines[0] == "#!/bin/bash"
    given = {"--partition=gpu", "--gres=gpu:1", "--cpus-per-task=8", "--time=12:00:00", "--array=0-2", "--requeue"}
    assert {f"#SBATCH {option}" for option in given} <= set(lines)
    assert f"#SBATCH --output='{folder.logs}/slurm-%A-%a.log'" in lines
    assert lines[-1].startswith("exec ")
    assert lines[-1].endswith('--requeue --threads="${SLURM_CPUS_PER_TASK:-0}"')
    never = {**settings, "requeue": False}
    spec = read_spec(write_sweep(tmp_path, {"launcher": {"type": "slurm", "slurm": never}}))
    script = Slurm(folder, spec.launcher).script(1)
    assert "#SBATCH --no-requeue" in script
    assert "--requeue " not in script


@pytest.mark.parametrize("settings", [{"comment": "x\ntouch owned"}, {"comment\ntouch owned\n#": "x"}])
def test_a_sweep_file_adds_no_lines_to_the_script(
    settings: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("gpt_lightning.tuning.launch.cluster_launchers.shutil.which", lambda _: "sbatch")
    spec = read_spec(write_sweep(tmp_path, {"launcher": {"type": "slurm", "slurm": settings}}))
    with pytest.raises(ConfigError, match="no option of sbatch"):
        Slurm(SweepFolder(tmp_path / "runs" / "s"), spec.launcher).script(1)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_an_array_of_jobs_finishes_a_sweep(tmp_path: Path, slurm: dict[str, str]) -> None:
    launcher = {"type": "slurm", "workers": 2, "slurm": {"ntasks": 1, "time": "00:10:00"}}
    content = {"budget": {"trials": 6}, "launcher": launcher, "storage": "journal", "derive": {"trainer.max_steps": 3}}
    sweep = finish(start(LOG, "sweep", "run", str(write_sweep(tmp_path, content)), environment=slurm))
    assert [entry.state for entry in sweep.entries()] == ["complete"] * 6
    owners = {entry.fact("lease")["owner"]["pid"] for entry in sweep.entries()}
    assert len(owners) == 2, "both jobs have worked"
    assert len(list(sweep.folder.logs.glob("slurm-*-*.log"))) == 2
    assert ask(slurm, "squeue", "--noheader") == ""


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_job_that_is_put_back_goes_on_from_its_own_checkpoint(tmp_path: Path, slurm: dict[str, str]) -> None:
    """Once warned by USR1 as before a time limit, once requeued by the cluster as for a preemption, once cancelled."""
    steps = 60
    content: dict[str, Any] = {
        "parameters": {"trainer.callbacks": {"values": [sabotage("slow")]}, "trainer.max_steps": {"values": [steps]}},
        "method": "grid",
        "launcher": {"type": "slurm", "workers": 1, "slurm": {"ntasks": 1, "time": "00:20:00"}},
        "storage": "journal",
    }
    launcher = start(LOG, "sweep", "run", str(write_sweep(tmp_path, content)), environment=slurm)
    folder, job = SweepFolder(Path("runs/s")), Path("runs/s/workers.job")
    ways = [["scancel", "--signal=USR1", "--batch"], ["scontrol", "requeue"]]
    for begun, way in enumerate(ways, 1):
        wait_until(lambda n=begun: attempts_with_reports(folder) >= n, launcher, LOG)  # type: ignore[misc]
        array = job.read_text().strip()
        ask(slurm, *way, f"{array}_0")
    wait_until(lambda: attempts_with_reports(folder) >= 3, launcher, LOG)
    assert "Restarts=2" in ask(slurm, "scontrol", "show", "job", f"{array}_0")
    launcher.send_signal(signal.SIGINT)
    assert launcher.wait(300) == 130
    assert ask(slurm, "squeue", "--noheader") == "", "Ctrl-C takes the jobs away, and they do not come back"
    assert [entry.state for entry in open_sweep(folder).entries()] == ["waiting"]
    (entry,) = finish(start(LOG, "sweep", "run", "s.yaml", environment=slurm)).entries()
    assert (entry.state, len(entry.attempts), entry.fact("deaths")) == ("complete", 4, 0)
    assert entry.fact("executed_steps") == steps, "no step was done twice"
    torch.set_num_threads(1)
    alone = build("base.yaml", {"run.dir": "alone", "trainer.max_steps": steps, "seed_everything": 1337}).fit()
    assert alone.metrics["val/loss"] == entry.last.values[0]


def attempts_with_reports(folder: SweepFolder) -> int:
    if not (folder.path / "workers.job").is_file():
        return 0
    attempts = [attempt for entry in open_sweep(folder).entries() for attempt in entry.attempts]
    return sum(len(attempt.user_attrs.get("reports", [])) > 0 for attempt in attempts)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_workers_that_cannot_run_are_not_submitted_for_ever(tmp_path: Path, slurm: dict[str, str]) -> None:
    launcher = {"type": "slurm", "workers": 1}
    content = {"budget": {"trials": 1}, "launcher": launcher, "storage": "journal"}
    write_sweep(tmp_path, content)
    broken = tmp_path / "broken"
    broken.write_text("#!/bin/sh\necho no such interpreter\nexit 3\n")
    broken.chmod(0o755)
    code = f"import sys; sys.executable = {str(broken)!r}; from gpt_lightning.cli import console; console()"
    done = subprocess.run(
        [sys.executable, "-c", code, "sweep", "run", "s.yaml"], env=slurm, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 2, done.stderr
    assert "Workers cannot run: no such interpreter" in done.stderr


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_run_on_two_nodes_is_the_run_of_one(tmp_path: Path, slurm: dict[str, str]) -> None:
    write_sweep(tmp_path, {})
    options = "--trainer.num_nodes=2 --trainer.devices=1 --trainer.strategy=ddp --run.dir=both"
    Path("job.sbatch").write_text(
        "#!/bin/bash\n#SBATCH --nodes=2\n#SBATCH --ntasks-per-node=1\n#SBATCH --output=job.log\n"
        "export MASTER_ADDR=127.0.0.1 GLOO_SOCKET_IFNAME=lo\n"
        f"exec srun {sys.executable} -m gpt_lightning fit --config=base.yaml {options}\n"
    )
    done = subprocess.run(["sbatch", "--wait", "job.sbatch"], env=slurm, check=False, timeout=600)
    assert done.returncode == 0, Path("job.log").read_text()[-3000:]
    torch.set_num_threads(1)
    build("base.yaml", {"run.dir": "alone", "trainer.accumulate_grad_batches": 2}).fit()
    assert_equal(outcome(Path("both")), outcome(Path("alone")))
    assert BASE["trainer"]["max_steps"] == 6
    assert os.environ.get("SLURM_JOB_ID") is None
