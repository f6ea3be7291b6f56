"""Tiny runs inside the test's own process, for everything that needs no death."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import Run, add_callbacks
from tests.training.forked import TINY

STEPS = 6
SIX_STEPS: dict[str, Any] = {
    "trainer": {"max_steps": STEPS, "enable_progress_bar": False},
    "run": {"validate_every": 3, "save_every": 2, "keep_checkpoints": 9},
}
"""TINY cut down to six steps, with a checkpoint every second one; reads ``corpus.txt`` in the working folder."""


def tiny_run(*settings: Mapping[str, Any], args: list[str] | None = None) -> Run:
    """TINY with ``settings``, later ones win."""
    return build(TINY, SIX_STEPS, {"data.source": "corpus.txt"}, *settings, args=args or [])


def checkpoint_of(folder: Path, step: int) -> Path:
    """The checkpoint folder of a step."""
    return folder / CHECKPOINTS_DIR / f"step-{step:09d}"


def weights_of(folder: Path, step: int | None = None) -> dict[str, Any]:
    """State of a step, or of the newest checkpoint."""
    path = list_checkpoints(folder / CHECKPOINTS_DIR)[-1] if step is None else checkpoint_of(folder, step)
    return dict(read_checkpoint(path)["state_dict"])


class Crash(Exception):
    """What ``crash_at`` raises."""


class _CrashAt(Callback):
    def __init__(self, step: int, error: BaseException) -> None:
        self._step, self._error = step, error

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step >= self._step:
            raise self._error


def crash_at(run: Run, step: int, error: BaseException | None = None) -> Run:
    """Let ``run`` end by an exception once ``step`` optimizer steps are done."""
    add_callbacks(run.trainer, _CrashAt(step, error or Crash()))
    return run
