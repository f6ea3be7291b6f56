"""When a checkpoint is written: at optimizer steps only, after the validation that is due at the same step.

    every ``save_every`` steps          a killed run loses at most that much
    a validation that improved          ``best`` points there; a NaN is never best
    the last step                       so that a finished run can be used
    SIGTERM or SIGINT                   at the next step on all processes, then ``StopRequested``;
                                        a single process does not wait for data any more (``stop_waiting``)

Partial gradients are not in a checkpoint, hence "at optimizer steps only". Saving after the validation of the same
step makes "killed during validation" the ordinary case: the run resumes before it and validates again.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from gpt_lightning.checkpoints.durable import checkpoint_name
from gpt_lightning.checkpoints.shelf import rotate, write_best
from gpt_lightning.errors import StopRequested
from gpt_lightning.training.progress import restore_progress
from gpt_lightning.training.signals import StopFlag

MONITOR = "val/loss"


class Saving(Checkpoint):
    """Saves, keeps the best, rotates, and stops on a signal.

    Args:
        shelf: The run's ``checkpoints`` folder.
        every_steps: Optimizer steps between periodic checkpoints.
        keep: How many of the newest stay beside the best.
        stop: The flag that signals set.
    """

    def __init__(self, shelf: Path, *, every_steps: int, keep: int, stop: StopFlag) -> None:
        self._shelf, self._every_steps, self._keep, self._stop = shelf, every_steps, keep, stop
        self._saved_step = -1
        self._due = False
        self._stopping = False
        self._at_border = True
        self.best: dict[str, float] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The best value so far and its step."""
        return {"best": dict(self.best) if self.best else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best value over."""
        self.best = state_dict["best"]

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Continue at the checkpoint's step; here, because every callback costs something at every hook."""
        restore_progress(trainer, checkpoint)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals; later than Lightning, whose own handler would end with exit code 0."""
        self._saved_step = trainer.global_step
        self._stop.install()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At a step border: note what is due, and do it now unless a validation comes first."""
        self._at_border = at_step_border(trainer)
        if not self._at_border:
            return
        step = trainer.global_step
        if self._any_process_was_signalled(trainer):
            self._stopping = True
        self._due = self._stopping or step % self._every_steps == 0 or step >= trainer.max_steps
        if step >= trainer.max_steps:
            trainer.should_stop = True  # makes Lightning validate at the last step whatever the interval
        if not validation_follows(trainer):
            self._act(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Point ``best`` at this step if it improved, then do what was due."""
        if not trainer.fit_loop._data_fetcher or trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[MONITOR])
        improved = math.isfinite(value) and (self.best is None or value < self.best["value"])
        if improved:
            self.best = {"value": value, "step": float(trainer.global_step)}
            self._due = True
        self._act(trainer, improved=improved)

    def stop_waiting(self, trainer: Trainer) -> None:
        """After a signal, end a wait for data that are still being prepared.

        Between two steps the state is saved first. Inside a step or a validation it cannot be: the run goes on from
        its last checkpoint. Nothing happens with several processes, of which the others may not be waiting: they could
        not be told, nor save together.

        Raises:
            StopRequested: There was a signal.
        """
        if self._stop.received is None or trainer.world_size > 1:
            return
        if self._at_border and not trainer.validating:
            self._due = self._stopping = True
            self._act(trainer)
        raise StopRequested(self._stop.received.name, self._saved_step)

    def _act(self, trainer: Trainer, improved: bool = False) -> None:
        if self._due:
            self._due = False
            self._save(trainer)
        if trainer.is_global_zero and improved:
            assert self.best is not None
            write_best(self._shelf, step=trainer.global_step, metric=MONITOR, value=self.best["value"])
        if trainer.is_global_zero and self._saved_step == trainer.global_step:
            rotate(self._shelf, keep_last=self._keep)
        if self._stopping:
            received = self._stop.received
            raise StopRequested(received.name if received else "a signal to another process", trainer.global_step)

    def _save(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if step != self._saved_step:
            self._saved_step = step
            trainer.save_checkpoint(self._shelf / checkpoint_name(step))

    def _any_process_was_signalled(self, trainer: Trainer) -> bool:
        here = self._stop.received is not None
        if trainer.world_size == 1:
            return here
        return bool(trainer.strategy.reduce_boolean_decision(here, all=False))

    def teardown(self, trainer: Trainer, pl_module: LightningModule, stage: str) -> None:
        """Give the signals back."""
        self._stop.restore()


def at_step_border(trainer: Trainer) -> bool:
    """Whether the micro-batch that just ended completed an optimizer step."""
    return not trainer.fit_loop._should_accumulate()


def validation_follows(trainer: Trainer) -> bool:
    """Whether Lightning validates between this micro-batch and the next."""
    loop = trainer.fit_loop
    assert loop._data_fetcher is not None
    return trainer.enable_validation and loop.epoch_loop._should_check_val_fx(loop._data_fetcher)
