"""Nice numbers, and places on linear and logarithmic axes."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.reports.axes import Axis, fit_axis
from gpt_lightning.reports.numbers import format_number, format_short, label_ticks

_NUMBERS = st.floats(min_value=-1e12, max_value=1e12).filter(lambda value: value == 0 or abs(value) > 1e-9)


@pytest.mark.parametrize(
    ("low", "high", "log", "labels"),
    [
        (0.0, 1.0, False, ["0.0", "0.2", "0.4", "0.6", "0.8", "1.0"]),
        (0.0, 600.0, False, ["0", "100", "200", "300", "400", "500", "600"]),
        (1.47, 4.17, False, ["1.5", "2.0", "2.5", "3.0", "3.5", "4.0"]),
        (0.0, 20e6, False, ["0", "5M", "10M", "15M", "20M"]),
        (0.0, 3e-4, False, ["0", "5e-5", "1e-4", "1.5e-4", "2e-4", "2.5e-4", "3e-4"]),
        (-3.0, 3.0, False, ["-3", "-2", "-1", "0", "1", "2", "3"]),
        (1e-5, 1e-2, True, ["1e-5", "3e-5", "1e-4", "3e-4", "0.001", "0.003", "0.01"]),
        (1.0, 1e12, True, ["1", "100", "10,000", "1M", "100M", "10B", "1T"]),
        (16.0, 300.0, True, ["20", "50", "100", "200"]),
        (2.0, 3.0, True, ["2.0", "2.2", "2.4", "2.6", "2.8", "3.0"]),
    ],
)
def test_ticks(low: float, high: float, log: bool, labels: list[str]) -> None:
    assert [label for _, label in Axis(low, high, log).ticks(7)] == labels


@settings(deadline=None, max_examples=80)
@given(low=_NUMBERS, width=st.floats(min_value=1e-6, max_value=1e12), most=st.integers(2, 12))
def test_ticks_are_few_distinct_within_and_evenly_spaced(low: float, width: float, most: int) -> None:
    axis = fit_axis([low, low + max(width, abs(low) * 1e-6)], label="")
    ticks = axis.ticks(most)
    assert 1 <= len(ticks) <= most + 2
    values = [value for value, _ in ticks]
    span = axis.high - axis.low
    assert all(axis.low - 1e-6 * span <= value <= axis.high + 1e-6 * span for value in values)
    steps = [b - a for a, b in pairwise(values)]
    assert not steps or max(steps) - min(steps) <= 1e-5 * span
    if len(ticks) > 1 and abs(low) < 1e4 * width:
        assert len({label for _, label in ticks}) == len(ticks)


@settings(deadline=None, max_examples=60)
@given(power=st.floats(-12, 12), decades=st.floats(0.7, 20))
def test_logarithmic_ticks_lie_within_and_apart(power: float, decades: float) -> None:
    axis = Axis(10.0**power, 10.0 ** (power + decades), log=True)
    ticks = axis.ticks(8)
    assert 1 <= len(ticks) <= 9
    assert len({label for _, label in ticks}) == len(ticks)
    assert all(-1e-6 <= axis.share(value) <= 1 + 1e-6 for value, _ in ticks)


def test_places() -> None:
    assert [Axis(0, 10).share(value) for value in (0, 5, 10, 20)] == [0, 0.5, 1, 2]
    assert [Axis(0.01, 100, log=True).share(value) for value in (0.01, 1, 100)] == pytest.approx([0, 0.5, 1])
    assert not Axis(1, 2, log=True).holds(0)
    assert not Axis(1, 2).holds(math.nan)


@pytest.mark.parametrize("values", [[], [0.0], [3.0], [-2.0, -2.0], [math.nan], [math.inf, 1.0], [1e-12]])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("limits", [(None, None), (1.0, None), (None, 5.0)])
def test_there_is_always_an_axis(values: list[float], log: bool, limits: tuple[float | None, float | None]) -> None:
    axis = fit_axis(values, label="", log=log, limits=limits)
    assert axis.low < axis.high
    assert axis.low > 0 or not log
    assert axis.ticks(6)


def test_an_axis_of_what_is_never_negative_begins_at_0_at_the_earliest() -> None:
    assert fit_axis([0.0, 10.0], label="", margin=0.1) == Axis(0.0, 11.0)
    assert fit_axis([-1.0, 9.0], label="", margin=0.1).low == -2.0


@settings(deadline=None, max_examples=60)
@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_read_back_to_their_digits(value: float) -> None:
    assert float(format_number(value).replace(",", "")) == pytest.approx(value, rel=6e-4)
    short = format_short(value)
    size = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(short[-1], 1.0)
    assert float(short.rstrip("kMBT").replace(",", "")) * size == pytest.approx(value, rel=6e-3)


def test_labels_of_one_axis_share_their_unit() -> None:
    assert label_ticks([0.0, 50_000.0, 100_000.0]) == ["0", "50k", "100k"]
    assert label_ticks([99_000.0, 99_500.0]) == ["99,000", "99,500"]
    assert label_ticks([1.25, 1.5, 1.75]) == ["1.25", "1.50", "1.75"]
