"""The same run under Lightning's launcher, torchrun and SLURM; and what is said when processes are missing."""

from __future__ import annotations

import errno
import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from lightning.fabric.utilities.rank_zero import rank_zero_only

from gpt_lightning.training.engine import processes
from gpt_lightning.training.engine.processes import announce_wait, connect_processes, process_group_closed
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.training.forked import TINY, run_child, write_corpus
from tests.training.together import fit, free_port, machine_environment, run_together, srun_environment

ONE = {"trainer": {"max_steps": 4, "accumulate_grad_batches": 2}}
DDP = {"trainer": {"max_steps": 4, "devices": 2, "strategy": "ddp"}}


def losses(folder: Path) -> list[float]:
    return [line["train/loss"] for line in read_metrics(folder) if "train/loss" in line]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("launchers")
    write_corpus(folder)
    assert run_child(folder, fit, folder / "one", ONE, "never") == 0
    assert len(losses(folder / "one")) == 4
    return folder


@pytest.mark.slow
def test_ddp_under_torchrun_equals_one_process(place: Path) -> None:
    assert run_together(place, 2, fit, place / "torchrun", DDP, "never") == [0, 0]
    assert losses(place / "torchrun") == losses(place / "one")


def test_ddp_under_srun_equals_one_process(place: Path) -> None:
    assert run_together(place, 2, fit, place / "srun", DDP, "never", launcher=srun_environment) == [0, 0]
    assert losses(place / "srun") == losses(place / "one")


def test_one_task_under_srun_is_an_ordinary_run(place: Path) -> None:
    assert run_together(place, 1, fit, place / "task", ONE, "never", launcher=srun_environment) == [0]
    assert losses(place / "task") == losses(place / "one")


def test_going_on_under_torchrun(place: Path) -> None:
    """``--resume auto`` is decided once, by the first process."""
    longer = {"trainer": {**DDP["trainer"], "max_steps": 6}, "run": {"allow_changes": ["trainer.max_steps"]}}
    assert run_together(place, 2, fit, place / "auto", DDP, "auto") == [0, 0]
    assert run_together(place, 2, fit, place / "auto", longer, "auto") == [0, 0]
    assert losses(place / "auto")[:4] == losses(place / "one")
    assert len(losses(place / "auto")) == 6


def test_a_launcher_with_another_number_of_processes_is_refused(place: Path) -> None:
    assert run_together(place, 2, fit, place / "mismatch", ONE, "never") == [2, 2]
    assert not (place / "mismatch").exists()


def test_a_run_on_two_machines_says_what_it_waits_for(
    place: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(place / "cache"))
    monkeypatch.setenv("MASTER_ADDR", "node1")
    monkeypatch.setenv("MASTER_PORT", "29500")
    run = build(TINY, {"data.source": str(place / "corpus.txt"), "trainer.num_nodes": 2, "trainer.strategy": "ddp"})
    with caplog.at_level(logging.WARNING, logger="gpt_lightning"):
        announce_wait(run.trainer)
    assert "machine 1 of 2; waiting for the others at node1:29500" in caplog.text


TWO_MACHINES = {"trainer": {"max_steps": 4, "devices": 1, "num_nodes": 2, "strategy": "ddp"}}


def test_two_machines_without_a_launcher_equal_one_process(place: Path) -> None:
    """Each used to choose its own checkpoint; the first decides, whatever the second would have chosen."""
    folder = place / "machines"
    assert run_together(place, 2, fit, folder, TWO_MACHINES, "never", launcher=machine_environment) == [0, 0]
    assert losses(folder) == losses(place / "one")
    longer = {"trainer": {**TWO_MACHINES["trainer"], "max_steps": 6}, "run": {"allow_changes": ["trainer.max_steps"]}}
    assert run_together(place, 2, fit, folder, longer, "auto", launcher=machine_environment) == [0, 0]
    assert losses(folder)[:4] == losses(place / "one")
    assert len(losses(folder)) == 6


def _fit_blind(folder: Path, settings: dict[str, Any], resume: str) -> None:
    """The second machine sees another state of the disk."""
    from gpt_lightning.training.runs import start

    vars(start)["_SEE_SECONDS"] = 0.0
    if os.environ["NODE_RANK"] == "1":
        vars(start)["_fingerprint"] = lambda checkpoint: "of an older manifest"
    fit(folder, settings, resume)


def test_a_machine_that_sees_other_files_is_refused(place: Path) -> None:
    folder = place / "blind"
    assert run_together(place, 2, _fit_blind, folder, TWO_MACHINES, "auto", launcher=machine_environment) == [3, 3]
    assert "do not see the same files" in (place / "error.txt").read_text()
    assert losses(folder) == []


def test_all_machines_are_told_why_the_first_cannot_begin(place: Path) -> None:
    before = losses(place / "one")
    assert run_together(place, 2, fit, place / "one", TWO_MACHINES, "never", launcher=machine_environment) == [3, 3]
    assert "already holds a run" in (place / "error.txt").read_text()
    assert losses(place / "one") == before


