"""What every learning-rate schedule promises. A new schedule adds one row to ``EXACT``."""

from __future__ import annotations

import copy
import inspect
from itertools import pairwise
from math import cos, pi

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.optim import schedules
from gpt_lightning.optim.lengths import Horizon, Length
from gpt_lightning.optim.schedules import WSD, Constant, Cosine, Linear, Schedule

# Schedule, value at step N, and exact values at steps 0 .. 9 of a run of 10 steps.
EXACT: list[tuple[Schedule, float, list[float]]] = [
    (Constant(), 1.0, [1.0] * 10),
    (Constant(warmup=4), 1.0, [0.25, 0.5, 0.75] + [1.0] * 7),
    (Linear(warmup=0, final_factor=0.0), 0.0, [1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1]),
    (Linear(warmup=2, final_factor=0.2), 0.2, [0.5, 1.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3]),
    (
        Cosine(warmup=2, final_factor=0.0),
        0.0,
        [0.5, 1.0, *((1 + cos(pi * eighth / 8)) / 2 for eighth in range(8))],
    ),
    (WSD(warmup=2, decay=4, final_factor=0.0), 0.0, [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]),
    (WSD(warmup=0, decay=5, final_factor=0.5), 0.5, [1.0] * 6 + [0.9, 0.8, 0.7, 0.6]),
    (WSD(warmup=5, decay=5, final_factor=0.0), 0.0, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]),
]
_SCHEDULES = [row[0] for row in EXACT]
# The same lengths written in three ways, for a run of 200 steps of 64 tokens: warm-up 20 steps, decay 50.
_WARMUPS: list[Length] = [20, "20 steps", "1280 tokens", "10%", 0.1]
_DECAYS: list[Length] = [50, "50 steps", "3200 tokens", "25%", 0.25]
_horizons = st.builds(Horizon, st.integers(10, 3000), st.integers(1, 10**6))


def test_every_schedule_is_in_the_table() -> None:
    concrete = {
        kind
        for _, kind in inspect.getmembers(schedules, inspect.isclass)
        if issubclass(kind, Schedule) and not inspect.isabstract(kind)
    }
    assert concrete == {type(schedule) for schedule in _SCHEDULES}


@pytest.mark.parametrize(("schedule", "end", "values"), EXACT)
def test_exact_values(schedule: Schedule, end: float, values: list[float]) -> None:
    horizon = Horizon(total_steps=10, tokens_per_step=7)
    assert [schedule.factor(step, horizon) for step in range(10)] == pytest.approx(values, abs=1e-12)
    for step in (10, 11, 1000):
        assert schedule.factor(step, horizon) == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize("schedule", _SCHEDULES)
@given(horizon=_horizons, data=st.data())
def test_bounds(schedule: Schedule, horizon: Horizon, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, horizon.total_steps - 1))
    assert 0.0 < schedule.factor(step, horizon) <= 1.0


@pytest.mark.parametrize("kind", [Constant, Cosine, Linear, WSD])
@settings(max_examples=15)
@given(horizon=st.builds(Horizon, st.integers(50, 400), st.just(1)))
def test_no_jump_anywhere(kind: type[Constant], horizon: Horizon) -> None:
    """Neighbouring steps differ by at most one step of the steepest stretch, at the borders too."""
    schedule, total = kind(), horizon.total_steps
    values = [schedule.factor(step, horizon) for step in range(total + 1)]
    steepest = max(1 / max(1, int(0.02 * total)), 1 / int(0.2 * total))
    assert max(abs(later - earlier) for earlier, later in pairwise(values)) <= steepest + 1e-9


@pytest.mark.parametrize("schedule", [Constant(), Cosine(), Linear(), WSD()])
def test_run_of_one_step_learns(schedule: Schedule) -> None:
    assert schedule.factor(0, Horizon(total_steps=1, tokens_per_step=1)) == 1.0


@pytest.mark.parametrize("schedule", _SCHEDULES)
def test_factor_is_pure(schedule: Schedule) -> None:
    horizon = Horizon(10, 7)
    state = copy.deepcopy(vars(schedule))
    forwards = [schedule.factor(step, horizon) for step in range(10)]
    schedule.factor(123, Horizon(1000, 1))
    backwards = [schedule.factor(step, horizon) for step in reversed(range(10))]
    assert forwards == backwards[::-1]
    assert {name: vars(value) if hasattr(value, "__dict__") else value for name, value in vars(schedule).items()} == {
        name: vars(value) if hasattr(value, "__dict__") else value for name, value in state.items()
    }


@pytest.mark.parametrize("warmup", _WARMUPS)
def test_steps_tokens_and_shares_agree(warmup: Length) -> None:
    horizon = Horizon(total_steps=200, tokens_per_step=64)
    for kind in (Constant, Cosine, Linear):
        expected = [kind(warmup=20).factor(step, horizon) for step in range(200)]
        assert [kind(warmup=warmup).factor(step, horizon) for step in range(200)] == expected
    for decay in _DECAYS:
        expected = [WSD(warmup=20, decay=50).factor(step, horizon) for step in range(200)]
        assert [WSD(warmup=warmup, decay=decay).factor(step, horizon) for step in range(200)] == expected


@settings(max_examples=15)
@given(warmup=st.integers(1, 100))
def test_warmup_is_a_straight_line_that_never_rests(warmup: int) -> None:
    horizon = Horizon(1000, 1)
    for kind in (Constant, Cosine, Linear, WSD):
        values = [kind(warmup=warmup).factor(step, horizon) for step in range(warmup + 1)]
        assert values == pytest.approx([*(step / warmup for step in range(1, warmup + 1)), 1.0])
