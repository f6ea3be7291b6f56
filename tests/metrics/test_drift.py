"""Drift: the rate of false alarms is the one stated, shifts are found, and the test is that of the textbook."""

from __future__ import annotations

import math

import numpy as np
import pytest

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.metrics.drift import compare_counts, compare_values

SHARES = np.array([0.35, 0.25, 0.2, 0.15, 0.05])


def _count_alarms(streams: int, windows: int, rate: float, drifted: bool = False) -> int:
    """False alarms of streams that never change, each with a reference of its own."""
    alarms = 0
    for stream in range(streams):
        random = np.random.default_rng(stream)
        reference = random.multinomial(600, SHARES)
        for _ in range(windows):
            window = random.multinomial(150, SHARES[::-1] if drifted else SHARES)
            alarms += compare_counts(reference, window, rate=rate).alarm
    return alarms


@pytest.mark.parametrize(
    ("windows", "rate"), [(2, 0.1), pytest.param(200, 0.001, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_a_thousand_streams_that_never_change_alarm_at_the_stated_rate(windows: int, rate: float) -> None:
    """Expected: 200 alarms; at most a fifth more, and not so few that nothing was tested."""
    alarms, expected = _count_alarms(1000, windows, rate), 1000 * windows * rate
    assert 0.7 * expected <= alarms <= 1.2 * expected


def test_a_shift_of_twenty_points_is_found_within_two_windows() -> None:
    """Negative from 30 to 50 %, windows of 200 texts, one false alarm in 1,000 windows."""
    found = 0
    for stream in range(200):
        random = np.random.default_rng(stream)
        reference = random.multinomial(1000, [0.7, 0.3])
        windows = (random.multinomial(200, [0.5, 0.5]) for _ in range(2))
        found += any(compare_counts(reference, each, rate=0.001).alarm for each in windows)
    assert found >= 0.95 * 200


def test_two_classes_are_fishers_exact_test() -> None:
    """The oracle: the hypergeometric distribution, summed."""
    reference, window = np.array([30, 20]), np.array([4, 11])
    total, ones, size = 65, 31, 15
    chance = {
        k: math.comb(ones, k) * math.comb(total - ones, size - k) / math.comb(total, size) for k in range(size + 1)
    }
    exact = sum(p for k, p in chance.items() if abs(k - size * ones / total) >= abs(11 - size * ones / total))
    assert 0.01 < exact < 0.05
    found = compare_counts(reference, window, rate=0.001)
    assert not found.alarm
    assert found.p_value == pytest.approx(exact, rel=0.35)  # ten larger draws: a third of luck
    assert compare_counts(reference, window, rate=0.05).alarm
    assert found.difference == pytest.approx(11 / 15 - 0.4)


def test_numbers_are_compared_whatever_their_scale() -> None:
    random = np.random.default_rng(0)
    reference, same, other = random.lognormal(size=500), random.lognormal(size=200), random.lognormal(0.6, size=200)
    assert not compare_values(reference, same, rate=0.001).alarm
    assert compare_values(reference, other, rate=0.001).alarm
    assert compare_values(np.log(reference), np.log(other), rate=0.001).alarm
    spread = compare_values(reference, np.full(200, 1.0), rate=0.001)
    assert spread.alarm
    assert spread.difference > 0.8
    assert not compare_values(np.ones(50), np.ones(50), rate=0.001).alarm


def test_numbers_that_never_change_alarm_at_the_stated_rate() -> None:
    alarms = 0
    for stream in range(300):
        random = np.random.default_rng(stream)
        alarms += compare_values(random.normal(size=300), random.normal(size=80), rate=0.1).alarm
    assert 15 <= alarms <= 36  # 30 expected


def test_what_cannot_be_compared_is_told() -> None:
    some, none = np.array([1, 2]), np.array([0, 0])
    for rate in (0.0, 1.0):
        with pytest.raises(ConfigError, match="rate"):
            compare_counts(some, some, rate=rate)
    for one, other in ((some, none), (none, some), (some, np.array([2, -1]))):
        with pytest.raises(DataError, match="nothing to compare"):
            compare_counts(one, other, rate=0.1)
    with pytest.raises(DataError, match="not finite"):
        compare_values(np.array([1.0]), np.array([math.nan]), rate=0.1)
    with pytest.raises(DataError, match="nothing to compare"):
        compare_values(np.array([1.0]), np.array([]), rate=0.1)
