"""What schedules are put together from: the warm-up at the start, the cooldown at the end, and the way between."""

from __future__ import annotations

import math
from collections.abc import Callable

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.schedules.decay_shapes import Shape
from gpt_lightning.optim.schedules.lengths import Horizon, Length, ParsedLength, parse_length


class Warmup:
    """The straight rise that a schedule begins with: (s + 1) / W for s < W, then 1.

    Args:
        length: W; 0 = none.
        name: The setting, for messages.
    """

    def __init__(self, length: Length, name: str = "schedule.warmup") -> None:
        self._length = parse_length(length, name)

    def steps(self, horizon: Horizon) -> int:
        """W in optimizer steps.

        Raises:
            ConfigError: W is longer than the run.
        """
        steps = count_steps(self._length, horizon)
        if steps > horizon.total_steps:
            raise ConfigError(
                "the warm-up is longer than the run",
                got=f"{steps} steps",
                allowed=f"at most {horizon.total_steps} steps",
                fix="Shorten it, train longer, or write it as a share of the run ('5%').",
            )
        return steps

    def factor(self, step: int, horizon: Horizon) -> float:
        """From 1 / W at step 0, never 0, to 1."""
        steps = self.steps(horizon)
        return (step + 1) / steps if step < steps else 1.0


class Cooldown:
    """The fall over the last D steps of a run, from wherever the curve stands down to a share of that.

    Args:
        length: D; 0 = none.
        shape: How it falls.
        final_factor: Share of the height at its start that is left at step N.
        name: The setting of the length, for messages.
    """

    def __init__(self, length: Length, shape: Shape, final_factor: float, name: str) -> None:
        self._length = parse_length(length, name)
        self._shape = shape
        self._final_factor = check_share(final_factor, "final_factor")

    def end(self, curve: Callable[[int], float], step: int, horizon: Horizon, warmup: int) -> float:
        """``curve`` at ``step``, its last D steps replaced by the fall.

        Args:
            curve: What is cooled down; constant from N - D on in effect.
            step: Optimizer step.
            horizon: Length of the run.
            warmup: Steps of warm-up, which must not reach into the cooldown.

        Raises:
            ConfigError: Warm-up and cooldown are together longer than the run.
        """
        total = horizon.total_steps
        decay = self._length.count_last(horizon)
        if warmup + decay > total:
            raise ConfigError(
                "warm-up and decay are longer than the run",
                got=f"{warmup} + {decay} steps",
                allowed=f"together at most {total} steps",
                fix="Shorten them, train longer, or write them as shares of the run ('5%').",
            )
        if not decay or step <= total - decay:
            return curve(min(step, total))
        high = curve(total - decay)
        return self._shape.between(high, high * self._final_factor, progress(step, total - decay, total))


def count_steps(length: ParsedLength, horizon: Horizon) -> int:
    """Whole optimizer steps of ``length`` in a run of ``horizon``."""
    return length.count_first(horizon)


def progress(step: int, start: int, end: int) -> float:
    """0 up to ``start``, 1 from ``end`` on, a straight line between."""
    if step >= end:
        return 1.0
    return max(0, step - start) / max(1, end - start)


def check_share(value: float, name: str) -> float:
    """``value`` if it lies between 0 and 1, both included."""
    if not 0.0 <= value <= 1.0:
        raise ConfigError(f"schedule.{name} is out of range", got=value, allowed="0 to 1")
    return value


def check_positive(value: float, name: str) -> float:
    """``value`` if it is finite and above 0."""
    if not (value > 0 and math.isfinite(value)):
        raise ConfigError(f"schedule.{name} is out of range", got=value, allowed="above 0")
    return value


def check_order(borders: list[int], name: str) -> None:
    """Raise unless these steps are in order."""
    if borders != sorted(borders):
        raise ConfigError(
            f"{name} are not in order",
            got=", ".join(map(str, borders)),
            allowed="each step at or behind the one before",
        )
