"""One clock for all curves: every point is stamped with the number of optimizer steps done.

Losses are kept as the detached tensors that the step produced and added up only when a line is written, so logging
costs nothing in between and never waits for the device. (``self.log`` costs about half a millisecond a call whether
or not anything is written, and stamps training curves one step off the others.)

The sums of an unfinished interval travel in the checkpoint: the logged sequence is the same after a resume. An
unfinished accumulation does not, since its gradients do not. It is the first of all callbacks, so that it has seen a
step's losses whatever another callback does at the step's end. Every name stands in ``tracking.names``.

How fast a run goes and what memory it takes is measured from one logged point to the next.
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable
from typing import Any

import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback
from torch import Tensor

from gpt_lightning.files.processes import resident_bytes
from gpt_lightning.metrics.scores import divide
from gpt_lightning.metrics.sums import to_double
from gpt_lightning.model.flops import choose_factor_type, measure_matrix_peak
from gpt_lightning.training.engine.sharding import team_size
from gpt_lightning.training.engine.steps import at_step_border
from gpt_lightning.training.loading.loaders import TrainLoader
from gpt_lightning.training.modules.module import GPTModule

_STATE = "metrics_log"


class MetricsLog(Callback):
    """Writes training metrics every ``every_steps`` optimizer steps, and validation's when it ends.

    Args:
        every_steps: Steps between training points.
        speed: Tokens, time and memory.
        tokens_per_epoch: Tokens of one pass over the training split; None = unknown, and epochs are not logged.
    """

    def __init__(self, *, every_steps: int, speed: Speed, tokens_per_epoch: int | None) -> None:
        self._every_steps, self._speed, self._tokens_per_epoch = every_steps, speed, tokens_per_epoch
        self._pending: list[dict[str, Tensor]] = []
        self._open: list[dict[str, Tensor]] = []  # micro-batches of a step that is not done
        self._carried: dict[str, float] = {}

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Start the clock."""
        self._speed.start(trainer)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Remember the loss; at the end of an interval, write a point."""
        self._open.append(outputs)
        if not at_step_border(trainer):
            return
        self._pending += self._open
        self._open = []
        step = trainer.global_step
        if step % self._every_steps == 0 or step >= trainer.max_steps:
            self._write(trainer, pl_module, step)

    def _write(self, trainer: Trainer, module: LightningModule, step: int) -> None:
        assert isinstance(module, GPTModule)
        sums, largest = self._sums(trainer, module.device), self._largest(trainer, module.device)
        if step % self._every_steps == 0:
            # Not at a last step inside an interval: a longer run that begins at its checkpoint finishes the interval.
            self._pending, self._carried = [], {}
        weight = sums.pop("weight")
        own = {name: sums.pop(f"weight {name}") for name in list(sums) if f"weight {name}" in sums}
        means = {
            "train/loss" if name == "mean" else f"train/part/{name}": divide(total, own.get(name, weight))
            for name, total in sums.items()
            if own.get(name, 1.0) > 0  # a part of a mixture may have had no sample
        }
        values = means | largest
        if module.objective.is_causal_lm:
            values["train/perplexity"] = _exponential(values["train/loss"])
        values |= _describe_update(trainer, module) | self._speed.lap(trainer)
        tokens = values["data/tokens"]
        if self._tokens_per_epoch is not None:
            values["data/epoch"] = tokens / self._tokens_per_epoch
        log_point(trainer, values, step)

    def _sums(self, trainer: Trainer, device: torch.device) -> dict[str, float]:
        """Sums of loss x weight, parts x weight and weights over the interval and all processes, in float64."""
        names = [name for name in self._pending[0] if name != "loss"] if self._pending else list(self._carried)
        if not names:
            return {}
        sums = torch.tensor([self._carried.get(name, 0.0) for name in names], dtype=torch.float64)
        sums = sums if device.type == "mps" else sums.to(device)
        for entries in self._pending:
            weights = {name: to_double(entries[name]) for name in names if name.split(" ")[0] == "weight"}
            rows = [
                weights[name]
                if name in weights
                else to_double(entries[name]) * weights.get(f"weight {name}", weights["weight"])
                for name in names
            ]
            sums = sums + torch.stack(rows)
        if trainer.world_size > 1:
            if trainer.global_rank % team_size(trainer):
                sums = torch.zeros_like(sums)  # the same tokens as on the first process of the team
            sums = trainer.strategy.reduce(sums, reduce_op="sum")
        return dict(zip(names, sums.tolist(), strict=True))

    def _largest(self, trainer: Trainer, device: torch.device) -> dict[str, float]:
        if trainer.world_size == 1 or not self._pending:
            return {}
        means = torch.stack([to_double(entries["mean"]) for entries in self._pending])
        weights = torch.stack([to_double(entries["weight"]) for entries in self._pending])
        # A process may have had padding only; its 0 is below every loss.
        own = ((means * weights).sum() / weights.sum().clamp_min(torch.finfo(weights.dtype).tiny)).to(device)
        return {"train/loss_max": float(trainer.strategy.reduce(own, reduce_op="max"))}

    def on_validation_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Stop the training clock."""
        self._speed.pause()

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the module published."""
        if not trainer.sanity_checking:
            self._write_published(trainer, "val/")
        self._speed.go_on()

    def on_test_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Write what the module published."""
        self._write_published(trainer, "test/")

    @staticmethod
    def _write_published(trainer: Trainer, prefix: str) -> None:
        published = trainer.callback_metrics.items()
        log_point(trainer, {name: float(v) for name, v in published if name.startswith(prefix)}, trainer.global_step)

    def on_save_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Carry the unfinished interval."""
        checkpoint[_STATE] = self._sums(trainer, pl_module.device)

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """Take the interval over; process 0 alone, since the sums are of all processes."""
        carried = checkpoint.get(_STATE, {})
        if isinstance(carried, list):  # checkpoints of older versions
            carried = {"mean": carried[0], "weight": carried[1]} if carried[1] else {}
        self._carried = dict(carried) if trainer.is_global_zero else {}


def log_point(trainer: Trainer, values: dict[str, float], step: int) -> None:
    """Give a point to every logger; process 0 alone."""
    if trainer.is_global_zero and values:
        for logger in trainer.loggers:
            logger.log_metrics(values, step=step)


def _exponential(loss: float) -> float:
    return math.exp(loss) if loss < 700 else math.inf


def _describe_update(trainer: Trainer, module: GPTModule) -> dict[str, float]:
    """Learning rates, gradient norms and what was left out, of the step just done."""
    values = {f"optim/lr/{group['name']}": float(group["lr"]) for group in trainer.optimizers[0].param_groups}
    if module.grad_norm is not None:
        norm = values["optim/grad_norm"] = module.grad_norm.item()
        if trainer.gradient_clip_val:
            values["optim/grad_norm_clipped"] = min(norm, float(trainer.gradient_clip_val))
    values["optim/skipped_steps"] = float(len(module.skipped_steps))
    scaler = getattr(trainer.precision_plugin, "scaler", None)
    if scaler is not None:
        values["optim/loss_scale"] = float(scaler.get_scale())
    return values


_GIB = 1 << 30


class Speed:
    """Measures between laps; validation and saving are paused out.

    Args:
        tokens_before: Training tokens of so many optimizer steps.
        flops_per_token: Of forward and backward; None = no MFU.
    """

    def __init__(self, tokens_before: Callable[[int], int], flops_per_token: int | None = None) -> None:
        self._tokens_before, self._flops_per_token = tokens_before, flops_per_token
        self._clock = Stopwatch()
        self._peak: float | None = None
        self._step = 0
        self._waited = 0.0

    def measure_peak(self, trainer: Trainer) -> None:
        """Measure what MFU is a share of, before the model takes its memory; a tenth of a second, once a process."""
        if self._flops_per_token is not None:
            self._peak = find_peak(trainer.strategy.root_device, str(trainer.precision)) * trainer.world_size

    def start(self, trainer: Trainer) -> None:
        """Training begins."""
        self._clock, self._step, self._waited = Stopwatch(), trainer.global_step, _waited(trainer)
        if trainer.strategy.root_device.type == "cuda":
            torch.cuda.reset_peak_memory_stats()

    def pause(self) -> None:
        """Something that is not training begins."""
        self._clock.pause()

    def go_on(self) -> None:
        """Training goes on."""
        self._clock.go_on()

    def lap(self, trainer: Trainer) -> dict[str, float]:
        """All of it since the last lap, by logged name."""
        step, seconds, waited = trainer.global_step, self._clock.lap(), _waited(trainer)
        tokens = self._tokens_before(step)
        rate = (tokens - self._tokens_before(self._step)) / seconds
        values = {
            "perf/tokens_per_second": rate,
            "perf/step_seconds": seconds / max(1, step - self._step),
            "perf/data_wait": min(1.0, (waited - self._waited) / seconds),
            "data/tokens": float(tokens),
        }
        if rate > 0:
            # By tokens: later steps of a batch ramp take longer.
            values["perf/eta_seconds"] = (self._tokens_before(trainer.max_steps) - tokens) / rate
        if self._peak is not None and self._flops_per_token is not None:
            reached = rate * self._flops_per_token
            self._peak = max(self._peak, reached)  # another program may have slowed the measured products down
            values["perf/mfu"] = reached / self._peak
        self._step, self._waited = step, waited
        return values | _memory(trainer.strategy.root_device)


def _waited(trainer: Trainer) -> float:
    loader = trainer.train_dataloader
    return loader.waited_seconds if isinstance(loader, TrainLoader) else 0.0


def _memory(device: torch.device) -> dict[str, float]:
    values = {"memory/process_gib": resident_bytes() / _GIB}
    if device.type == "cuda":
        values["memory/cuda_allocated_gib"] = torch.cuda.max_memory_allocated(device) / _GIB
        values["memory/cuda_reserved_gib"] = torch.cuda.memory_reserved(device) / _GIB
        torch.cuda.reset_peak_memory_stats(device)
    return values


@functools.cache
def find_peak(device: torch.device, precision: str) -> float:
    """The matrix peak as ``bench`` measures it, in a fraction of its time."""
    peak = measure_matrix_peak(device, choose_factor_type(precision), seconds=0.1)
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return peak


class Stopwatch:
    """Seconds since the last lap, pauses left out."""

    def __init__(self) -> None:
        self._start = time.perf_counter()
        self._pause: float | None = None

    def pause(self) -> None:
        """Stop counting."""
        self._pause = time.perf_counter()

    def go_on(self) -> None:
        """Count again."""
        if self._pause is not None:
            self._start += time.perf_counter() - self._pause
            self._pause = None

    def lap(self) -> float:
        """Seconds since the last lap, or since the beginning."""
        now = time.perf_counter()
        seconds, self._start = now - self._start, now
        return max(seconds, 1e-9)
