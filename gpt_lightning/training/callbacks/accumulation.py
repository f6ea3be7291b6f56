"""Batch ramps: another number of micro-batches for every optimizer step, inside Lightning's one epoch.

Lightning accumulates while ``current.ready % accumulate_grad_batches`` is not 0, and validates when ``total.ready`` is
a multiple of its interval; both count micro-batches and suppose that all steps have as many. So before each step this
callback sets the number for that step, lets ``current`` begin at 1 again, and moves ``total`` to where it would stand
had all steps the full number. (Lightning's ``GradientAccumulationScheduler`` changes the number between epochs only,
and a run here is one epoch.)
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.optim.batch_sizes import BatchSizes


class RampedAccumulation(Callback):
    """Sets the Trainer's accumulation before every optimizer step; only there with a ramp.

    Args:
        sizes: Tokens of every step.
        micro_step_tokens: Tokens that all processes take at once; divides every size.
    """

    def __init__(self, sizes: BatchSizes, micro_step_tokens: int) -> None:
        self._sizes, self._micro_step_tokens = sizes, micro_step_tokens
        self._full = sizes.tokens[-1] // micro_step_tokens
        self._step = -1

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Whatever comes next is the first micro-batch of a step: checkpoints exist at steps only."""
        self._step = -1

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        """At the first micro-batch of a step, which Lightning has counted already."""
        step = trainer.global_step
        if step == self._step:
            return
        self._step = step
        count = self._sizes.at(step) // self._micro_step_tokens
        trainer.accumulate_grad_batches = count
        progress = trainer.fit_loop.epoch_loop.batch_progress
        progress.current.ready = 1
        progress.total.ready = (step + 1) * self._full - count + 1
        # Lightning would clear them at multiples of the number of the step before.
        trainer.optimizers[0].zero_grad()
