"""Run training in processes that really die.

A fork server imports the training room once (seconds) and parses once, as that of the trials of a sweep does; every
case is then a fork of it (milliseconds), which trains a tiny model and may kill itself with SIGKILL at a chosen point.
The server itself never computes, so its children start with intact thread pools.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.checkpoints import folder as checkpoint_folder
from gpt_lightning.errors import StopRequested, UserError
from gpt_lightning.training.engine import checkpoint_io
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.options import class_settings, known_settings
from gpt_lightning.training.fitting.run import Run, add_callbacks
from tests.disk import never_wait

TEXT = "\n\n".join(
    f"Paragraph {number}. " + " ".join(f"word{(number * 7 + k * k) % 97}" for k in range(25)) for number in range(12)
)
"""About 2,300 bytes, so that a run of 24 steps crosses the end of an epoch twice."""

TINY: dict[str, Any] = {
    "model": {"config": {"n_layer": 2, "n_head": 2, "n_embd": 16, "dropout": 0.1}, "optimizer": {"lr": 1e-2}},
    "data": {"tokenizer": "bytes", "block_size": 16, "batch_size": 4, "val_fraction": 0.1},
    "trainer": {"accelerator": "cpu", "devices": 1, "max_steps": 24, "log_every_n_steps": 1, "gradient_clip_val": 1.0},
    "run": {"validate_every": 5, "save_every": 3, "sample_tokens": 0, "keep_checkpoints": 3},
    # What they show is tested in test_insight and test_loggers; everywhere else it would only take time.
    "monitor": {"details": False, "mfu": False},
}

never_wait()
class_settings(known_settings("fit"))  # once here, not in every child that types a command
_server = multiprocessing.get_context("forkserver")
_server.set_forkserver_preload(["pytest", "tests.training.forked", "gpt_lightning.tuning.trial.forked_trial"])


def write_corpus(folder: Path) -> Path:
    """The corpus as one file."""
    path = folder / "corpus.txt"
    path.write_text(TEXT, encoding="utf-8")
    return path


class KillAt(Callback):
    """SIGKILL to this process at a point of training."""

    def __init__(self, point: str, step: int) -> None:
        self.point, self.step = point, step

    def _die(self, point: str, trainer: Trainer) -> None:
        if self.point == point and trainer.global_step >= self.step:
            os.kill(os.getpid(), signal.SIGKILL)

    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        self._die("batch_start", trainer)

    def on_before_optimizer_step(self, trainer: Trainer, pl_module: LightningModule, optimizer: Any) -> None:
        self._die("before_update", trainer)

    def on_validation_batch_end(self, trainer: Trainer, *args: Any, **kwargs: Any) -> None:
        self._die("validation", trainer)


def kill_in_save(call: str, step: int) -> None:
    """SIGKILL inside the save of the first checkpoint at or after ``step``."""
    real_write = checkpoint_folder.write_checkpoint

    def die(*_: Any, **__: Any) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    def write(*args: Any, **kwargs: Any) -> Path:
        if kwargs["step"] >= step:
            setattr(os, call, die)
        return real_write(*args, **kwargs)

    vars(checkpoint_io)["write_checkpoint"] = write


def train(folder: Path, settings: Mapping[str, Any], kill: tuple[str, int] | None) -> None:
    """One start of ``fit --resume auto`` in ``folder``; the body of a child."""
    run = build(TINY, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")}, settings)
    if kill is not None:
        point, step = kill
        if point in ("fsync", "rename"):
            kill_in_save(point, step)
        else:
            add_callbacks(run.trainer, KillAt(point, step))
    run.fit(resume="auto")


def _child(body: Callable[..., None], args: tuple[Any, ...], cwd: str, cache: str) -> None:
    os.chdir(cwd)
    os.environ["GPT_LIGHTNING_CACHE"] = cache
    import torch

    torch.set_num_threads(1)
    try:
        body(*args)
    except (UserError, StopRequested) as error:
        (Path(cwd) / "error.txt").write_text(str(error), encoding="utf-8")
        os._exit(error.exit_code)
    except BaseException:
        traceback.print_exc()
        os._exit(1)


def run_child(place: Path, body: Callable[..., None], *args: Any, timeout: float = 60) -> int:
    """Exit code of ``body(*args)`` in a forked process working in ``place`` (negative: killed by that signal)."""
    process = start_child(place, body, *args)
    process.join(timeout)
    if process.exitcode is None:
        process.kill()
        raise AssertionError("the child did not end")
    return int(process.exitcode)


def start_child(place: Path, body: Callable[..., None], *args: Any) -> Any:
    """Start a child without waiting for it."""
    cache = str(place / "cache")
    process = _server.Process(target=_child, args=(body, args, str(place), cache))
    process.start()
    return process


__all__ = ["TINY", "Run", "run_child", "start_child", "train", "write_corpus"]
