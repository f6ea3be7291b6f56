"""The same run under Lightning's launcher, torchrun and SLURM; and what is said when processes are missing."""

from __future__ import annotations

import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest

from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.training.build import build
from gpt_lightning.training.metrics_file import read_metrics
from gpt_lightning.training.processes import announce_wait
from gpt_lightning.training.settings import RunSettings
from gpt_lightning.training.start import choose_start
from tests.training.forked import TINY, run_child, write_corpus
from tests.training.together import fit, free_port, run_together, srun_environment

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
    with pytest.raises(ConfigError, match="every machine must agree on one folder"):
        run.fit()


def test_the_second_machine_takes_the_folder_of_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It must not be put off by the run that the first one has just begun there."""
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.yaml").write_text("{}", encoding="utf-8")
    settings = RunSettings(dir=str(folder))
    with pytest.raises(RunFolderError, match="already holds a run"):
        choose_start(settings, "never", "run", num_nodes=2)
    monkeypatch.setattr("gpt_lightning.training.start.process_rank", lambda: 1)
    assert choose_start(settings, "never", "run", num_nodes=2).folder == folder


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
