"""What every learning-rate schedule promises. A new schedule adds one row to ``EXACT``."""

from __future__ import annotations

import copy
from collections.abc import Callable
from itertools import pairwise
from math import cos, isclose, pi, sqrt

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.optim.schedules.cyclic import WSDS, CosineRestarts, Cyclic, OneCycle
from gpt_lightning.optim.schedules.decay_shapes import Geometric, HalfCosine, OneMinusSqrt, Square, Straight
from gpt_lightning.optim.schedules.lengths import Horizon, Length
from gpt_lightning.optim.schedules.piecewise import MultiStep, Piecewise, Point, StepDecay
from gpt_lightning.optim.schedules.schedules import (
    WSD,
    Constant,
    Cosine,
    Exponential,
    InverseSqrt,
    Linear,
    Polynomial,
    Power,
    Schedule,
)

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
    (
        Polynomial(warmup=0, power=2.0, final_factor=0.0),
        0.0,
        [1.0, 0.81, 0.64, 0.49, 0.36, 0.25, 0.16, 0.09, 0.04, 0.01],
    ),
    (Exponential(warmup=2, final_factor=1 / 256), 1 / 256, [0.5, 1.0, *(0.5**n for n in range(8))]),
    (InverseSqrt(warmup=4), sqrt(0.4), [0.25, 0.5, 0.75, 1.0, 1.0, *(sqrt(4 / s) for s in range(5, 10))]),
    (
        InverseSqrt(warmup=1, cooldown=6),
        0.0,
        [1.0, 1.0, sqrt(1 / 2), sqrt(1 / 3), 0.5, 5 / 12, 4 / 12, 3 / 12, 2 / 12, 1 / 12],
    ),
    (
        Power(warmup=2, start=2, exponent=1.0, cooldown=5, final_factor=0.5),
        0.2,
        [0.5, 1.0, 1.0, 2 / 3, 0.5, 0.4, 0.36, 0.32, 0.28, 0.24],
    ),
    (StepDecay(warmup=0, every=3, gamma=0.5), 0.125, [1.0] * 3 + [0.5] * 3 + [0.25] * 3 + [0.125]),
    (MultiStep(warmup=2), 0.1, [0.5] + [1.0] * 7 + [0.316, 0.1]),
    (WSD(warmup=2, decay=4, final_factor=0.0), 0.0, [0.5, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.75, 0.5, 0.25]),
    (WSD(warmup=0, decay=5, final_factor=0.5), 0.5, [1.0] * 6 + [0.9, 0.8, 0.7, 0.6]),
    (WSD(warmup=5, decay=5, final_factor=0.0), 0.0, [0.2, 0.4, 0.6, 0.8, 1.0, 1.0, 0.8, 0.6, 0.4, 0.2]),
    (WSD(0, 4, 0.0, OneMinusSqrt()), 0.0, [1.0] * 7 + [0.5, 1 - sqrt(0.5), 1 - sqrt(0.75)]),
    (WSD(0, 4, 0.2, HalfCosine()), 0.2, [1.0] * 7 + [0.6 + 0.4 * sqrt(0.5), 0.6, 0.6 - 0.4 * sqrt(0.5)]),
    (WSD(0, 4, 0.0, Square()), 0.0, [1.0] * 7 + [15 / 16, 3 / 4, 7 / 16]),
    (WSD(0, 4, 0.0, Geometric(1 / 16)), 0.0, [1.0] * 7 + [7 / 15, 3 / 15, 1 / 15]),
    (
        WSDS(warmup=2, restarts=(4,), decay_fraction=0.5, final_factor=0.0),
        0.0,
        [0.5, 1.0, 1.0, 0.5, 1.0, 1.0, 1.0, 1.0, 2 / 3, 1 / 3],
    ),
    (
        OneCycle(rise=2, initial_factor=0.2, final_factor=0.2, shape=Straight()),
        0.2,
        [0.6, 1.0, 1.0, 0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3],
    ),
    (Cyclic(period=4, low_factor=0.2, shrink=0.5), 0.3, [0.2, 0.6, 1.0, 0.6, 0.2, 0.4, 0.6, 0.4, 0.2, 0.3]),
    (
        CosineRestarts(warmup=1, period=2, growth=2.0, final_factor=0.0),
        (1 + cos(pi / 4)) / 2,
        [1.0, *((1 + cos(pi * x)) / 2 for x in (0, 1 / 2, 0, 1 / 4, 2 / 4, 3 / 4, 0, 1 / 8, 2 / 8))],
    ),
    (
        Piecewise([Point(2, 0.4), Point(4, 0.8), Point(4, 0.5), Point(6, 0.5), Point(10, 0.1, Square())], warmup=2),
        0.1,
        [0.2, 0.4, 0.4, 0.6, 0.5, 0.5, 0.5, 0.475, 0.4, 0.275],
    ),
]
_SCHEDULES = [row[0] for row in EXACT]
_NAMES = [f"{type(schedule).__name__}{number}" for number, schedule in enumerate(_SCHEDULES)]
_KINDS: list[Callable[..., Schedule]] = [
    *dict.fromkeys(type(schedule) for schedule in _SCHEDULES if not isinstance(schedule, Piecewise))
]
"""Those that work without settings."""
_WARMED = [kind for kind in _KINDS if kind not in (OneCycle, Cyclic)]
"""Those whose ``warmup`` is the common one."""
# The same lengths written in three ways, for a run of 200 steps of 64 tokens: warm-up 20 steps, decay 50.
_WARMUPS: list[Length] = [20, "20 steps", "1280 tokens", "10%", 0.1]
_DECAYS: list[Length] = [50, "50 steps", "3200 tokens", "25%", 0.25]
_horizons = st.builds(Horizon, st.integers(10, 3000), st.integers(1, 10**6))


