"""Tells a view in the terminal where training stands: step, loss, learning rate, tokens per second, time left.

As often as the view wishes, after each validation and at the end, when the last validation is known. Only process 0
shows, on standard error, so that standard output stays for results. What the program logs meanwhile goes through the
view as well.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer
from torch import Tensor

from gpt_lightning.tracking.terminal import ProgressState, View
from gpt_lightning.training.engine.steps import at_step_border

_MOST_LOSSES = 80


class StatusLine(Callback):
    """Asks the view whether it is time; costs nothing between two looks.

    Args:
        tokens_before: Training tokens of so many optimizer steps.
        view: What shows it.
    """

    def __init__(self, tokens_before: Callable[[int], int], view: View) -> None:
        self._tokens_before, self._view = tokens_before, view
        self._val_loss: float | None = None
        self._losses: list[float] = []
        self._every, self._count = 1, 0
        self._last_time, self._last_step = 0.0, 0
        self._paused = 0.0
        self._validated = False
        self._newest: Tensor | None = None
        self._filter = _ThroughView(view)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock at the resumed step."""
        self._last_time, self._last_step = time.perf_counter(), trainer.global_step
        if trainer.is_global_zero:
            for handler in logging.getLogger().handlers:
                if type(handler) is logging.StreamHandler:
                    handler.addFilter(self._filter)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Show if it is time."""
        now = time.perf_counter()
        self._newest = outputs["mean"]
        if trainer.global_step >= trainer.max_steps:
            return  # it is shown at the end, beside the validation that follows
        due = now - self._last_time >= self._view.seconds or self._validated
        if due and trainer.is_global_zero and at_step_border(trainer):
            self._validated = False
            self._show(trainer, float(outputs["mean"]), now)

    def _show(self, trainer: Trainer, loss: float, now: float) -> None:
        step, total = trainer.global_step, trainer.max_steps
        seconds = max(now - self._last_time - self._paused, 1e-9)
        rate = (self._tokens_before(step) - self._tokens_before(self._last_step)) / seconds
        self._last_time, self._last_step, self._paused = now, step, 0.0
        self._remember(loss)
        # By tokens: later steps of a batch ramp take longer.
        left = (self._tokens_before(total) - self._tokens_before(step)) / rate if rate > 0 else None
        lr = float(trainer.optimizers[0].param_groups[0]["lr"])
        self._view.show(ProgressState(step, total, loss, lr, rate, left, self._val_loss, self._losses))

    def _remember(self, loss: float) -> None:
        """Keep so many losses of the whole run: when there are too many, every second one goes."""
        if self._count % self._every == 0:
            self._losses.append(loss)
        self._count += 1
        if len(self._losses) > _MOST_LOSSES:
            self._losses, self._every = self._losses[::2], self._every * 2

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time in validation is not training time."""
        self._paused -= time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the validation loss from now on."""
        self._paused += time.perf_counter()
        value = trainer.callback_metrics.get("val/loss")
        self._val_loss = None if value is None else float(value)
        self._validated = True

    def on_train_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show where it ended, with the last validation."""
        if self._newest is not None and trainer.is_global_zero:
            self._show(trainer, float(self._newest), time.perf_counter())

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the terminal back."""
        for handler in logging.getLogger().handlers:
            handler.removeFilter(self._filter)
        self._view.close()


class _ThroughView(logging.Filter):
    """Lets a view write what a handler would have written."""

    def __init__(self, view: View) -> None:
        super().__init__()
        self._view = view

    def filter(self, record: logging.LogRecord) -> bool:
        self._view.say(record.getMessage())
        return False
