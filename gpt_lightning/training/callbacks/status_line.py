"""One line that tells where training stands: step, loss, learning rate, tokens per second, time left.

On a terminal the line is rewritten in place twice a second; elsewhere (a log file) a new line appears every few
seconds. Only process 0 writes, to standard error, so that standard output stays for results.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import Any, TextIO

from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.training.callbacks.saving import at_step_border

_TERMINAL_SECONDS, _FILE_SECONDS = 0.5, 5.0


class StatusLine(Callback):
    """Writes the line; costs nothing between two writes.

    Args:
        tokens_before: Training tokens of so many optimizer steps.
        stream: Where to write; null = standard error.
    """

    def __init__(self, tokens_before: Callable[[int], int], stream: TextIO | None = None) -> None:
        self._tokens_before = tokens_before
        self._stream = stream or sys.stderr
        self._terminal = self._stream.isatty()
        self._every = _TERMINAL_SECONDS if self._terminal else _FILE_SECONDS
        self._val_loss: float | None = None
        self._last_time, self._last_step = 0.0, 0
        self._paused = 0.0
        self._width = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock at the resumed step."""
        self._last_time, self._last_step = time.perf_counter(), trainer.global_step

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Write if it is time."""
        now = time.perf_counter()
        last = trainer.global_step >= trainer.max_steps
        if (now - self._last_time < self._every and not last) or not trainer.is_global_zero:
            return
        if at_step_border(trainer):
            self._write(trainer, float(outputs["mean"]), now)

    def _write(self, trainer: Trainer, loss: float, now: float) -> None:
        step, total = trainer.global_step, trainer.max_steps
        seconds = max(now - self._last_time - self._paused, 1e-9)
        rate = (self._tokens_before(step) - self._tokens_before(self._last_step)) / seconds
        self._last_time, self._last_step, self._paused = now, step, 0.0
        parts = [f"step {step}/{total}", f"loss {loss:.4f}"]
        if self._val_loss is not None:
            parts.append(f"val {self._val_loss:.4f}")
        parts += [f"lr {trainer.optimizers[0].param_groups[0]['lr']:.2e}", f"{format_count(rate)} tokens/s"]
        if rate > 0:
            # By tokens: later steps of a batch ramp take longer.
            left = self._tokens_before(total) - self._tokens_before(step)
            parts.append(f"ETA {format_seconds(left / rate)}")
        self._show("  ".join(parts), final=step >= total)

    def _show(self, text: str, final: bool) -> None:
        if self._terminal:
            end = "\n" if final else ""
            self._stream.write("\r" + text.ljust(self._width) + end)
            self._width = len(text)
        else:
            self._stream.write(text + "\n")
        self._stream.flush()

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Time in validation is not training time."""
        self._paused -= time.perf_counter()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Show the validation loss from now on."""
        self._paused += time.perf_counter()
        value = trainer.callback_metrics.get("val/loss")
        self._val_loss = None if value is None else float(value)


def format_seconds(seconds: float) -> str:
    """``75`` -> ``1:15``; ``3700`` -> ``1:01:40``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def format_count(value: float) -> str:
    """``12345`` -> ``12.3k``; three digits that matter."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
