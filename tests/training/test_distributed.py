"""Two gloo processes on the CPU: DDP equals accumulation, survives kill -9, and goes on as one process.

The DDP runs are started as a user starts them: the command line in a process of its own, which launches the second as
``python -m gpt_lightning fit ...``. The first one is a fork, which saves the seconds of importing.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.cli import main
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.training.forked import TINY, run_child, start_child, train, write_corpus
from tests.training.test_resume_exact import assert_equal, outcome

STEPS = 12
ONE_PROCESS: dict[str, Any] = {"trainer": {"accumulate_grad_batches": 2, "max_steps": STEPS}}
TWO_PROCESSES = ("--trainer.devices=2", "--trainer.strategy=ddp", f"--trainer.max_steps={STEPS}")


def start_ddp(place: Path, folder: Path, *more: str) -> Any:
    """``fit --resume auto`` on two processes, in a process group of its own."""
    config = place / "tiny.yaml"
    config.write_text(json.dumps(TINY), encoding="utf-8")
    settings = [*TWO_PROCESSES, *more, f"--run.dir={folder}", f"--data.source={place / 'corpus.txt'}"]
    return start_child(place, _type, ["fit", f"--config={config}", *settings, "--resume=auto"])


def _type(arguments: list[str]) -> None:
    """``python -m gpt_lightning ARGUMENTS``; Lightning starts the other process with what it finds of that."""
    os.setsid()
    os.environ["OMP_NUM_THREADS"] = "1"
    sys.argv = ["gpt_lightning", *arguments]
    sys.modules["__main__"].__spec__ = find_spec("gpt_lightning.__main__")
    errors = os.open("errors.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(errors, 1)
    os.dup2(errors, 2)
    code = main(arguments)
    sys.stderr.flush()
    os._exit(code)


def wait_for_step(folder: Path, step: int, process: Any) -> None:
    deadline = time.monotonic() + 90
    while time.monotonic() < deadline and process.exitcode is None:
        if any(line["step"] >= step for line in read_metrics(folder)):
            return
        time.sleep(0.01)
    raise AssertionError(f"step {step} was not reached: {errors_in(folder.parent)}")


def errors_in(place: Path) -> str:
    """What the newest start there has said."""
    return (place / "errors.txt").read_text(encoding="utf-8")


def ended(process: Any, seconds: float) -> int | None:
    """Its exit code; None when it has not ended by then."""
    process.join(seconds)
    return None if process.exitcode is None else int(process.exitcode)


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
    assert ended(victim, 30) == -signal.SIGKILL
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
    assert ended(process, 60) == 143, errors_in(place)
    assert "Traceback" not in errors_in(place)
    process = start_ddp(place, place / "stopped")
    assert ended(process, 90) == 0, errors_in(place)
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
    assert ended(victim, 30) == -signal.SIGKILL
    assert 5 <= max(line["step"] for line in read_metrics(place / "ramp-two")) < STEPS
    assert run_child(place, train, place / "ramp-two", settings, None) == 0
    (mine, state), (wanted, expected) = outcome(place / "ramp-two"), outcome(place / "ramp-one")
    # Of more than two micro-batches two processes add the gradients in another order.
    for here, there in zip(mine, wanted, strict=True):
        assert here == pytest.approx(there, rel=1e-5)
        assert here.get("data/tokens") == there.get("data/tokens")
    for name, value in state["weights"].items():
        torch.testing.assert_close(value, expected["weights"][name], rtol=1e-3, atol=1e-5)
