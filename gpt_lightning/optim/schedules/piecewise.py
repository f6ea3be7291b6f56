"""Schedules given by points of the run: stairs, and the general form.

    StepDecay   gamma^k after k whole intervals
    MultiStep   a factor from each milestone on           (80/10/10: DeepSeek 2024)
    Piecewise   any list of points with shapes between them; every other curve can be drawn with it

Notation and conventions as in ``schedules``.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.schedules.decay_shapes import Shape, Straight
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


class StepDecay(Schedule):
    """Stairs: every so often the rate is multiplied by ``gamma``; after a linear warm-up.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        every: Length of one stair, written in the same ways, counted from step 0.
        gamma: What each stair multiplies, above 0 and at most 1.
    """

    def __init__(self, warmup: Length = "2%", every: Length = "25%", gamma: float = 0.5) -> None:
        self._warmup = Warmup(warmup)
        self._every = parse_length(every, "schedule.every")
        self._gamma = check_positive(check_share(gamma, "gamma"), "gamma")

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        stairs = min(step, horizon.total_steps - 1) // max(1, count_steps(self._every, horizon))
        return self._warmup.factor(step, horizon) * self._gamma**stairs


class MultiStep(Schedule):
    """Stairs of any length and height, after a linear warm-up.

    Args:
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        milestones: Where the stairs are, written in the same ways, in order.
        factors: The factor from each milestone on, above 0 and at most 1; as many as milestones.
    """

    def __init__(
        self,
        warmup: Length = "2%",
        milestones: tuple[Length, ...] = ("80%", "90%"),
        factors: tuple[float, ...] = (0.316, 0.1),
    ) -> None:
        self._warmup = Warmup(warmup)
        self._milestones = [parse_length(milestone, "schedule.milestones") for milestone in milestones]
        self._factors = [check_positive(check_share(factor, "factors"), "factors") for factor in factors]
        if len(self._milestones) != len(self._factors):
            raise ConfigError(
                "schedule.milestones and schedule.factors differ in number",
                got=f"{len(self._milestones)} and {len(self._factors)}",
                allowed="one factor for each milestone",
            )

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        borders = [count_steps(milestone, horizon) for milestone in self._milestones]
        check_order(borders, "schedule.milestones")
        passed = sum(border <= min(step, horizon.total_steps - 1) for border in borders)
        return self._warmup.factor(step, horizon) * (self._factors[passed - 1] if passed else 1.0)


@dataclass(frozen=True)
class Point:
    """A point of a ``Piecewise`` schedule.

    Args:
        at: Where it is: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        factor: Share of the learning rate there, 0 to 1.
        shape: The way to it from the point before; null = a straight line.
    """

    at: Length
    factor: float
    shape: Shape | None = None

    def __post_init__(self) -> None:
        parse_length(self.at, "schedule.points.at")
        check_share(self.factor, "points.factor")


class Piecewise(Schedule):
    """Any curve: points of the run and the ways between them, times a linear warm-up.

    Two points at the same place are a jump, and the later one counts there. Before the first point and behind the last
    the curve is constant.

    Args:
        points: At least one, in order.
        warmup: Length of the warm-up: steps (500), tokens ("20M tokens") or a share of the run ("5%").
    """

    def __init__(self, points: list[Point], warmup: Length = "2%") -> None:
        if not points:
            raise ConfigError("schedule.points is empty", got=points, allowed="at least one point {at: 0, factor: 1.0}")
        self._points = list(points)
        self._places = [parse_length(point.at, "schedule.points.at") for point in points]
        self._warmup = Warmup(warmup)

    def factor(self, step: int, horizon: Horizon) -> float:
        """The factor at ``step``."""
        borders = [count_steps(place, horizon) for place in self._places]
        check_order(borders, "schedule.points")
        return self._warmup.factor(step, horizon) * self._curve(min(step, horizon.total_steps), borders)

    def _curve(self, step: int, borders: list[int]) -> float:
        passed = sum(border <= step for border in borders)
        if passed == 0:
            return self._points[0].factor
        before = self._points[passed - 1]
        if passed == len(borders):
            return before.factor
        after = self._points[passed]
        y = progress(step, borders[passed - 1], borders[passed])
        return (after.shape or Straight()).between(before.factor, after.factor, y)
