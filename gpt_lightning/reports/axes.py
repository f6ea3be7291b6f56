"""Axes: from values to places and back to numbers that a reader can take in at a glance."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

from gpt_lightning.reports.numbers import Number, format_short, label_ticks

Limits = tuple[Number | None, Number | None]
"""Lowest and highest value shown; None = taken from the data."""


@dataclass(frozen=True)
class Axis:
    """A range of values, linear or logarithmic.

    Attributes:
        low: Its beginning.
        high: Its end, > low.
        log: Whether equal distances are equal factors; then ``low`` > 0.
        label: What is shown, with its unit.
    """

    low: Number
    high: Number
    log: bool = False
    label: str = ""

    def holds(self, value: Number) -> bool:
        """Whether ``value`` has a place on an axis of this kind at all."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def share(self, value: Number) -> float:
        """Place of ``value``: 0 at ``low``, 1 at ``high``, beyond them outside."""
        low, high, value = (math.log10(each) if self.log else each for each in (self.low, self.high, value))
        return (value - low) / (high - low)

    def ticks(self, most: int) -> list[tuple[float, str]]:
        """Values to be marked and their labels, at most ``most`` + 1 of them."""
        if self.log and self.high / self.low >= 5:
            values = _decades(self.low, self.high, most)
            return [(value, format_short(value)) for value in values]
        values = _even(self.low, self.high, most)
        return list(zip(values, label_ticks(values), strict=True))


def fit_axis(
    values: Iterable[Number], *, label: str, log: bool = False, limits: Limits = (None, None), margin: float = 0.0
) -> Axis:
    """The axis that shows all of ``values`` it can.

    Args:
        values: Data; what is not finite, and on a logarithmic axis what is not positive, does not count.
        label: What is shown, with its unit.
        log: Whether it is logarithmic.
        limits: Ends that are given.
        margin: Share of the range left free at each end that is not given.
    """
    finite = [float(value) for value in values if math.isfinite(value) and (value > 0 or not log)]
    low = min(finite, default=1.0 if log else 0.0) if limits[0] is None else limits[0]
    high = max(finite, default=10.0 if log else 1.0) if limits[1] is None else limits[1]
    if low >= high:
        # One value: it stands in the middle, or on the end that was given.
        width = 0.0 if log else abs(high) * 0.1 or 1.0
        low = low if limits[0] is not None else (high / 1.5 if log else high - width)
        high = high if limits[1] is not None and high > low else (low * 2.25 if log else low + 2 * width)
    if log:
        space = (high / low) ** margin
        return Axis(
            low if limits[0] is not None else low / space, high if limits[1] is not None else high * space, True, label
        )
    space = (high - low) * margin
    # Counts and losses never fall below 0, and an axis that does would suggest it.
    start = low if limits[0] is not None else (max(0.0, low - space) if low >= 0 else low - space)
    return Axis(start, high if limits[1] is not None else high + space, False, label)


def _even(low: Number, high: Number, most: int) -> list[float]:
    """Multiples of 1, 2 or 5 times a power of ten within the range."""
    least = (high - low) / max(most, 1)
    size = 10.0 ** math.floor(math.log10(least))
    step = next(size * factor for factor in (1, 2, 5, 10) if size * factor >= least * 0.9999999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    # From the integer number of steps, or sums of rounded steps would make labels such as 0.30000000000000004.
    values = [number / (1 / step) if step < 1 else number * step for number in range(first, last + 1)]
    return [float(f"{value:.12g}") for value in values] or [low]


def _decades(low: Number, high: Number, most: int) -> list[float]:
    """Powers of ten, with 2 and 5 times them (or 3 times) where there is room."""
    first, last = math.floor(math.log10(low) - 1e-9), math.ceil(math.log10(high) + 1e-9)
    for factors in ((1, 2, 5), (1, 3), (1,)):
        values = [factor * 10.0**power for power in range(first, last + 1) for factor in factors]
        values = [value for value in values if low * 0.9999999 <= value <= high * 1.0000001]
        if len(values) <= most:
            return values
    stride = -(-len(values) // most)
    return values[::stride]
