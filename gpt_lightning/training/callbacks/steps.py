"""Randomness as a pure function of (seed, sample number).

Before each micro-batch torch's generators are seeded from the global number of its first sample. Dropout
then draws the same numbers after a resume, after a validation in between, and when two processes become one with
accumulation 2. Saving generator states instead would not survive a change of world size, and Lightning restores them
too early at epoch borders. Seeding the generator object costs about a microsecond (the global function 100 times that).

Batch ramps: another number of micro-batches for every optimizer step, inside Lightning's one epoch.

Lightning accumulates while ``current.ready % accumulate_grad_batches`` is not 0, and validates when ``total.ready`` is
a multiple of its interval; both count micro-batches and suppose that all steps have as many. So before each step this
callback sets the number for that step, lets ``current`` begin at 1 again, and moves ``total`` to where it would stand
had all steps the full number. (Lightning's ``GradientAccumulationScheduler`` changes the number between epochs only,
and a run here is one epoch.)
"""

from __future__ import annotations

from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.batch import Batch
from gpt_lightning.optim.batch_sizes import BatchSizes

_MASK = (1 << 64) - 1
_EVALUATION = 1 << 62
"""Keeps evaluation's seeds apart from training's."""


def mix_seed(seed: int, number: int) -> int:
    """64 well-mixed bits of two integers (SplitMix64's finalizer; Steele, Lea and Flood 2014)."""
    z = (seed * 0x9E3779B97F4A7C15 + number * 0xBF58476D1CE4E5B9 + 0x9E3779B97F4A7C15) & _MASK
    z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & _MASK
    return z ^ (z >> 31)


class StepSeed(Callback):
    """Seed torch's generators before every micro-batch; an objective has ``Draws`` instead."""

    def __init__(self, seed: int) -> None:
        self._seed = seed

    def _apply(self, module: LightningModule, number: int) -> None:
        seed = mix_seed(self._seed, number)
        torch.default_generator.manual_seed(seed)
        if module.device.type == "cuda":
            torch.cuda.manual_seed(seed)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int) -> None:
        """Seed from the sample number."""
        self._apply(pl_module, batch.position)

    def on_validation_batch_start(
        self, trainer: Trainer, pl_module: LightningModule, batch: Batch, batch_idx: int, dataloader_idx: int = 0
    ) -> None:
        """The same for validation, so that a random objective has the same loss at every visit."""
        self._apply(pl_module, _EVALUATION + batch.position)

    def on_test_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """As in validation."""
        self.on_validation_batch_start(*args, **kwargs)

    def on_predict_batch_start(self, *args: Any, **kwargs: Any) -> None:
        """As in validation."""
        self.on_validation_batch_start(*args, **kwargs)


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
