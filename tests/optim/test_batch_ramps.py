"""Batch sizes of every step: the closed form against plain sums, the ramps against their definition."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.batch_ramps import BatchRamp, LinearRamp, StagedRamp
from gpt_lightning.optim.batch_sizes import BatchSizes
from gpt_lightning.optim.schedules.lengths import Horizon, parse_length, to_steps
from gpt_lightning.optim.schedules.schedules import WSD, Power

_levels = st.lists(st.tuples(st.integers(1, 9), st.integers(1, 50)), min_size=1, max_size=5)


@given(levels=_levels, budget=st.integers(0, 900))
def test_closed_form_is_the_sum(levels: list[tuple[int, int]], budget: int) -> None:
    starts = [sum(length for length, _ in levels[:index]) for index in range(len(levels))]
    sizes = BatchSizes(tuple(starts), tuple(size for _, size in levels))
    plain = [size for length, size in levels for _ in range(length)] + [levels[-1][1]] * 900
    sums = [0]
    for size in plain:
        sums.append(sums[-1] + size)
    assert [sizes.at(step) for step in range(60)] == plain[:60]
    assert [sizes.before(step) for step in range(60)] == sums[:60]
    assert sizes.within(budget) == max(step for step, total in enumerate(sums) if total <= budget)
    assert sizes.reaching(budget) == min(step for step, total in enumerate(sums) if total >= budget)


@pytest.mark.parametrize(
    ("ramp", "expected"),
    [
        (LinearRamp(10, 6), [10, 10, 20, 20, 30, 30, 40, 40]),
        (LinearRamp(10, "60%", increment_tokens=15), [10, 10, 10, 25, 25, 25, 40, 40, 40, 40]),
        (LinearRamp(10, "120 tokens"), [10, 10, 10, 10, 20, 20, 30, 30, 40]),  # 40, 80 and 120 tokens are reached
        (LinearRamp(40, 6), [40, 40]),
        (LinearRamp(10, 2), [20, 30, 40]),  # more stairs than steps
        (StagedRamp((10, 20), (1, "30%")), [10, 20, 20, 40, 40]),
        (StagedRamp((10, 20), ("25 tokens", "80 tokens")), [10, 10, 10, 20, 20, 20, 40, 40]),
        (StagedRamp((10, 20), (3, 3)), [10, 10, 10, 40]),
    ],
)
def test_sizes_step_by_step(ramp: BatchRamp, expected: list[int]) -> None:
    sizes = ramp.table(40, 10)
    assert [sizes.at(step) for step in range(len(expected))] == expected
    assert sizes.at(10**9) == 40


_RAMPS = [LinearRamp(10, 7), LinearRamp(5, "33%"), LinearRamp(8, "500 tokens"), StagedRamp((7, 9), ("11%", "47%"))]


@given(ramp=st.sampled_from(_RAMPS), budget=st.integers(1, 5000))
def test_most_steps_within_a_budget(ramp: BatchRamp, budget: int) -> None:
    found = ramp.count_steps(40, budget)
    costs = [ramp.table(40, total).before(total) for total in (found, found + 1)]
    assert costs[1] > budget
    assert costs[0] <= budget or found == 1


def test_lengths_in_tokens_count_what_is_there() -> None:
    """40 steps: 10 of 10 tokens, 10 of 20, 20 of 40."""
    horizon = Horizon(40, 40, BatchSizes((0, 10, 20), (10, 20, 40)))
    assert horizon.tokens_before(40) == 1100
    assert to_steps("120 tokens", horizon) == 11
    assert to_steps("9 tokens", horizon) == 1
    assert [parse_length(f"{tokens} tokens").count_last(horizon) for tokens in (0, 39, 80, 800, 820, 1100)] == [
        0,
        1,
        2,
        20,
        21,
        40,
    ]
    assert parse_length("2000 tokens").count_last(horizon) > 40
    schedule = WSD(warmup="100 tokens", decay="800 tokens", final_factor=0.0)
    factors = [schedule.factor(step, horizon) for step in range(40)]
    assert factors[:11] == pytest.approx([(step + 1) / 10 for step in range(10)] + [1.0])
    assert factors[20] == 1.0
    assert factors[21] == pytest.approx(0.95)
    with pytest.raises(ConfigError, match="longer than the run"):
        WSD(warmup=0, decay="2000 tokens").check(horizon)


def test_the_power_law_is_one_of_tokens() -> None:
    """40 steps as above; the law begins behind 80 tokens, which are 8 steps, and holds until the cooldown."""
    horizon = Horizon(40, 40, BatchSizes((0, 10, 20), (10, 20, 40)))
    schedule = Power(warmup=0, start="80 tokens", exponent=0.5, cooldown=10, final_factor=0.0)
    tokens = {0: 80, 8: 80, 10: 100, 14: 180, 20: 300, 22: 380, 30: 700}
    for step, seen in tokens.items():
        assert schedule.factor(step, horizon) == pytest.approx((seen / 80) ** -0.5, rel=1e-12), step
    assert schedule.factor(35, horizon) == pytest.approx((700 / 80) ** -0.5 / 2)
    assert Power(start="80 tokens").factor(23, Horizon(40, 10)) == Power(start=8).factor(23, Horizon(40, 10))


@pytest.mark.parametrize(
    ("make", "part"),
    [
        (lambda: LinearRamp(0), "start_tokens is a number of tokens: got 0"),
        (lambda: LinearRamp(10, increment_tokens=-1), "increment_tokens is a number of tokens: got -1"),
        (lambda: LinearRamp(30, 5).table(40, 10), "from 30 in stairs of 30 to 40 tokens"),
        (lambda: LinearRamp(50, 5).table(40, 10), "does not lead to the full global batch"),
        (lambda: StagedRamp((10,), (1, 2)), "differ in number"),
        (lambda: StagedRamp((), ()), "differ in number"),
        (lambda: StagedRamp((20, 10), (1, 2)).table(40, 10), "falls: got '20, 10, 40'"),
        (lambda: StagedRamp((10, 20), (5, 2)).table(40, 10), "not in order: got '5, 2'"),
    ],
)
def test_mistakes(make: Any, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        make()
    assert part in str(caught.value)
