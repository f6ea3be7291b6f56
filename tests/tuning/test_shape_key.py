"""Equal keys exactly where the learning rates went the same way."""

from __future__ import annotations

from itertools import combinations

import pytest

from gpt_lightning.optim.batch_sizes import BatchSizes
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.piecewise import Piecewise, Point
from gpt_lightning.optim.schedules.schedules import WSD, Constant, Cosine, Linear, Schedule
from gpt_lightning.tuning.trial.reporting import ShapeKeys, shape_key
from tests.contracts.test_schedules import EXACT

TEN = Horizon(total_steps=10, tokens_per_step=8)


def history(schedule: Schedule) -> list[float]:
    factors = [schedule.factor(step, TEN) for step in range(10)]
    return [round(factor / max(factors), 9) for factor in factors]


def test_keys_are_equal_exactly_where_the_factors_are() -> None:
    keys = {number: ShapeKeys(row[0], TEN) for number, row in enumerate(EXACT)}
    histories = [history(row[0]) for row in EXACT]
    both = {True: 0, False: 0}
    for step in range(11):
        at_step = {number: key.at(step) for number, key in keys.items()}
        for one, two in combinations(range(len(EXACT)), 2):
            same = histories[one][:step] == histories[two][:step]
            assert (at_step[one] == at_step[two]) == same, (EXACT[one][0], EXACT[two][0], step)
            both[same] += 1
    assert both[True] > 500
    assert both[False] > 500


def test_the_height_does_not_count() -> None:
    low = Piecewise([Point(0, 0.25), Point(5, 0.25), Point(10, 0.0)], warmup=0)
    high = Piecewise([Point(0, 0.75), Point(5, 0.75), Point(10, 0.0)], warmup=0)
    assert shape_key(low, TEN, 10) == shape_key(high, TEN, 10)
    assert shape_key(low, TEN, 10) == shape_key(WSD(warmup=0, decay=5), TEN, 10)


def test_a_longer_run_shares_what_it_has_in_common() -> None:
    longer = Horizon(total_steps=20, tokens_per_step=8)
    schedule = WSD(warmup=2, decay="20%")
    assert shape_key(schedule, TEN, 9) == shape_key(schedule, longer, 9)  # decays from step 8: still 1 there
    assert shape_key(schedule, TEN, 10) != shape_key(schedule, longer, 10)
    assert shape_key(Cosine(), TEN, 5) != shape_key(Cosine(), longer, 5)


def test_the_batch_size_counts_where_the_rate_moves() -> None:
    double = Horizon(total_steps=10, tokens_per_step=16)
    ramped = Horizon(10, 8, BatchSizes((0, 2), (4, 8)))
    assert shape_key(Constant(), TEN, 4) == shape_key(Constant(), double, 2) == shape_key(Constant(), ramped, 4)
    assert shape_key(Linear(), TEN, 4) != shape_key(Linear(), double, 2)
    assert shape_key(Linear(), TEN, 4) != shape_key(Linear(), ramped, 4)


def test_a_schedule_at_zero_has_a_key_and_steps_go_forward() -> None:
    keys = ShapeKeys(Piecewise([Point(0, 0.0)]), TEN)
    assert keys.at(3) == shape_key(Piecewise([Point(0, 0.0)]), TEN, 10)
    with pytest.raises(ValueError, match="got 2 after 3"):
        keys.at(2)