def test_every_schedule_is_in_the_table() -> None:
    assert {kind for kind in Schedule.__subclasses__() if kind.__module__.startswith("gpt_lightning.")} == {
        type(schedule) for schedule in _SCHEDULES
    }


@pytest.mark.parametrize(("schedule", "end", "values"), EXACT, ids=_NAMES)
def test_exact_values(schedule: Schedule, end: float, values: list[float]) -> None:
    horizon = Horizon(total_steps=10, tokens_per_step=7)
    assert [schedule.factor(step, horizon) for step in range(10)] == pytest.approx(values, abs=1e-12)
    for step in (10, 11, 1000):
        assert schedule.factor(step, horizon) == pytest.approx(end, abs=1e-12)


@pytest.mark.parametrize("schedule", _SCHEDULES, ids=_NAMES)
@settings(max_examples=15)
@given(horizon=_horizons, data=st.data())
def test_bounds(schedule: Schedule, horizon: Horizon, data: st.DataObject) -> None:
    step = data.draw(st.integers(0, horizon.total_steps - 1))
    assert 0.0 < schedule.factor(step, horizon) <= 1.0


@pytest.mark.parametrize("kind", [kind for kind in _KINDS if kind not in (StepDecay, MultiStep, WSDS, CosineRestarts)])
@pytest.mark.parametrize("horizon", [Horizon(50, 1), Horizon(99, 1), Horizon(203, 1)])
def test_no_jump_anywhere(kind: Callable[..., Schedule], horizon: Horizon) -> None:
    """Neighbouring steps differ by at most one step of the steepest stretch, at the borders too."""
    schedule, total = kind(), horizon.total_steps
    values = [schedule.factor(step, horizon) for step in range(total)]
    # The steepest: the warm-up over 2 %, a decay over 10 %, the middle of a cosine (pi / 2 times its mean slope); an
    # inverse root right behind its scale of 2 % falls at most half as fast as the warm-up rose.
    steepest = max(1 / max(1, int(0.02 * total)), 1 / int(0.1 * total))
    assert max(abs(later - earlier) for earlier, later in pairwise(values)) <= steepest + 1e-9


