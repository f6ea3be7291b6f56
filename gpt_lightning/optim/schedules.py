"""Learning-rate schedules: pure functions from the step to the factor that multiplies every group's own LR.

Notation: s the step, 0 for the first optimizer step; N the steps of the run; W those of the warm-up; r the final
factor. All schedules warm up alike, and each has a curve of its own behind it:

    warm-up    (s + 1) / W   for s < W        from 1/W, never 0: a step at LR 0 would be wasted (Goyal et al. 2017)
    Constant   1
    Linear     1 - (1 - r) x                  x = (s - W) / (N - W)     (r = 0: Bergsma et al. 2025)
    Cosine     r + (1 - r) (1 + cos(pi x)) / 2                          (Loshchilov & Hutter 2017)
    WSD        1, and over the last D steps 1 - (1 - r) y,  y = (s - (N - D)) / D   (Hu et al. 2024, MiniCPM)

A curve reaches r at s = N, the first step that is no longer taken, so that the last step still learns when r = 0.
From there on it stays at r. A new schedule is one class here and one row of exact values in its test.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.lengths import Horizon, Length, ParsedLength, parse_length


class Schedule(ABC):
    """A learning-rate curve without state."""

    @abstractmethod
    def factor(self, step: int, horizon: Horizon) -> float:
        """What multiplies the learning rates at ``step`` (0 = the first optimizer step), between 0 and 1.

        Raises:
            ConfigError: The lengths of the schedule do not fit into the run.
        """

    def check(self, horizon: Horizon) -> None:
        """Raise now what ``factor`` would raise in the run; to be called before training starts."""
        self.factor(0, horizon)


class Constant(Schedule):
    """The base learning rate throughout, after a linear warm-up.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
    """

    def __init__(self, warmup: Length = 0) -> None:
        self._warmup = _Warmup(warmup)

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        return self._warmup.factor(step, horizon)


class Cosine(Schedule):
    """Half a cosine from the base learning rate down to ``final_factor`` of it, after a linear warm-up.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        final_factor: Share of the learning rate that is left at the end, 0 to 1.
    """

    def __init__(self, warmup: Length = "2%", final_factor: float = 0.1) -> None:
        self._warmup = _Warmup(warmup)
        self._final_factor = _check_final_factor(final_factor)

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        x = _progress(step, self._warmup.steps(horizon), horizon.total_steps)
        curve = self._final_factor + (1 - self._final_factor) * (1 + math.cos(math.pi * x)) / 2
        return self._warmup.factor(step, horizon) * curve


class Linear(Schedule):
    """A straight line from the base learning rate down to ``final_factor`` of it, after a linear warm-up.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        final_factor: Share of the learning rate that is left at the end, 0 to 1.
    """

    def __init__(self, warmup: Length = "2%", final_factor: float = 0.0) -> None:
        self._warmup = _Warmup(warmup)
        self._final_factor = _check_final_factor(final_factor)

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        x = _progress(step, self._warmup.steps(horizon), horizon.total_steps)
        return self._warmup.factor(step, horizon) * (1 - (1 - self._final_factor) * x)


class WSD(Schedule):
    """Warm-up, a long stable stretch, and a linear decay at the end.

    The stable stretch does not depend on the length of the run: a longer run continues from any point of it.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        decay: Length of the final decay, written in the same ways.
        final_factor: Share of the learning rate that is left at the end, 0 to 1.
    """

    def __init__(self, warmup: Length = "2%", decay: Length = "20%", final_factor: float = 0.0) -> None:
        self._warmup = _Warmup(warmup)
        self._decay = parse_length(decay, "schedule.decay")
        self._final_factor = _check_final_factor(final_factor)

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        warmup, decay, total = self._warmup.steps(horizon), _steps(self._decay, horizon), horizon.total_steps
        if warmup + decay > total:
            raise ConfigError(
                "warm-up and decay are longer than the run",
                got=f"{warmup} + {decay} steps",
                allowed=f"together at most {total} steps",
                fix="Shorten them, train longer, or write them as shares of the run ('5%').",
            )
        y = _progress(step, total - decay, total)
        return self._warmup.factor(step, horizon) * (1 - (1 - self._final_factor) * y)


class _Warmup:
    """The linear warm-up that every schedule begins with."""

    def __init__(self, length: Length) -> None:
        self._length = parse_length(length, "schedule.warmup")

    def steps(self, horizon: Horizon) -> int:
        steps = _steps(self._length, horizon)
        if steps > horizon.total_steps:
            raise ConfigError(
                "the warm-up is longer than the run",
                got=f"{steps} steps",
                allowed=f"at most {horizon.total_steps} steps",
                fix="Shorten it, train longer, or write it as a share of the run ('5%').",
            )
        return steps

    def factor(self, step: int, horizon: Horizon) -> float:
        steps = self.steps(horizon)
        return (step + 1) / steps if step < steps else 1.0


def _steps(length: ParsedLength, horizon: Horizon) -> int:
    return length.to_steps(total_steps=horizon.total_steps, tokens_per_step=horizon.tokens_per_step)


def _progress(step: int, start: int, end: int) -> float:
    """0 up to ``start``, 1 from ``end`` on, a straight line between."""
    if step >= end:
        return 1.0
    return max(0, step - start) / max(1, end - start)


def _check_final_factor(value: float) -> float:
    if not 0.0 <= value <= 1.0:
        raise ConfigError("schedule.final_factor is out of range", got=value, allowed="0 to 1")
    return value
