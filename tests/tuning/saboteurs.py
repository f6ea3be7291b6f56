"""Callbacks that end a trial in all the ways in which trials end, or make it slow enough to be ended from outside."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

ERRORS: dict[str, type[BaseException]] = {"memory": MemoryError, "value": ValueError}


class Saboteur(Callback):
    """Does its deed before a step.

    Args:
        deed: memory, value (errors), segfault, kill, sleep, nan (a weight), inf (losses whose exponential is), orphan
            (its server), tell (the visible devices, into ``once``), or nothing. slow waits before every step.
        step: Optimizer steps done before.
        once: File whose existence says that it was done already; empty = always.
    """

    def __init__(self, deed: str, step: int = 3, once: str = "") -> None:
        self.deed, self.step, self.once = deed, step, once

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if self.deed == "slow":
            time.sleep(0.2)
        if trainer.global_step != self.step or (self.once and Path(self.once).exists()):
            return
        if self.once:
            Path(self.once).touch()
        self._do(pl_module)

    def _do(self, pl_module: LightningModule) -> None:
        if self.deed in ERRORS:
            raise ERRORS[self.deed]("on purpose")
        if self.deed in ("segfault", "kill"):
            os.kill(os.getpid(), signal.SIGSEGV if self.deed == "segfault" else signal.SIGKILL)
        if self.deed == "orphan":
            os.kill(os.getppid(), signal.SIGKILL)
        if self.deed == "sleep":
            time.sleep(60)
        if self.deed == "nan":
            next(pl_module.parameters()).data.fill_(float("nan"))
        if self.deed == "inf":
            for weights in pl_module.parameters():
                weights.data.mul_(1e4)
        if self.deed in DEEDS:
            DEEDS[self.deed](self)
        if self.deed == "tell":
            Path(self.once).write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "all"))


def _full(descriptor: int, /) -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/data/nanogpt/text")


def _fill_disk(saboteur: Saboteur) -> None:
    vars(os)["fsync"] = _full


def _lose_partner(saboteur: Saboteur) -> None:
    partner = subprocess.Popen(["sleep", "600"])
    Path(saboteur.once).write_text(str(partner.pid))
    os.kill(os.getpid(), signal.SIGKILL)


DEEDS: dict[str, Callable[[Saboteur], None]] = {"disk": _fill_disk, "lose": _lose_partner}


def sabotage(deed: str, step: int = 3, once: str = "") -> list[dict[str, Any]]:
    """A value of ``trainer.callbacks``."""
    arguments = {"deed": deed, "step": step, "once": once}
    return [{"class_path": "tests.tuning.saboteurs.Saboteur", "init_args": arguments}]
