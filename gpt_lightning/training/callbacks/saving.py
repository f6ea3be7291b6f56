"""When a checkpoint is written: at optimizer steps only, after the validation that is due at the same step.

    every ``save_every`` steps          a killed run loses at most that much
    a validation that improved          ``best`` points there; a NaN is never best
    the last step, whatever ends the run
        trainer.max_steps
        ``should_stop``                 a time limit, EarlyStopping, a callback of the user's: all processes together,
                                        and never inside an accumulation
        a signal                        at the next step on all processes, then ``StopRequested``;
                                        a single process does not wait for data any more (``stop_waiting``)
        an exception                    unless it says that the state is no good, or cannot be written

Partial gradients are not in a checkpoint, hence "at optimizer steps only". Saving after the validation of the same
step makes "killed during validation" the ordinary case: the run resumes before it and validates again. (An exception in
a validation saves its step, and that one validation is not made up for; but not at the last step, which would then
never be validated.)

An exception may come when an optimizer step is done and not all callbacks have seen it yet. ``StepKeeper`` are those
whose state belongs to the step; they are asked to finish it first.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from gpt_lightning.checkpoints.best import ALL, VALIDATION, Validation, point_to_best
from gpt_lightning.checkpoints.checkpoint_dir import rotate
from gpt_lightning.checkpoints.durable import checkpoint_name
from gpt_lightning.errors import DivergedError, EndedEarly, StopRequested, UserError
from gpt_lightning.training.engine.checkpoint_io import restore_progress, save_together
from gpt_lightning.training.engine.processes import StopFlag
from gpt_lightning.training.engine.steps import StepKeeper, at_step_border, find_problem, validation_follows

log = logging.getLogger("gpt_lightning")

MONITOR = "val/loss"


class Saving(Checkpoint):
    """Saves, keeps the best, rotates, and stops on a signal.

    Args:
        shelf: The run's ``checkpoints`` folder.
        every_steps: Optimizer steps between periodic checkpoints.
        keep: How many of the newest stay beside the best.
        stop: The flag that signals set.
        part: What of the validation split is measured; a loss on another part is not compared.
    """

    def __init__(self, shelf: Path, *, every_steps: int, keep: int, stop: StopFlag, part: str = ALL) -> None:
        self._shelf, self._every_steps, self._keep, self._stop, self._part = shelf, every_steps, keep, stop, part
        self._saved_step = -1
        self._border_step: int | None = None  # the last step whose state was whole
        self._updating = False
        self._due = False
        self._stopping = False
        self._ends_at_border = False
        self._validation: Validation | None = None
        self.best: dict[str, Any] | None = None

    def state_dict(self) -> dict[str, Any]:
        """The best value so far and its step."""
        return {"best": dict(self.best) if self.best else None}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take the best value over."""
        self.best = state_dict["best"]
        before = (self.best or {}).get("part", self._part)
        if before != self._part:
            log.warning(
                "val/loss is now of %s, before it was of %s: the best checkpoint is chosen anew", self._part, before
            )
            self.best = None

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """What was measured at this step: which checkpoint is best follows from the checkpoints themselves."""
        if self._validation is not None and self._validation.step == trainer.global_step:
            checkpoint[VALIDATION] = self._validation.facts()

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Continue at the checkpoint's step; here, because every callback costs something at every hook."""
        restore_progress(trainer, checkpoint)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Take over the signals; later than Lightning, whose own handler would end with exit code 0."""
        self._saved_step = self._border_step = trainer.global_step
        self._stop.step = None
        self._stop.install()

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        """From here to the end of the batch the state is that of no step."""
        self._updating = True

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At a step border: note what is due, and do it now unless a validation comes first."""
        self._ends_at_border |= trainer.should_stop
        if not at_step_border(trainer):
            trainer.should_stop = False  # inside an accumulation there is nothing to save
            return
        step = self._border_step = trainer.global_step
        self._updating = False
        self._agree(trainer)
        self._due = self._stopping or step % self._every_steps == 0 or step >= trainer.max_steps or _ends(trainer)
        if step >= trainer.max_steps:
            trainer.should_stop = True  # makes Lightning validate at the last step whatever the interval
        if not validation_follows(trainer):
            self._act(trainer)

    def _agree(self, trainer: Trainer) -> None:
        """What one process has met, a signal, a callback's wish or a log that cannot be written, all act on.

        Raises:
            MachineError: The log. Its step is not saved: a checkpoint counts on the lines before it.
        """
        signalled, ends, problem = self._stop.received is not None, self._ends_at_border, find_problem(trainer)
        if trainer.world_size > 1:
            decide = trainer.strategy.reduce_boolean_decision
            if not decide(signalled or ends or problem is not None, all=False):
                return
            signalled, ends = bool(decide(signalled, all=False)), bool(decide(ends, all=False))
            problem = trainer.strategy.broadcast(problem)
        if problem is not None:
            raise problem
        self._stopping = signalled
        trainer.should_stop = ends

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Point ``best`` at this step if it improved, then do what was due."""
        if not trainer.fit_loop._data_fetcher or trainer.sanity_checking:
            return
        value = float(trainer.callback_metrics[MONITOR])
        self._validation = Validation(trainer.global_step, MONITOR, value, self._part)
        if math.isfinite(value) and (self.best is None or value < self.best["value"]):
            self.best = {"value": value, "step": float(trainer.global_step), "part": self._part}
            self._due = True
        self._due |= _ends(trainer)
        self._act(trainer)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The run ends here, for a reason that came up after the border (EarlyStopping, in a validation).

        Not when training has ended: by then a mean of the weights has taken the place of the weights.
        """
        self._due = True
        self._act(trainer)

    def on_exception(self, trainer: Trainer, pl_module: LightningModule, exception: BaseException) -> None:
        """Save the step that the run ends on, where its state is whole; the exception goes on its way."""
        if not self._is_worth_saving(trainer, exception):
            return
        try:
            self._finish_step(trainer, pl_module)
            if not self._updating:
                self._save(trainer)
                log.info("saved step %d, on which the run ends", trainer.global_step)
        except (UserError, OSError, RuntimeError) as problem:
            log.warning("step %d, on which the run ends, could not be saved: %s", trainer.global_step, problem)

    def _is_worth_saving(self, trainer: Trainer, exception: BaseException) -> bool:
        if self._border_step is None or isinstance(exception, (StopRequested, DivergedError)):
            return False  # nothing was done; it is saved; its weights lead nowhere
        if find_problem(trainer) is not None:
            return False  # the log lacks lines
        if trainer.world_size > 1 and not isinstance(exception, EndedEarly):
            return False  # the others, which may have met no exception, would have to save together with this process
        return not (trainer.validating and trainer.global_step >= trainer.max_steps)

    def _finish_step(self, trainer: Trainer, module: LightningModule) -> None:
        """Where only callbacks have not seen the step to its end, let those do so whose state belongs to it."""
        if self._updating and trainer.global_step == (self._border_step or 0) + 1:
            keepers = [each for each in vars(trainer)["callbacks"] if isinstance(each, StepKeeper)]
            for keeper in keepers:
                keeper.on_train_batch_end(trainer, module, None, None, 0)
            self._updating = not all(keeper.is_whole for keeper in keepers)

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
        if not self._updating and not trainer.validating and self._border_step is not None:
            self._due = self._stopping = True
            self._act(trainer)
        raise StopRequested(self._stop.received.name, max(0, self._saved_step))

    def _act(self, trainer: Trainer) -> None:
        if self._due:
            self._due = False
            self._save(trainer)
        if trainer.is_global_zero and self._saved_step == trainer.global_step:
            self._tidy()
        if self._stopping:
            received = self._stop.received
            raise StopRequested(received.name if received else "a signal to another process", trainer.global_step)

    def _tidy(self) -> None:
        """What could be done later as well: no reason to end a run."""
        try:
            point_to_best(self._shelf)
            rotate(self._shelf, keep_last=self._keep)
        except (UserError, OSError) as problem:
            log.warning("older checkpoints stay as they are: %s", problem)

    def _save(self, trainer: Trainer) -> None:
        step = trainer.global_step
        if step != self._saved_step:
            self._saved_step = step
            save_together(trainer, self._shelf / checkpoint_name(step))


def describe_part(limit: float | int, windows_per_batch: int) -> str:
    """What of the validation split is measured.

    Args:
        limit: ``trainer.limit_val_batches``: a share, or a number of batches.
        windows_per_batch: Windows of a batch.
    """
    if isinstance(limit, float):
        return ALL if limit >= 1 else f"{limit:g} of the split"
    return f"{limit} batches of {windows_per_batch} windows"


def _ends(trainer: Trainer) -> bool:
    """Whether Lightning will end training here, as it was asked to; not before ``trainer.min_steps``."""
    return trainer.should_stop and trainer.fit_loop._can_stop_early
