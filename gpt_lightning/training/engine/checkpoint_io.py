"""Lightning's counters, set from the checkpoint's optimizer step and nothing else.

Lightning stores where each of its nested loops stood, counted in micro-batches of the machine that saved. On another
number of processes or another accumulation these counts are wrong (a step after half a batch), and restoring them
switches on restart rules that repeat or skip a batch. All of it follows from one number, so we put that number in.

Lightning's checkpoint plug-in point, filled with our durable folders.

With it ``trainer.save_checkpoint`` and ``trainer.fit(ckpt_path=...)`` write and read ``checkpoints.folder``; a path on
the network, a damaged file or a pickle that wants to run code is refused before any state is touched. (Lightning 2.6.6
itself loads pickles from http paths with code execution on.)
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch import Trainer
from lightning.pytorch.plugins.io import CheckpointIO

from gpt_lightning.checkpoints.best import VALIDATION
from gpt_lightning.checkpoints.durable import discard, step_of
from gpt_lightning.checkpoints.folder import read_checkpoint, write_checkpoint
from gpt_lightning.errors import CheckpointError, UserError
from gpt_lightning.training.engine.steps import find_problem


def restore_progress(trainer: Trainer, checkpoint: dict[str, Any]) -> None:
    """Continue at an optimizer step border, as if this process had trained from the start.

    To be called while callbacks load the checkpoint: Lightning would restore the stored loop states after that.
    """
    step = int(checkpoint["global_step"])
    checkpoint.pop("loops", None)
    loop = trainer.fit_loop.epoch_loop
    loop.automatic_optimization.optim_progress.optimizer.step.total.ready = step
    loop.automatic_optimization.optim_progress.optimizer.step.total.completed = step
    loop._batches_that_stepped = step  # Lightning's own logging clock has no public setter
    for counter in ("ready", "started", "processed", "completed"):
        setattr(loop.batch_progress.total, counter, step * trainer.accumulate_grad_batches)


def facts_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says about the model, its data, and what was measured."""
    card = checkpoint.get("gpt_lightning", {})
    facts = {name: value for name, value in card.items() if name != "tokenizer"}  # a vocabulary is large
    return facts | {name: checkpoint[name] for name in (VALIDATION,) if name in checkpoint}


def save_together(trainer: Trainer, path: Path) -> None:
    """``trainer.save_checkpoint`` that raises on all processes where the first cannot write, and strands none.

    The logs are made durable first: a checkpoint counts on the lines before it.

    Raises:
        TrainingError: The disk refuses the write; the same error on all processes.
    """
    plugin = trainer.strategy.checkpoint_io
    if not isinstance(plugin, DurableCheckpointIO) or trainer.world_size == 1:
        _save_logs(trainer)
        trainer.save_checkpoint(path)
        return
    share(trainer, lambda: _save_logs(trainer))
    plugin.problem, plugin.holds_back = None, True
    try:
        trainer.save_checkpoint(path)
    finally:
        plugin.holds_back = False
    problem = trainer.strategy.broadcast(plugin.problem)
    if problem is not None:
        raise problem


def share(trainer: Trainer, action: Callable[[], None]) -> None:
    """Do something on the first process that may fail; then it fails on all."""
    problem: UserError | None = None
    if trainer.is_global_zero:
        try:
            action()
        except UserError as error:
            problem = error
    problem = trainer.strategy.broadcast(problem)
    if problem is not None:
        raise problem


def _save_logs(trainer: Trainer) -> None:
    for logger in trainer.loggers:
        logger.save()
    problem = find_problem(trainer)
    if problem is not None:
        raise problem


class DurableCheckpointIO(CheckpointIO):
    """Reads and writes checkpoint folders named ``step-NNN``.

    Attributes:
        holds_back: Whether an error of a write is kept in ``problem`` instead of raised, see ``save_together``.
        problem: That error.
    """

    def __init__(self) -> None:
        self.holds_back = False
        self.problem: UserError | None = None

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` so that it is complete or invisible."""
        try:
            self._write(checkpoint, path)
        except UserError as error:
            if not self.holds_back:
                raise
            self.problem = error

    def _write(self, checkpoint: dict[str, Any], path: str | Path) -> None:
        target = Path(path)
        step = step_of(target)
        if step is None:
            raise CheckpointError(
                "A checkpoint is a folder named for its step",
                got=target.name,
                allowed="step-000000600",
                fix="Use checkpoints.durable.checkpoint_name(step).",
            )
        write_checkpoint(target.parent, step=step, state=checkpoint, facts=facts_of(checkpoint))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Verify, then load plain data; ``weights_only`` is always true, whatever is asked."""
        state = read_checkpoint(path)
        # An imported model was never in a Trainer, which asks for these even when it only validates.
        return {"pytorch-lightning_version": lightning.__version__, "epoch": 0, "global_step": 0, **state}

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint folder."""
        discard(Path(path))
