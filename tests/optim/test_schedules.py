"""What is particular to one schedule; what all share is in the contract suite."""

from __future__ import annotations

from collections.abc import Callable
from math import cos, pi

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.lengths import Horizon
from gpt_lightning.optim.schedules import WSD, Constant, Cosine, Linear, Schedule


def test_stable_stretch_does_not_depend_on_the_length_of_the_run() -> None:
    schedule = WSD(warmup=5, decay=10)
    short, long = Horizon(50, 1), Horizon(500, 1)
    assert [schedule.factor(s, short) for s in range(40)] == [schedule.factor(s, long) for s in range(40)]


def test_cosine_is_half_way_down_in_the_middle() -> None:
    assert Cosine(warmup=10, final_factor=0.2).factor(60, Horizon(110, 1)) == pytest.approx(0.6)


def test_cosine_along_its_formula() -> None:
    schedule, horizon = Cosine(warmup=3, final_factor=0.1), Horizon(20, 1)
    for step in range(3, 20):
        expected = 0.1 + 0.9 * 0.5 * (1 + cos(pi * (step - 3) / 17))
        assert schedule.factor(step, horizon) == pytest.approx(expected, abs=1e-12)


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


@pytest.mark.parametrize("kind", [Cosine, Linear, WSD])
@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_final_factor_out_of_range(kind: Callable[..., Schedule], value: float) -> None:
    with pytest.raises(ConfigError, match=r"final_factor.*0 to 1"):
        kind(final_factor=value)


def test_wrong_lengths_are_found_at_construction() -> None:
    with pytest.raises(ConfigError, match=r"schedule\.warmup"):
        Cosine(warmup="5 parsecs")
    with pytest.raises(ConfigError, match=r"schedule\.decay"):
        WSD(decay=1.0)
