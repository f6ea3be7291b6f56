"""Schedules that rise more than once.

    WSDS            WSD again and again, each from the decayed weights      (Wen et al. 2024)
    OneCycle        up once, down once                                      (Smith & Topin 2017)
    Cyclic          triangles                                               (Smith 2017)
    CosineRestarts  cosines one behind the other                            (Loshchilov & Hutter 2017)

Notation and conventions as in ``schedules``; but triangles and cosines stay behind the run where its last step was,
because at s = N itself the next one may begin.
"""

from __future__ import annotations

import math
from fractions import Fraction

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.schedules.decay_shapes import HalfCosine, Shape, Straight
from gpt_lightning.optim.schedules.lengths import Horizon, Length, parse_length
from gpt_lightning.optim.schedules.schedules import Schedule
from gpt_lightning.optim.schedules.warmup_cooldown import (
    Warmup,
    check_order,
    check_positive,
    check_share,
    count_steps,
    progress,
)


class WSDS(Schedule):
    """Stable and decay several times in one run: a finished model at each restart, and one at the end.

    After each decay the full rate returns at once, from the decayed weights.

    Args:
        warmup: Length of the warm-up, at the start only: steps (500), tokens ("20M tokens") or a share ("5%").
        restarts: Where a decay has ended and the full rate returns, written in the same ways, in order; the last
            decay ends with the run.
        decay_fraction: Share of each stretch between restarts that its decay takes, 0 to 1.
        final_factor: Share of the learning rate that is left at the end of each decay, 0 to 1.
        shape: How the decays fall.
    """

    def __init__(
        self,
        warmup: Length = "2%",
        restarts: tuple[Length, ...] = ("25%", "50%"),
        decay_fraction: float = 0.1,
        final_factor: float = 0.1,
        shape: Shape = Straight(),  # noqa: B008 (no state)
    ) -> None:
        self._warmup = Warmup(warmup)
        self._restarts = [parse_length(restart, "schedule.restarts") for restart in restarts]
        self._decay_fraction = Fraction(repr(check_share(decay_fraction, "decay_fraction")))
        self._final_factor = check_share(final_factor, "final_factor")
        self._shape = shape

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        total = horizon.total_steps
        borders = [0, *(count_steps(restart, horizon) for restart in self._restarts), total]
        check_order(borders, "schedule.restarts, with the end of the run,")
        begin = max(border for border in borders[:-1] if border <= min(step, total - 1))
        end = min(border for border in borders if border > begin)
        decay = math.floor(self._decay_fraction * (end - begin))
        warmup = self._warmup.steps(horizon)
        if begin < warmup and warmup > end - decay:
            raise ConfigError(
                "the warm-up reaches into the first decay",
                got=f"{warmup} steps",
                allowed=f"at most {end - decay} steps",
                fix="Shorten it, or move the first of schedule.restarts.",
            )
        y = progress(step, end - decay, end) if decay else 0.0
        return self._warmup.factor(step, horizon) * self._shape.between(1.0, self._final_factor, y)


class OneCycle(Schedule):
    """Up in a straight line, then down for the rest of the run.

    Args:
        rise: Length of the way up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        initial_factor: Share of the learning rate that the way up begins above, 0 to 1.
        final_factor: Share of the learning rate that is left at the end, 0 to 1.
        shape: How it falls.
    """

    def __init__(
        self,
        rise: Length = "30%",
        initial_factor: float = 0.04,
        final_factor: float = 0.0,
        shape: Shape = HalfCosine(),  # noqa: B008 (no state)
    ) -> None:
        self._rise = Warmup(rise, "schedule.rise")
        self._initial_factor = check_share(initial_factor, "initial_factor")
        self._final_factor = check_share(final_factor, "final_factor")
        self._shape = shape

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        rise = self._rise.steps(horizon)
        if step < rise:
            return self._initial_factor + (1 - self._initial_factor) * self._rise.factor(step, horizon)
        return self._shape.between(1.0, self._final_factor, progress(step, rise, horizon.total_steps))


class Cyclic(Schedule):
    """Triangles: up and down again, in straight lines.

    Args:
        period: Length of one triangle: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        low_factor: Share of the learning rate at the foot, above 0 and at most 1.
        shrink: What multiplies the height of each following triangle, above 0 and at most 1.
    """

    def __init__(self, period: Length = "20%", low_factor: float = 0.1, shrink: float = 1.0) -> None:
        self._period = parse_length(period, "schedule.period")
        self._low_factor = check_positive(check_share(low_factor, "low_factor"), "low_factor")
        self._shrink = check_positive(check_share(shrink, "shrink"), "shrink")

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        period = max(1, count_steps(self._period, horizon))
        cycle, place = divmod(min(step, horizon.total_steps - 1), period)
        height = (1 - abs(2 * place / period - 1)) * self._shrink**cycle
        return self._low_factor + (1 - self._low_factor) * height


class CosineRestarts(Schedule):
    """Cosines one behind the other, each starting at the full rate, after a linear warm-up.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        period: Length of the first cosine, written in the same ways.
        growth: How many times longer than the one before each cosine is, 1 or more.
        final_factor: Share of the learning rate that each cosine ends at, 0 to 1.
    """

    def __init__(
        self, warmup: Length = "2%", period: Length = "14%", growth: float = 2.0, final_factor: float = 0.1
    ) -> None:
        if not (growth >= 1 and math.isfinite(growth)):
            raise ConfigError("schedule.growth is out of range", got=growth, allowed="1 or more")
        self._warmup = Warmup(warmup)
        self._period = parse_length(period, "schedule.period")
        self._growth, self._final_factor = growth, check_share(final_factor, "final_factor")

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        warmup, first = self._warmup.steps(horizon), max(1, count_steps(self._period, horizon))
        place = max(0, min(step, horizon.total_steps - 1) - warmup)
        cycle, length = 0, first
        if self._growth == 1:
            place %= first
        while place >= length:
            place -= length
            cycle += 1
            length = int(first * self._growth**cycle)
        curve = HalfCosine().between(1.0, self._final_factor, place / length)
        return self._warmup.factor(step, horizon) * curve
