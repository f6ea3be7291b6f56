"""What happens when a loss or a gradient is not finite. In no case does it reach the weights.

    Stop   training ends before the update, with advice (the default)
    Skip   that one step changes nothing: no weight, no moment, no decay; its batch is spent, and the next step goes on
    Rollback   weights, moments and running mean go back to a snapshot some steps before, and training goes on forward
               with the next step: its data, its learning rate. What was seen between is spent

Going back and seeing the same data again would only lead to the same place, one step before the bad one: that is what
Skip does, without the detour. So Rollback goes on with other data, as PaLM's authors did by hand (Chowdhery et al.
2022), and the stream, the schedule and the numbers of the steps stay functions of the step alone.

The steps that were left out are in the checkpoint, so that a resumed run counts them as the uninterrupted one would.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch
from lightning.pytorch import Callback, Trainer
from lightning.pytorch.plugins import MixedPrecision
from torch.optim import Optimizer

from gpt_lightning.errors import ConfigError, DivergedError
from gpt_lightning.training.engine.processes import process_rank
from gpt_lightning.training.modules.snapshot import Snapshot

log = logging.getLogger("gpt_lightning")
_GO_ON = (
    "go on from the last checkpoint with --resume auto --run.allow_changes "
    "'[model.optimizer,model.schedule,model.nonfinite,trainer.gradient_clip_val]'."
)


@dataclass(frozen=True)
class BadStep:
    """A step that is not finite.

    Attributes:
        number: Of the step, 1 for the first.
        loss: Sum over its micro-batches; None = unknown.
        norm: Of its gradient.
        lr: Learning rate of the first group.
    """

    number: int
    loss: float | None
    norm: float
    lr: float

    def describe(self) -> str:
        """Both values and the learning rate."""
        loss = "unknown" if self.loss is None else f"{self.loss:g}"
        return f"loss {loss}, gradient norm {self.norm:g} at learning rate {self.lr:.3g}"


class NonFinitePolicy(ABC):
    """What to do about a step that is not finite."""

    needs_whole_weights = False
    """Whether every process has to hold all weights, which rules out sharded strategies."""

    def callbacks(self) -> list[Callback]:
        """What the policy has to do around steps."""
        return []

    @abstractmethod
    def meet(self, step: BadStep, skipped: list[int]) -> None:
        """Return to leave the step out, after adding it to ``skipped``; or stop.

        Args:
            step: The step.
            skipped: Numbers of the steps left out before.

        Raises:
            DivergedError: Training stops before the step.
        """


class Stop(NonFinitePolicy):
    """Training ends; the weights are those of the step before."""

    def meet(self, step: BadStep, skipped: list[int]) -> None:
        """Raise, with advice."""
        raise DivergedError(
            f"Training stopped before step {step.number}: {step.describe()}; the weights are those of the step before",
            fix="Lower --model.optimizer.lr (a third is a good start), lengthen the warmup, or set "
            f"--trainer.gradient_clip_val 1.0; then {_GO_ON}",
        )


class Skip(NonFinitePolicy):
    """The step is left out, and said so; too many of them end training.

    Args:
        max_steps: How many steps of a run may be left out, at least 1.

    Raises:
        ConfigError: ``max_steps`` is not positive.
    """

    def __init__(self, max_steps: int = 10) -> None:
        if max_steps < 1:
            raise ConfigError("nonfinite.max_steps is a count", got=max_steps, allowed="1 or more")
        self._max_steps = max_steps

    def meet(self, step: BadStep, skipped: list[int]) -> None:
        """Count, and raise when there were as many as allowed before."""
        self._count(step, skipped)
        if process_rank() == 0:  # all processes leave it out together
            log.warning("step %d is left out: %s", step.number, step.describe())

    def _count(self, step: BadStep, skipped: list[int]) -> None:
        if len(skipped) >= self._max_steps:
            raise DivergedError(
                f"Training stopped before step {step.number}: {step.describe()}, and {len(skipped)} steps were left "
                f"out before ({', '.join(map(str, skipped))})",
                fix="Lower --model.optimizer.lr (a third is a good start), or allow more with "
                f"--model.nonfinite.max_steps; then {_GO_ON}",
            )
        skipped.append(step.number)


class Rollback(Skip):
    """The step is left out, and the weights go back to a snapshot; too many of them end training.

    The snapshot lies in memory and in every checkpoint: weights, optimizer state and running mean once more.

    Args:
        every_steps: Steps between snapshots, at least 1: a rollback goes back by up to so many.
        max_steps: How many steps of a run may be left out, at least 1.

    Raises:
        ConfigError: A count is not positive.
    """

    needs_whole_weights = True

    def __init__(self, every_steps: int = 100, max_steps: int = 10) -> None:
        super().__init__(max_steps)
        if every_steps < 1:
            raise ConfigError("nonfinite.every_steps is a count", got=every_steps, allowed="1 or more")
        self._snapshot = Snapshot(every_steps)

    def callbacks(self) -> list[Callback]:
        """What takes the snapshots."""
        return [self._snapshot]

    def meet(self, step: BadStep, skipped: list[int]) -> None:
        """Count as Skip does, then go back."""
        self._count(step, skipped)
        self._snapshot.restore()
        if process_rank() == 0:
            back = self._snapshot.step
            log.warning(
                "step %d is left out, and the weights are those of step %d: %s", step.number, back, step.describe()
            )


def unscale_gradients(trainer: Trainer, optimizer: Optimizer) -> torch.amp.GradScaler | None:
    """The gradient scaler of float16, whose factor the gradients have lost when this returns; None without one.

    Lightning leaves a fused optimizer's gradients scaled, because its kernel can divide. Clipped like that they would
    keep their direction but none of their size, so they are divided here; the scaler then tells the kernel.
    """
    plugin = trainer.precision_plugin
    if not isinstance(plugin, MixedPrecision) or plugin.scaler is None:
        return None
    if getattr(optimizer, "_step_supports_amp_scaling", False):
        plugin.scaler.unscale_(optimizer)
    return plugin.scaler
