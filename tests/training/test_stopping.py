"""Signals, non-finite losses, a full disk, a second process: what is saved, what is said, with which exit code."""

from __future__ import annotations

import errno
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.checkpoints.durable import step_of
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.checkpoints.shelf import SHELF, list_checkpoints
from gpt_lightning.training.build import build
from gpt_lightning.training.metrics_file import read_metrics
from gpt_lightning.training.run import add_callbacks
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


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize(
    ("step", "hook", "saved"), [(0, "batch", 1), (7, "batch", 8), (9, "batch", 10), (5, "validation", 6)]
)
def test_signal_saves_at_the_next_step_and_resumes_exactly(
    place: Path, number: signal.Signals, step: int, hook: str, saved: int
) -> None:
    folder = place / f"{number.name}-{hook}{step}"
    assert run_child(place, signalled, folder, int(number), step, hook, {}) == 143
    assert step_of(list_checkpoints(folder / SHELF)[-1]) == saved
    assert number.name in (place / "error.txt").read_text()
    assert run_child(place, train, folder, {}, None) == 0
    assert_equal(outcome(folder), outcome(place / "reference"))


def test_signal_in_the_middle_of_accumulation_waits_for_the_step(place: Path) -> None:
    folder = place / "accumulating"
    settings = {"trainer": {"accumulate_grad_batches": 3, "max_steps": 8}}
    assert run_child(place, signalled, folder, int(signal.SIGTERM), 2, "batch", settings) == 143
    assert step_of(list_checkpoints(folder / SHELF)[-1]) == 3


class _Poison(Callback):
    """Makes the loss or one gradient non-finite at a step."""

    def __init__(self, what: str, value: float, step: int) -> None:
        self.what, self.value, self.step = what, value, step

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.what == "loss" and trainer.global_step == self.step:
            objective, value = pl_module.objective, self.value

            def poisoned(*args: Any) -> Any:
                output = objective(*args)  # type: ignore[operator]
                output.loss = output.loss * value
                return output

            pl_module.objective = poisoned  # type: ignore[assignment]

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


@pytest.mark.parametrize("what", ["loss", "gradient"])
@pytest.mark.parametrize("value", [float("nan"), float("inf")])
@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
def test_non_finite_stops_before_the_update(place: Path, what: str, value: float, precision: str) -> None:
    folder = place / f"{what}-{value}-{precision}"
    assert run_child(place, poisoned, folder, what, value, {"trainer": {"precision": precision}}) == 4
    message = (place / "error.txt").read_text()
    assert "before step 7" in message
    assert "--model.optimizer.lr" in message
    state = read_checkpoint(list_checkpoints(folder / SHELF)[-1])
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
        if len(list_checkpoints(folder / SHELF)) == 2:
            raise OSError(errno.ENOSPC, "No space left on device")
        real(descriptor)

    os.fsync = fsync  # type: ignore[assignment]
    run.fit()


def test_full_disk_stops_with_the_previous_checkpoint_intact(place: Path) -> None:
    folder = place / "full"
    assert run_child(place, full_disk, folder) == 4
    assert "the disk is full" in (place / "error.txt").read_text()
    assert len(list_checkpoints(folder / SHELF)) == 2
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
    assert "started" in message
    first.join(60)
    assert first.exitcode == 0
    assert run_child(place, train, folder, {}, None) == 0  # the lock of a dead process does not count
