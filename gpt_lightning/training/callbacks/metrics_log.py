"""One clock for all curves: every point is stamped with the number of optimizer steps done.

Losses are kept as the detached tensors that the step produced and added up only when a line is written, so logging
costs nothing in between and never waits for the device. (``self.log`` costs about half a millisecond a call whether
or not anything is written, and stamps training curves one step off the others.)

The sums of an unfinished interval travel in the checkpoint: the logged sequence is the same after a resume.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from gpt_lightning.training.callbacks.saving import at_step_border
from gpt_lightning.training.module import GPTModule
from gpt_lightning.training.sharding import team_size

METRICS = {
    "train/loss": "mean loss since the last point, weighted by tokens, over all processes",
    "val/loss": "mean loss over the whole validation split (nats per token)",
    "val/loss/<source>": "the same over one source of a data.mixture; val/loss is their mean by tokens",
    "val/perplexity": "exp(val/loss)",
    "val/bits_per_byte": "bits per byte of validation text, special tokens left out",
    "test/loss": "as val/loss, test split",
    "test/loss/<source>": "as val/loss/<source>, test split",
    "test/perplexity": "as val/perplexity, test split",
    "test/bits_per_byte": "as val/bits_per_byte, test split",
    "eval/<task>/<metric>": "scores of tasks, where evaluation.callbacks.TaskScores is among trainer.callbacks",
    "optim/lr/<group>": "learning rate of a parameter group in the step just done",
    "optim/grad_norm": "norm of all gradients before clipping, in the step just done",
    "perf/tokens_per_second": "training tokens per second since the last point, validation and saving left out",
    "data/tokens": "training tokens consumed",
    "data/epoch": "passes over the training split (not with data.on_the_fly)",
}
"""Every name that is logged, and what it means."""

_STATE = "metrics_log"


class MetricsLog(Callback):
    """Writes training metrics every ``every_steps`` optimizer steps, and validation's when it ends.

    Args:
        every_steps: Steps between training points.
        tokens_before: Training tokens of so many optimizer steps.
        tokens_per_epoch: Tokens of one pass over the training split; None = unknown, and epochs are not logged.
    """

    def __init__(self, *, every_steps: int, tokens_before: Callable[[int], int], tokens_per_epoch: int | None) -> None:
        self._every_steps, self._tokens_before, self._tokens_per_epoch = every_steps, tokens_before, tokens_per_epoch
        self._pending: list[tuple[Tensor, Tensor]] = []
        self._carried = (0.0, 0.0)
        self._timer = _Stopwatch()
        self._timed_tokens = 0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._timer, self._timed_tokens = _Stopwatch(), self._tokens_before(trainer.global_step)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the loss; at the end of an interval, write a point."""
        self._pending.append((outputs["mean"], outputs["weight"]))
        if not at_step_border(trainer):
            return
        step = trainer.global_step
        if step % self._every_steps == 0 or step >= trainer.max_steps:
            self._write(trainer, pl_module, step)

    def _write(self, trainer: Trainer, module: LightningModule, step: int) -> None:
        assert isinstance(module, GPTModule)
        total, weight = self._sums(trainer, module.device)
        if step % self._every_steps == 0:
            # Not at a last step inside an interval: a longer run that begins at its checkpoint finishes the interval.
            self._pending, self._carried = [], (0.0, 0.0)
        tokens = self._tokens_before(step)
        values = {"train/loss": total / weight}
        for group in trainer.optimizers[0].param_groups:
            values[f"optim/lr/{group['name']}"] = float(group["lr"])
        if module.grad_norm is not None:
            values["optim/grad_norm"] = module.grad_norm.item()
        values["perf/tokens_per_second"] = (tokens - self._timed_tokens) / self._timer.lap()
        values["data/tokens"] = float(tokens)
        if self._tokens_per_epoch is not None:
            values["data/epoch"] = tokens / self._tokens_per_epoch
        self._timed_tokens = tokens
        _log(trainer, values, step)

    def _sums(self, trainer: Trainer, device: torch.device) -> tuple[float, float]:
        """Sum of loss x weight and of weights over the interval and all processes, in float64."""
        sums = torch.tensor(self._carried, dtype=torch.float64, device=device)
        for mean, weight in self._pending:
            wide = weight.double()
            sums = sums + torch.stack([mean.double() * wide, wide])
        if trainer.world_size > 1:
            if trainer.global_rank % team_size(trainer):
                sums = torch.zeros_like(sums)  # the same tokens as on the first process of the team
            sums = trainer.strategy.reduce(sums, reduce_op="sum")
        total, weight_sum = sums.tolist()
        return total, weight_sum

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the training clock."""
        self._timer.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the module published."""
        if not trainer.sanity_checking:
            self._write_published(trainer, "val/")
        self._timer.go_on()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the module published."""
        self._write_published(trainer, "test/")

    @staticmethod
    def _write_published(trainer: Trainer, prefix: str) -> None:
        published = trainer.callback_metrics.items()
        _log(trainer, {name: float(v) for name, v in published if name.startswith(prefix)}, trainer.global_step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Carry the unfinished interval."""
        checkpoint[_STATE] = list(self._sums(trainer, pl_module.device))

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the interval over; process 0 alone, since the sums are of all processes."""
        total, weight = checkpoint.get(_STATE, (0.0, 0.0))
        self._carried = (total, weight) if trainer.is_global_zero else (0.0, 0.0)


def _log(trainer: Trainer, values: dict[str, float], step: int) -> None:
    if trainer.is_global_zero:
        for logger in trainer.loggers:
            logger.log_metrics(values, step=step)


class _Stopwatch:
    """Seconds since the last lap, pauses left out."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._pause: float | None = None

    def pause(self) -> None:
        self._pause = time.perf_counter()

    def go_on(self) -> None:
        if self._pause is not None:
            self._start += time.perf_counter() - self._pause
            self._pause = None

    def lap(self) -> float:
        now = time.perf_counter()
        seconds, self._start = now - self._start, now
        return max(seconds, 1e-9)
