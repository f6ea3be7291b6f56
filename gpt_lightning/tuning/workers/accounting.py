"""What an attempt has computed, read from the files of its run: a process that is killed cannot say it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints, step_of
from gpt_lightning.training.runs.run_folder import read_metrics, read_starts


@dataclass(frozen=True)
class Work:
    """Of one attempt.

    Attributes:
        executed_steps: Optimizer steps computed, those that were lost behind the last checkpoint among them.
        reused_steps: Optimizer steps taken over from other trials.
    """

    executed_steps: int = 0
    reused_steps: int = 0


def newest_step(folder: Path) -> int:
    """Step of a run's newest checkpoint; 0 when there is none."""
    return max((step_of(path) or 0 for path in list_checkpoints(folder / CHECKPOINTS_DIR)), default=0)


def count_starts(folder: Path) -> int:
    """How often a run has begun to train; 0 where that cannot be read."""
    try:
        return len(read_starts(folder))
    except (OSError, ValueError, LookupError):
        return 0


def measure_work(folder: Path, starts_before: int) -> Work:
    """What the run's last start has done, from its manifest, its checkpoints and its curves.

    Args:
        folder: Of the trial.
        starts_before: ``count_starts`` before the attempt; where there are no more now, it never began to train.
    """
    if count_starts(folder) <= starts_before:
        return Work()
    start = read_starts(folder)[-1]
    logged = max((int(line["step"]) for line in read_metrics(folder)), default=0)
    done = max(newest_step(folder), logged)
    return Work(max(0, done - int(start.get("resumed_step") or 0)), int(start.get("reused_steps") or 0))
