"""Learning-rate schedules: pure functions from the step to the factor that multiplies every group's own LR.

Notation: s the step, 0 for the first optimizer step; N the steps of the run; W those of the warm-up; r the final
factor; x = (s - W) / (N - W); y the share of a decay that is done; g a shape (``shapes``), which falls from 1 to 0.

    warm-up         (s + 1) / W   for s < W     from 1/W, never 0: a step at LR 0 would be wasted (Goyal et al. 2017)
    Constant        1
    Linear          1 - (1 - r) x                                     (r = 0: Bergsma et al. 2025)
    Cosine          r + (1 - r) (1 + cos(pi x)) / 2                   (Loshchilov & Hutter 2017)
    Polynomial      r + (1 - r) (1 - x)^p
    Exponential     r^x
    InverseSqrt     sqrt(W / max(s, W)), then a cooldown              (Vaswani et al. 2017; Zhai et al. 2022)
    Power           min(1, (t / T)^-b), then a cooldown               (Shen et al. 2024)
                    t, T the tokens before s and before its start: under a batch ramp no multiples of the steps
    WSD             1, and over the last D steps r + (1 - r) g(y)     (Hu et al. 2024)

    in ``cycles``   WSDS, OneCycle, Cyclic, CosineRestarts
    in ``points``   StepDecay, MultiStep, Piecewise (the general form)

A curve that ends at r reaches it at s = N, the first step that is no longer taken, so that the last step still learns
when r = 0. From there on every curve is constant. A new schedule is one class and one row of exact values in the
contract test.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

from gpt_lightning.optim.schedules.decay_shapes import Shape, Straight
from gpt_lightning.optim.schedules.lengths import Horizon, Length, parse_length
from gpt_lightning.optim.schedules.warmup_cooldown import (
    Cooldown,
    Warmup,
    check_positive,
    check_share,
    count_steps,
    progress,
)


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
        self._warmup = Warmup(warmup)

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        return self._warmup.factor(step, horizon)


class Linear(Schedule):
    """A straight line from the base learning rate down to ``final_factor`` of it, after a linear warm-up.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        final_factor: Share of the learning rate that is left at the end, 0 to 1.
    """

    def __init__(self, warmup: Length = "2%", final_factor: float = 0.0) -> None:
        self._warmup = Warmup(warmup)
        self._final_factor = check_share(final_factor, "final_factor")

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        x = progress(step, self._warmup.steps(horizon), horizon.total_steps)
        return self._warmup.factor(step, horizon) * (1 - (1 - self._final_factor) * x)


class Cosine(Schedule):
    """Half a cosine from the base learning rate down to ``final_factor`` of it, after a linear warm-up.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        final_factor: Share of the learning rate that is left at the end, 0 to 1.
    """

    def __init__(self, warmup: Length = "2%", final_factor: float = 0.1) -> None:
        self._warmup = Warmup(warmup)
        self._final_factor = check_share(final_factor, "final_factor")

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        x = progress(step, self._warmup.steps(horizon), horizon.total_steps)
        curve = self._final_factor + (1 - self._final_factor) * (1 + math.cos(math.pi * x)) / 2
        return self._warmup.factor(step, horizon) * curve


class Polynomial(Schedule):
    """A power of the share of the run that is left, after a linear warm-up.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        power: The exponent, above 0; 1 is a straight line.
        final_factor: Share of the learning rate that is left at the end, 0 to 1.
    """

    def __init__(self, warmup: Length = "2%", power: float = 2.0, final_factor: float = 0.0) -> None:
        self._warmup = Warmup(warmup)
        self._power = check_positive(power, "power")
        self._final_factor = check_share(final_factor, "final_factor")

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        x = progress(step, self._warmup.steps(horizon), horizon.total_steps)
        curve = self._final_factor + (1 - self._final_factor) * math.pow(1 - x, self._power)
        return self._warmup.factor(step, horizon) * curve


class Exponential(Schedule):
    """Equal ratios in equal times down to ``final_factor``, after a linear warm-up.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        final_factor: Share of the learning rate that is left at the end, above 0 and at most 1.
    """

    def __init__(self, warmup: Length = "2%", final_factor: float = 0.1) -> None:
        self._warmup = Warmup(warmup)
        self._final_factor = check_positive(check_share(final_factor, "final_factor"), "final_factor")

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        x = progress(step, self._warmup.steps(horizon), horizon.total_steps)
        return self._warmup.factor(step, horizon) * math.pow(self._final_factor, x)


class InverseSqrt(Schedule):
    """One over the root of the step behind the warm-up, which sets the scale; then a cooldown.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        cooldown: Length of the fall at the end, written in the same ways; 0 = none.
        shape: How the cooldown falls.
        final_factor: Share that the cooldown leaves of the rate at its start, 0 to 1.
    """

    def __init__(
        self,
        warmup: Length = "2%",
        cooldown: Length = 0,
        shape: Shape = Straight(),  # noqa: B008 (no state)
        final_factor: float = 0.0,
    ) -> None:
        self._warmup = Warmup(warmup)
        self._cooldown = Cooldown(cooldown, shape, final_factor, "schedule.cooldown")

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        warmup = self._warmup.steps(horizon)
        scale = max(1, warmup)
        curve = self._cooldown.end(lambda s: math.sqrt(scale / max(s, scale)), step, horizon, warmup)
        return self._warmup.factor(step, horizon) * curve


class Power(Schedule):
    """A power law of the tokens seen, capped at the base learning rate; then a cooldown.

    The law does not know the length of the run, so runs of any length share it up to their cooldowns.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        start: Where the law comes below the cap, written in the same ways.
        exponent: b of t^-b, above 0.
        cooldown: Length of the fall at the end; 0 = none.
        shape: How the cooldown falls.
        final_factor: Share that the cooldown leaves of the rate at its start, 0 to 1.
    """

    def __init__(
        self,
        warmup: Length = "2%",
        start: Length = "10%",
        exponent: float = 0.51,
        cooldown: Length = "10%",
        shape: Shape = Straight(),  # noqa: B008 (no state)
        final_factor: float = 0.0,
    ) -> None:
        self._warmup = Warmup(warmup)
        self._start = parse_length(start, "schedule.start")
        self._exponent = check_positive(exponent, "exponent")
        self._cooldown = Cooldown(cooldown, shape, final_factor, "schedule.cooldown")

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        start = max(1, count_steps(self._start, horizon))
        warmup = self._warmup.steps(horizon)
        tokens = horizon.tokens_before(start)
        curve = self._cooldown.end(
            lambda s: (horizon.tokens_before(max(s, start)) / tokens) ** -self._exponent, step, horizon, warmup
        )
        return self._warmup.factor(step, horizon) * curve


class WSD(Schedule):
    """Warm-up, a long stable stretch, and a decay at the end.

    The stable stretch does not depend on the length of the run: a longer run continues from any point of it.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        decay: Length of the final decay, written in the same ways.
        final_factor: Share of the learning rate that is left at the end, 0 to 1.
        shape: How the decay falls.
    """

    def __init__(
        self,
        warmup: Length = "2%",
        decay: Length = "20%",
        final_factor: float = 0.0,
        shape: Shape = Straight(),  # noqa: B008 (no state)
    ) -> None:
        self._warmup = Warmup(warmup)
        self._decay = Cooldown(decay, shape, final_factor, "schedule.decay")

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        curve = self._decay.end(lambda _: 1.0, step, horizon, self._warmup.steps(horizon))
        return self._warmup.factor(step, horizon) * curve
