"""Signals, non-finite losses, a full disk, a second process: what is saved, what is said, with which exit code."""

from __future__ import annotations

import errno
import json
import math
import os
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.batch import LossOutput
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints, step_of
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.training.engine.processes import StopFlag
from gpt_lightning.training.fitting import run as run_module
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import add_callbacks
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.training.forked import TINY, run_child, start_child, train, write_corpus
from tests.training.test_resume_exact import assert_equal, outcome


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("stopping")
    write_corpus(folder)
    assert run_child(folder, train, folder / "reference", {}, None) == 0
    return folder


class _SignalAt(Callback):
    def __init__(self, number: int, step: int, hook: str) -> None:
        self.number, self.step, self.hook = number, step, hook

    def _raise(self, hook: str, trainer: Trainer) -> None:
        if hook == self.hook and trainer.global_step == self.step:
            self.hook = "done"
            os.kill(os.getpid(), self.number)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._raise("batch", trainer)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        self._raise("validation", trainer)


def signalled(folder: Path, number: int, step: int, hook: str, settings: dict[str, Any]) -> None:
    run = build(TINY, settings, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    add_callbacks(run.trainer, _SignalAt(number, step, hook))
    run.fit(resume="auto")


@pytest.mark.parametrize(
    ("number", "step", "hook", "saved"),
    [
        (signal.SIGTERM, 0, "batch", 1),
        (signal.SIGINT, 7, "batch", 8),
        (signal.SIGTERM, 5, "validation", 6),
        pytest.param(signal.SIGINT, 0, "batch", 1, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 7, "batch", 8, marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, 9, "batch", 10, marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, 5, "validation", 6, marks=pytest.mark.slow),
    ],
)
def test_signal_saves_at_the_next_step_and_resumes_exactly(
    place: Path, number: signal.Signals, step: int, hook: str, saved: int
) -> None:
    folder = place / f"{number.name}-{hook}{step}"
    code = 130 if number == signal.SIGINT else 143
    assert run_child(place, signalled, folder, int(number), step, hook, {}) == code
    assert step_of(list_checkpoints(folder / CHECKPOINTS_DIR)[-1]) == saved
    assert number.name in (place / "error.txt").read_text()
    assert run_child(place, train, folder, {}, None) == 0
    assert_equal(outcome(folder), outcome(place / "reference"))


def interrupted_cell(folder: Path) -> None:
    run_module.in_notebook = lambda: True  # type: ignore[attr-defined]
    run = build(TINY, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    add_callbacks(run.trainer, _SignalAt(int(signal.SIGINT), 7, "batch"))
    result = run.fit()
    assert (result.folder, result.step) == (folder, 8)
    assert result.ended is not None
    assert result.ended.state == "stopped"
    assert "fit(resume='auto')" in result.ended.fix


def test_an_interrupted_cell_gets_a_result_and_goes_on_exactly(place: Path) -> None:
    folder = place / "cell"
    assert run_child(place, interrupted_cell, folder) == 0
    assert run_child(place, train, folder, {}, None) == 0
    assert_equal(outcome(folder), outcome(place / "reference"))


class _SecondSignal(Callback):
    """The second one in a hook that comes after the first."""

    def __init__(self, number: int, hook: str) -> None:
        setattr(self, hook, lambda *_, **__: os.kill(os.getpid(), number))


def signalled_twice(folder: Path, first: int, second: int, hook: str) -> None:
    run = build(TINY, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    again = _SecondSignal(second, hook)

    class First(Callback):
        def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, *_: Any) -> None:
            if trainer.global_step == 7:
                os.kill(os.getpid(), first)
                if hook == "at once":
                    os.kill(os.getpid(), second)
                else:
                    vars(trainer)["callbacks"].append(again)

    add_callbacks(run.trainer, First())
    run.fit(resume="auto")


@pytest.mark.parametrize(
    ("first", "second", "hook"),
    [
        (signal.SIGINT, signal.SIGINT, "at once"),
        (signal.SIGUSR1, signal.SIGTERM, "on_save_checkpoint"),
        pytest.param(signal.SIGTERM, signal.SIGINT, "on_train_batch_end", marks=pytest.mark.slow),
        pytest.param(signal.SIGINT, signal.SIGUSR1, "on_exception", marks=pytest.mark.slow),
        pytest.param(signal.SIGTERM, signal.SIGTERM, "teardown", marks=pytest.mark.slow),
        pytest.param(signal.SIGUSR1, signal.SIGUSR1, "at once", marks=pytest.mark.slow),
    ],
)
def test_a_second_signal_changes_nothing(place: Path, first: signal.Signals, second: signal.Signals, hook: str) -> None:
    """It used to end the process with exit code 0 or 1 and the step in hand lost."""
    folder = place / f"{first.name}-{second.name}-{hook.replace(' ', '-')}"
    assert run_child(place, signalled_twice, folder, int(first), int(second), hook) == (130 if first == 2 else 143)
    assert step_of(list_checkpoints(folder / CHECKPOINTS_DIR)[-1]) == 8
    end = json.loads((folder / "manifest.json").read_text())["starts"][-1]["end"]
    assert (end["state"], end["reason"]) == ("stopped", f"stopped by {first.name} after saving step 8")
    assert run_child(place, train, folder, {}, None) == 0
    assert_equal(outcome(folder), outcome(place / "reference"))


@pytest.mark.parametrize(
    "hook", ["setup", *(pytest.param(hook, marks=pytest.mark.slow) for hook in ("on_fit_start", "on_train_start"))]
)
def test_a_signal_before_the_first_step(place: Path, hook: str) -> None:
    folder = place / f"early-{hook}"
    assert run_child(place, signalled_early, folder, hook) == 143
    end = json.loads((folder / "manifest.json").read_text())["starts"][-1]["end"]
    assert end["state"] == "stopped"
    assert run_child(place, train, folder, {}, None) == 0
    assert_equal(outcome(folder), outcome(place / "reference"))


def signalled_early(folder: Path, hook: str) -> None:
    run = build(TINY, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    add_callbacks(run.trainer, _SecondSignal(int(signal.SIGTERM), hook))
    run.fit(resume="auto")


def test_a_sigusr1_that_somebody_has_a_use_for_is_left_alone() -> None:
    seen: list[int] = []
    before = signal.signal(signal.SIGUSR1, lambda number, frame: seen.append(number))
    try:
        with StopFlag().installed(step=0, announce=False) as stop:
            os.kill(os.getpid(), signal.SIGUSR1)
        assert (seen, stop.received) == ([signal.SIGUSR1], None)
    finally:
        signal.signal(signal.SIGUSR1, before)


def test_signal_in_the_middle_of_accumulation_waits_for_the_step(place: Path) -> None:
    folder = place / "accumulating"
    settings = {"trainer": {"accumulate_grad_batches": 3, "max_steps": 8}}
    assert run_child(place, signalled, folder, int(signal.SIGTERM), 2, "batch", settings) == 143
    assert step_of(list_checkpoints(folder / CHECKPOINTS_DIR)[-1]) == 3


class _Poison(Callback):
    """Makes the loss or one gradient non-finite at a step."""

    def __init__(self, what: str, value: float, step: int) -> None:
        self.what, self.value, self.step = what, value, step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.what == "loss" and trainer.global_step == self.step:
            value = self.value

            class Poisoned(CausalLM):
                def __call__(self, *args: Any) -> LossOutput:
                    output = super().__call__(*args)
                    return replace(output, loss=output.loss * value)

            pl_module.objective = Poisoned()  # type: ignore[assignment]

    def on_after_backward(self, trainer: Trainer, pl_module: LightningModule) -> None:
        if self.what == "gradient" and trainer.global_step == self.step:
            next(pl_module.parameters()).grad[0] = self.value  # type: ignore[index]


def poisoned(folder: Path, what: str, value: float, settings: dict[str, Any]) -> None:
    run = build(TINY, settings, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    add_callbacks(run.trainer, _Poison(what, value, 6))
    try:
        run.fit()
    finally:
        assert all(torch.isfinite(parameter).all() for parameter in run.module.parameters())
        assert run.trainer.global_step == 6


@pytest.mark.parametrize(
    ("what", "value", "precision"),
    [
        ("loss", math.nan, "32-true"),
        ("gradient", math.inf, "bf16-mixed"),
        pytest.param("loss", math.inf, "32-true", marks=pytest.mark.slow),
        pytest.param("gradient", math.nan, "32-true", marks=pytest.mark.slow),
        pytest.param("loss", math.nan, "bf16-mixed", marks=pytest.mark.slow),
    ],
)
def test_non_finite_stops_before_the_update(place: Path, what: str, value: float, precision: str) -> None:
    folder = place / f"{what}-{value}-{precision}"
    assert run_child(place, poisoned, folder, what, value, {"trainer": {"precision": precision}}) == 4
    message = (place / "error.txt").read_text()
    assert "before step 7" in message
    assert "--model.optimizer.lr" in message
    state = read_checkpoint(list_checkpoints(folder / CHECKPOINTS_DIR)[-1])
    assert all(torch.isfinite(tensor).all() for tensor in state["state_dict"].values())


def test_absurd_learning_rate_stops_with_advice(place: Path) -> None:
    settings = {"model": {"optimizer": {"lr": 1e20}, "schedule": "Constant"}}
    assert run_child(place, train, place / "absurd", settings, None) == 4
    assert "Lower --model.optimizer.lr" in (place / "error.txt").read_text()


def full_disk(folder: Path) -> None:
    run = build(TINY, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    real, count = os.fsync, [0]

    def fsync(descriptor: int) -> None:
        count[0] += 1
        if len(list_checkpoints(folder / CHECKPOINTS_DIR)) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    os.fsync = fsync  # type: ignore[assignment]
    run.fit()


def test_full_disk_stops_with_the_previous_checkpoint_intact(place: Path) -> None:
    folder = place / "full"
    assert run_child(place, full_disk, folder) == 4
    assert "the disk is full" in (place / "error.txt").read_text()
    assert len(list_checkpoints(folder / CHECKPOINTS_DIR)) == 2
    assert run_child(place, train, folder, {}, None) == 0
    assert_equal(outcome(folder), outcome(place / "reference"))


def slow(folder: Path) -> None:
    class Wait(Callback):
        def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:
            time.sleep(0.05)

    run = build(TINY, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    add_callbacks(run.trainer, Wait())
    run.fit(resume="auto")


def test_second_process_on_a_run_folder_is_told_who_holds_it(place: Path) -> None:
    folder = place / "contended"
    first = start_child(place, slow, folder)
    deadline = time.monotonic() + 60
    while not read_metrics(folder) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert run_child(place, train, folder, {}, None) == 3
    message = (place / "error.txt").read_text()
    assert f"process {first.pid}" in message
    assert "since" in message
    first.join(60)
    assert first.exitcode == 0
    assert run_child(place, train, folder, {}, None) == 0  # the lock of a dead process does not count