@pytest.mark.parametrize("kind", [WSDS, CosineRestarts])
def test_jumps_only_upwards_and_only_at_restarts(kind: Callable[..., Schedule]) -> None:
    horizon = Horizon(1000, 1)
    values = [kind().factor(step, horizon) for step in range(1000)]
    jumps = {step: later - earlier for step, (earlier, later) in enumerate(pairwise(values), 1) if later > earlier}
    restarts = {WSDS: [250, 500], CosineRestarts: [20 + 140, 20 + 420]}[kind]  # type: ignore[index]
    assert [step for step in jumps if step >= 20] == restarts
    assert all(values[step] == 1.0 for step in restarts)


@pytest.mark.parametrize("kind", _KINDS)
def test_run_of_one_step_learns(kind: Callable[..., Schedule]) -> None:
    factor = kind().factor(0, Horizon(total_steps=1, tokens_per_step=1))
    assert isclose(factor, {Cyclic: 0.1, MultiStep: 0.1}.get(kind, 1.0))  # type: ignore[call-overload]


@pytest.mark.parametrize("schedule", _SCHEDULES, ids=_NAMES)
def test_factor_is_pure(schedule: Schedule) -> None:
    def state(thing: object) -> object:
        if isinstance(thing, (list, tuple)):
            return [state(item) for item in thing]
        return {name: state(value) for name, value in vars(thing).items()} if hasattr(thing, "__dict__") else thing

    horizon = Horizon(10, 7)
    before = copy.deepcopy(state(schedule))
    forwards = [schedule.factor(step, horizon) for step in range(10)]
    schedule.factor(123, Horizon(1000, 1))
    backwards = [schedule.factor(step, horizon) for step in reversed(range(10))]
    assert forwards == backwards[::-1]
    assert state(schedule) == before


@pytest.mark.parametrize("warmup", _WARMUPS)
def test_steps_tokens_and_shares_agree(warmup: Length) -> None:
    horizon = Horizon(total_steps=200, tokens_per_step=64)
    for kind in _WARMED:
        expected = [kind(warmup=20).factor(step, horizon) for step in range(0, 200, 9)]
        assert [kind(warmup=warmup).factor(step, horizon) for step in range(0, 200, 9)] == expected


@pytest.mark.parametrize("length", _DECAYS)
@pytest.mark.parametrize(
    "make",
    [
        lambda length: WSD(decay=length),
        lambda length: InverseSqrt(cooldown=length),
        lambda length: Power(start=length, cooldown=length),
        lambda length: StepDecay(every=length),
        lambda length: MultiStep(milestones=(length,), factors=(0.5,)),
        lambda length: WSDS(restarts=(length,)),
        lambda length: OneCycle(rise=length),
        lambda length: Cyclic(period=length),
        lambda length: CosineRestarts(period=length),
        lambda length: Piecewise([Point(0, 1.0), Point(length, 0.5)]),
    ],
)
def test_every_length_is_a_length(make: Callable[[Length], Schedule], length: Length) -> None:
    horizon = Horizon(total_steps=200, tokens_per_step=64)
    expected = [make(50).factor(step, horizon) for step in range(0, 200, 9)]
    assert [make(length).factor(step, horizon) for step in range(0, 200, 9)] == expected
    assert expected != [make(40).factor(step, horizon) for step in range(0, 200, 9)]


@pytest.mark.parametrize("kind", _WARMED)
@pytest.mark.parametrize("warmup", [1, 2, 37])
def test_warmup_is_a_straight_line_that_never_rests(kind: Callable[..., Schedule], warmup: int) -> None:
    horizon = Horizon(1000, 1)
    values = [kind(warmup=warmup).factor(step, horizon) for step in range(warmup + 1)]
    assert values == pytest.approx([*(step / warmup for step in range(1, warmup + 1)), 1.0])
