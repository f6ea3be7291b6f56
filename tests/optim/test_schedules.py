"""What is particular to one schedule or shape; what all share is in the contract suite."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from itertools import pairwise
from math import cos, pi
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.schedules import decay_shapes as shapes
from gpt_lightning.optim.schedules.cyclic import WSDS, CosineRestarts, Cyclic, OneCycle
from gpt_lightning.optim.schedules.decay_shapes import Geometric, HalfCosine, OneMinusSqrt, Shape, Square, Straight
from gpt_lightning.optim.schedules.lengths import Horizon
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

_SHAPES = [Straight(), OneMinusSqrt(), HalfCosine(), Square(), Geometric()]


@pytest.mark.parametrize("kind", [WSD, Power])
def test_stable_stretch_does_not_depend_on_the_length_of_the_run(kind: Callable[..., Schedule]) -> None:
    lengths = {"decay": 10} if kind is WSD else {"cooldown": 10, "start": 7}
    schedule = kind(warmup=5, **lengths)
    short, long = Horizon(50, 1), Horizon(500, 1)
    assert [schedule.factor(s, short) for s in range(40)] == [schedule.factor(s, long) for s in range(40)]


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert Cosine(warmup=10, final_factor=0.2).factor(60, Horizon(110, 1)) == pytest.approx(0.6)


def test_cosine_along_its_formula() -> None:
    schedule, horizon = Cosine(warmup=3, final_factor=0.1), Horizon(20, 1)
    for step in range(3, 20):
        expected = 0.1 + 0.9 * 0.5 * (1 + cos(pi * (step - 3) / 17))
        assert schedule.factor(step, horizon) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("shape", [Straight(), HalfCosine()])
def test_piecewise_draws_the_others(shape: Shape) -> None:
    horizon = Horizon(1000, 1)
    other: Schedule = WSD(warmup=30, decay=250, final_factor=0.1, shape=shape)
    drawn = Piecewise([Point(0, 1.0), Point("75%", 1.0), Point("100%", 0.1, shape)], warmup=30)
    for step in (0, 1, 29, 30, 31, 749, 750, 751, 900, 999, 1000, 1001):
        assert drawn.factor(step, horizon) == pytest.approx(other.factor(step, horizon), abs=1e-12)


@pytest.mark.parametrize("shape", _SHAPES)
def test_shapes_fall_from_one_to_zero(shape: Shape) -> None:
    values = [shape.left(y / 100) for y in range(101)]
    assert values[0] == pytest.approx(1.0)
    assert values[-1] == pytest.approx(0.0, abs=1e-12)
    assert all(later < earlier for earlier, later in pairwise(values))
    assert shape.between(0.8, 0.2, 1.0) == pytest.approx(0.2)
    assert shape.between(0.2, 0.8, 0.0) == pytest.approx(0.2)


def test_every_shape_is_listed() -> None:
    kinds = {kind for _, kind in inspect.getmembers(shapes, inspect.isclass) if issubclass(kind, Shape)} - {Shape}
    assert kinds == {type(shape) for shape in _SHAPES}


@pytest.mark.parametrize("kind", [Constant, Cosine, Linear, WSD])
def test_warmup_longer_than_the_run(kind: Callable[..., Schedule]) -> None:
    schedule = kind(warmup="100 tokens")
    with pytest.raises(ConfigError, match=r"warm-up.* got '10 (\+ 0 )?steps' .*at most 9 steps.*'5%'"):
        schedule.check(Horizon(total_steps=9, tokens_per_step=10))
    if kind is not WSD:
        schedule.check(Horizon(total_steps=10, tokens_per_step=10))


def test_warmup_and_decay_longer_than_the_run() -> None:
    with pytest.raises(ConfigError, match=r"got '30 \+ 80 steps' .*together at most 100 steps"):
        WSD(warmup=30, decay=80).check(Horizon(100, 1))
    WSD(warmup=30, decay=70).check(Horizon(100, 1))


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (WSDS(restarts=("50%", "25%")), r"restarts, with the end of the run, are not in order.*0, 50, 25, 100"),
        (WSDS(restarts=(200,)), r"0, 200, 100"),
        (WSDS(warmup=24), r"warm-up reaches into the first decay: got '24 steps' .*at most 23 steps"),
        (MultiStep(milestones=(50, "1%"), factors=(0.5, 0.1)), r"milestones are not in order: got '50, 1'"),
        (Piecewise([Point(3, 1.0), Point("2%", 0.5)]), r"points are not in order: got '3, 2'"),
        (OneCycle(rise=101), "warm-up is longer than the run"),
    ],
)
def test_lengths_that_do_not_fit_are_found_before_the_run(schedule: Schedule, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        schedule.check(Horizon(100, 1))


@pytest.mark.parametrize(
    ("kind", "settings", "message"),
    [
        (Polynomial, {"power": 0.0}, "power is out of range: got 0.0"),
        (Exponential, {"final_factor": 0.0}, "final_factor is out of range: got 0.0"),
        (InverseSqrt, {"final_factor": 2.0}, "final_factor"),
        (InverseSqrt, {"cooldown": 1.0}, "schedule.cooldown is ambiguous"),
        (Power, {"exponent": -0.5}, "exponent is out of range: got -0.5"),
        (Power, {"start": "x"}, "schedule.start"),
        (StepDecay, {"gamma": 0.0}, "gamma"),
        (StepDecay, {"every": -1}, "schedule.every is negative"),
        (MultiStep, {"milestones": (5,)}, "differ in number: got '1 and 2'"),
        (MultiStep, {"factors": (0.5, 2.0)}, "factors is out of range: got 2.0"),
        (WSDS, {"decay_fraction": 1.5}, "decay_fraction"),
        (OneCycle, {"initial_factor": -1.0}, "initial_factor"),
        (Cyclic, {"low_factor": 0.0}, "low_factor"),
        (Cyclic, {"shrink": 0.0}, "shrink"),
        (CosineRestarts, {"growth": 0.5}, "growth is out of range: got 0.5"),
        (Piecewise, {"points": []}, "points is empty"),
        (Point, {"at": "later", "factor": 1.0}, "schedule.points.at"),
        (Point, {"at": 0, "factor": 1.5}, "points.factor is out of range: got 1.5"),
        (Geometric, {"ratio": 1.0}, "ratio is out of range: got 1.0"),
    ],
)
def test_settings_out_of_range(kind: Callable[..., Any], settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        kind(**settings)
    assert message in str(caught.value)


@pytest.mark.parametrize("kind", [Cosine, Linear, WSD, Polynomial, InverseSqrt, WSDS, OneCycle, CosineRestarts])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_final_factor_out_of_range(kind: Callable[..., Schedule], value: float) -> None:
    with pytest.raises(ConfigError, match=r"final_factor.*0 to 1"):
        kind(final_factor=value)


def test_wrong_lengths_are_found_at_construction() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.warmup"):
        Cosine(warmup="5 parsecs")
    with pytest.raises(ConfigError, match=r"schedule\.decay"):
        WSD(decay=1.0)


def test_restarts_without_growth_are_found_at_once() -> None:
    """A cosine of one step in a run of a billion: no loop over the cycles."""
    schedule = CosineRestarts(warmup=0, period=4, growth=1.0)
    assert schedule.factor(10**9 - 2, Horizon(10**9, 1)) == schedule.factor(2, Horizon(10**9, 1))
