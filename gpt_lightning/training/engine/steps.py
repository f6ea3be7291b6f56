"""Where the Trainer stands within a step, and what its loggers have met."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.errors import MachineError


def at_step_border(trainer: Trainer) -> bool:
    """Whether the micro-batch that just ended completed an optimizer step."""
    return not trainer.fit_loop._should_accumulate()


def validation_follows(trainer: Trainer) -> bool:
    """Whether Lightning validates between this micro-batch and the next."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return trainer.enable_validation and loop.epoch_loop._should_check_val_fx(loop._data_fetcher)


def find_problem(trainer: Trainer) -> MachineError | None:
    """What keeps a logger of this process from writing."""
    problems = (getattr(logger, "problem", None) for logger in trainer.loggers)
    return next((problem for problem in problems if isinstance(problem, MachineError)), None)


class StepKeeper(Callback, ABC):
    """A callback with state that belongs to an optimizer step, as a mean of the weights does."""

    _kept_step = -1
    is_whole = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At a step border, keep the step; once."""
        if at_step_border(trainer) and trainer.global_step != self._kept_step:
            self.is_whole = False  # for ever, if this fails half-way
            self.keep_step(trainer, pl_module)
            self.is_whole, self._kept_step = True, trainer.global_step

    @abstractmethod
    def keep_step(self, trainer: Trainer, module: LightningModule) -> None:
        """Take the optimizer step just done into the state."""
