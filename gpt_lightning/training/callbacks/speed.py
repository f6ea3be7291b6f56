"""How fast a run goes and what memory it takes, from one logged point to the next."""

from __future__ import annotations

import functools
import time
from collections.abc import Callable

import torch
from lightning.pytorch import Trainer

from gpt_lightning.files.processes import resident_bytes
from gpt_lightning.model.flops import choose_factor_type, measure_matrix_peak
from gpt_lightning.training.loading.loaders import TrainLoader

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
            values["perf/mfu"] = rate * self._flops_per_token / self._peak
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
