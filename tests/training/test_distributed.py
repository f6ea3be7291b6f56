"""Two gloo processes on the CPU: DDP equals accumulation, survives kill -9, and goes on as one process.

The DDP runs are started as a user starts them: the command line in a process of its own, which launches the second.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.training.metrics_file import read_metrics
from tests.training.forked import TINY, run_child, train, write_corpus
from tests.training.test_resume_exact import assert_equal, outcome

STEPS = 12
ONE_PROCESS: dict[str, Any] = {"trainer": {"accumulate_grad_batches": 2, "max_steps": STEPS}}
TWO_PROCESSES = ("--trainer.devices=2", "--trainer.strategy=ddp", f"--trainer.max_steps={STEPS}")


def start_ddp(place: Path, folder: Path, *more: str) -> subprocess.Popen[str]:
    """``fit --resume auto`` on two processes, in a process group of its own."""
    config = place / "tiny.yaml"
    config.write_text(json.dumps(TINY), encoding="utf-8")
    command = [
        sys.executable,
        "-m",
        "gpt_lightning",
        "fit",
        f"--config={config}",
        *TWO_PROCESSES,
        *more,
        "--resume=auto",
    ]
    command += [f"--run.dir={folder}", f"--data.source={place / 'corpus.txt'}"]
    environment = {**os.environ, "GPT_LIGHTNING_CACHE": str(place / "cache"), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command,
        cwd=place,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    )


def wait_for_step(folder: Path, step: int, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.poll() is None:
        if any(line["step"] >= step for line in read_metrics(folder)):
            return
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached: {process.stderr.read() if process.stderr else ''}")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("ddp")
    write_corpus(folder)
    return folder


def test_two_processes_killed_go_on_as_one_bit_for_bit(place: Path) -> None:
    """2 processes, kill -9 of both, then 1 process x accumulation 2: equal to 1 x 2 throughout."""
    assert run_child(place, train, place / "one", ONE_PROCESS, None) == 0
    victim = start_ddp(place, place / "two")
    wait_for_step(place / "two", 5, victim)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.communicate(timeout=30)
    steps = [line["step"] for line in read_metrics(place / "two")]
    assert 5 <= max(steps) < STEPS, "the kill came too late to prove anything"
    assert run_child(place, train, place / "two", ONE_PROCESS, None) == 0
    assert_equal(outcome(place / "two"), outcome(place / "one"))


@pytest.mark.slow
def test_sigterm_to_one_process_saves_on_all_and_exits_143(place: Path) -> None:
    """Then DDP itself goes on from the checkpoint, to the weights of one process with accumulation."""
    process = start_ddp(place, place / "stopped")
    wait_for_step(place / "stopped", 2, process)
    os.kill(process.pid, signal.SIGTERM)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 143, errors
    assert "Traceback" not in errors
    process = start_ddp(place, place / "stopped")
    _, errors = process.communicate(timeout=90)
    assert process.returncode == 0, errors
    if not (place / "one").exists():
        assert run_child(place, train, place / "one", ONE_PROCESS, None) == 0
    assert_equal(outcome(place / "stopped"), outcome(place / "one"))


@pytest.mark.slow
def test_ramp_killed_on_two_processes_goes_on_as_one(place: Path) -> None:
    """The ramp is in tokens, so its steps are the same on one process, with twice the accumulation."""
    ramp = {"class_path": "LinearRamp", "init_args": {"start_tokens": 128, "length": 8}}
    data: dict[str, Any] = {"global_batch_tokens": 512, "batch_ramp": ramp}
    settings = {"data": data, "trainer": {"max_steps": STEPS}}
    assert run_child(place, train, place / "ramp-one", settings, None) == 0
    more = ["--data.global_batch_tokens=512", f"--data.batch_ramp={json.dumps(ramp)}"]
    victim = start_ddp(place, place / "ramp-two", *more)
    wait_for_step(place / "ramp-two", 5, victim)
    os.killpg(victim.pid, signal.SIGKILL)
    victim.communicate(timeout=30)
    assert 5 <= max(line["step"] for line in read_metrics(place / "ramp-two")) < STEPS
    assert run_child(place, train, place / "ramp-two", settings, None) == 0
    (mine, state), (wanted, expected) = outcome(place / "ramp-two"), outcome(place / "ramp-one")
    # Of more than two micro-batches two processes add the gradients in another order.
    for here, there in zip(mine, wanted, strict=True):
        assert here == pytest.approx(there, rel=1e-5)
        assert here.get("data/tokens") == there.get("data/tokens")
    for name, value in state["weights"].items():
        torch.testing.assert_close(value, expected["weights"][name], rtol=1e-3, atol=1e-5)
