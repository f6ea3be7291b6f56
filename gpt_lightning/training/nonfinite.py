"""What happens when a loss or a gradient is not finite. In no case does it reach the weights.

    Stop   training ends before the update, with advice (the default)
    Skip   that one step changes nothing: no weight, no moment, no decay; its batch is spent, and the next step goes on

The steps that were left out are in the checkpoint, so that a resumed run counts them as the uninterrupted one would.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass

from gpt_lightning.errors import ConfigError, TrainingError

log = logging.getLogger("gpt_lightning")


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

    @abstractmethod
    def meet(self, step: BadStep, skipped: list[int]) -> None:
        """Return to leave the step out, after adding it to ``skipped``; or stop.

        Args:
            step: The step.
            skipped: Numbers of the steps left out before.

        Raises:
            TrainingError: Training stops before the step.
        """


class Stop(NonFinitePolicy):
    """Training ends; the weights are those of the step before."""

    def meet(self, step: BadStep, skipped: list[int]) -> None:
        """Raise, with advice."""
        raise TrainingError(
            f"Training stopped before step {step.number}: {step.describe()}; the weights are those of the step before",
            fix="Lower --model.optimizer.lr (a third is a good start), lengthen the warmup, or set "
            "--trainer.gradient_clip_val 1.0; then go on from the last checkpoint with --resume auto.",
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
        if len(skipped) >= self._max_steps:
            raise TrainingError(
                f"Training stopped before step {step.number}: {step.describe()}, and {len(skipped)} steps were left "
                f"out before ({', '.join(map(str, skipped))})",
                fix="Lower --model.optimizer.lr (a third is a good start), or allow more with "
                "--model.nonfinite.max_steps.",
            )
        skipped.append(step.number)
        log.warning("step %d is left out: %s", step.number, step.describe())