def _late(folder: Path, seconds: float) -> None:
    run = build(TINY, DDP, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    with process_group_closed(seconds):
        connect_processes(run.trainer, run.module)
        if os.environ["RANK"] == "1":
            time.sleep(4 * seconds)


def test_the_end_has_a_time_limit(place: Path) -> None:
    """A process that is done does not wait for ever for one that hangs."""
    assert run_together(place, 2, _late, place / "late", 1.0)[0] == 4
    assert "did not come to the end within 1 s" in (place / "error.txt").read_text()


def _fit_on_a_full_disk(folder: Path, settings: dict[str, Any], what: str) -> None:
    """Of the first process, as it alone writes."""
    run = build(TINY, settings, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    if os.environ["RANK"] == "0" and what == "log":
        folder.mkdir()
        (folder / "metrics.jsonl").symlink_to("/dev/full")
    if os.environ["RANK"] == "0" and what == "checkpoint":

        def refuse(*_: Any) -> None:
            raise OSError(errno.ENOSPC, "No space left on device")

        vars(os)["fsync"] = lambda descriptor: refuse() if list(folder.glob("checkpoints/.writing-*")) else None
    run.fit("never")


@pytest.mark.parametrize("what", ["log", "checkpoint"])
def test_a_disk_that_is_full_for_the_first_process_strands_none(place: Path, what: str) -> None:
    """The others used to wait in a barrier."""
    folder = place / f"full-{what}"
    assert run_together(place, 2, _fit_on_a_full_disk, folder, DDP, what) == [4, 4]
    assert "o space left" in (place / "error.txt").read_text() or "disk is full" in (place / "error.txt").read_text()
    assert not list(folder.glob("checkpoints/*"))


def test_a_run_inside_another_stands_alone(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Started by a callback of process 1 of another run, whose place in its launch it inherits."""
    inherited = {"LOCAL_RANK": "1", "NODE_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "x", "MASTER_PORT": "1"}
    for name, value in {**inherited, "_GPT_LIGHTNING_LAUNCHED": "another command"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(place / "cache"))
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    fit(place / "inner", ONE, "never")
    assert losses(place / "inner") == losses(place / "one")
    assert json.loads((place / "inner" / "manifest.json").read_text())["starts"][0]["end"]["state"] == "finished"
    assert not set(inherited) & set(os.environ)


def test_a_program_is_the_same_however_its_path_is_spelt(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """``bin/gpt-lightning fit ...`` starts its second process by the whole path; it once stood alone, on one folder."""
    monkeypatch.chdir(place)
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys, "argv", ["bin/gpt-lightning", "fit"])
    monkeypatch.setenv(processes._COMMAND_VARIABLE, processes._own_command())
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(rank_zero_only, "rank", 1)
    monkeypatch.setattr(sys, "argv", [str(Path.cwd() / "bin/gpt-lightning"), "fit"])
    processes.forget_foreign_launch()
    assert (os.environ["LOCAL_RANK"], processes.process_rank()) == ("1", 1)
    monkeypatch.setattr(sys, "argv", ["bin/gpt-lightning", "validate"])
    processes.forget_foreign_launch()
    assert ("LOCAL_RANK" in os.environ, processes.process_rank()) == (False, 0)


def command_line(place: Path, folder: Path, *settings: str) -> list[str]:
    config = place / "tiny.yaml"
    config.write_text(json.dumps({**TINY, "trainer": {**TINY["trainer"], **DDP["trainer"]}}), encoding="utf-8")
    return ["fit", f"--config={config}", f"--run.dir={folder}", f"--data.source={place / 'corpus.txt'}", *settings]


def call(place: Path, command: list[str]) -> None:
    environment = {**os.environ, "GPT_LIGHTNING_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=place, env=environment, capture_output=True, text=True, timeout=150)
    assert done.returncode == 0, done.stderr


@pytest.mark.slow
@pytest.mark.timeout(400)
@pytest.mark.parametrize("strategy", ["ddp", "fsdp2", "tp"])
def test_the_real_launchers(place: Path, strategy: str) -> None:
    """The same command, started by itself and by torchrun; it ends, which it once did not."""
    here, there = place / f"real-{strategy}", place / f"torchrun-{strategy}"
    choice = f"--trainer.strategy={strategy}"
    call(place, [sys.executable, "-m", "gpt_lightning", *command_line(place, here, choice)])
    torchrun = ["-m", "torch.distributed.run", "--nproc-per-node=2", f"--master-port={free_port()}"]
    call(place, [sys.executable, *torchrun, "-m", "gpt_lightning", *command_line(place, there, choice)])
    assert losses(here) == losses(there)
    assert len(losses(here)) == 4
    if strategy == "ddp":
        assert losses(here) == losses(place / "one")
