"""Lightning's counters, set from the checkpoint's optimizer step and nothing else.

Lightning stores where each of its nested loops stood, counted in micro-batches of the machine that saved. On another
number of processes or another accumulation these counts are wrong (a step after half a batch), and restoring them
switches on restart rules that repeat or skip a batch. All of it follows from one number, so we put that number in.
"""

from __future__ import annotations

from typing import Any

from lightning.pytorch import Trainer


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
