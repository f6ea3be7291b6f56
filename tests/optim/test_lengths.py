"""Lengths: every way of writing one, and what is refused."""

from __future__ import annotations

from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.schedules.lengths import Horizon, Length, ParsedLength, parse_length, to_steps

_HORIZON = Horizon(total_steps=1000, tokens_per_step=500)


@pytest.mark.parametrize(
    ("length", "steps"),
    [
        (0, 0),
        (500, 500),
        ("500", 500),
        ("1_000", 1000),
        ("500 steps", 500),
        ("1 step", 1),
        ("2k steps", 2000),
        ("1.5K steps", 1500),
        ("500 tokens", 1),
        ("499 tokens", 1),
        ("0 tokens", 0),
        ("999 tokens", 1),
        ("20M tokens", 40_000),
        ("20m TOKENS", 40_000),
        ("1.5B tokens", 3_000_000),
        ("5%", 50),
        (" 5 % ", 50),
        ("0.1%", 1),
        ("0.05%", 0),
        ("0%", 0),
        ("100%", 1000),
        (0.05, 50),
        ("0.05", 50),
        (".5", 500),
        (0.0005, 0),
    ],
)
def test_steps_of_every_way_of_writing(length: Length, steps: int) -> None:
    assert to_steps(length, _HORIZON) == steps


@pytest.mark.parametrize("share", [0.07, 0.29, 0.57, 0.58])
def test_shares_are_exact(share: float) -> None:
    # In floating point 0.29 * 100 is 28.999999999999996.
    assert to_steps(share, Horizon(100, 1)) == to_steps(f"{share * 100:.0f}%", Horizon(100, 1)) == round(share * 100)


@given(shares=st.lists(st.integers(1, 99), min_size=2, max_size=5), total=st.integers(1, 10_000))
def test_shares_that_fit_together_fit_in_steps(shares: list[int], total: int) -> None:
    if sum(shares) <= 100:
        assert sum(to_steps(f"{share}%", Horizon(total, 1)) for share in shares) <= total


@given(tokens=st.integers(1, 10**12), tokens_per_step=st.integers(1, 10**6))
def test_tokens_are_a_budget_of_at_least_one_step(tokens: int, tokens_per_step: int) -> None:
    steps = to_steps(f"{tokens} tokens", Horizon(10, tokens_per_step))
    assert steps >= 1
    assert steps == 1 or steps * tokens_per_step <= tokens < (steps + 1) * tokens_per_step


@pytest.mark.parametrize(
    ("length", "parts"),
    [
        (1.0, ["1.0", "Write 1 for one step, or '100%'"]),
        (0.0, ["0.0", "Write 0 for no steps, or '0%'"]),
        ("1.0", ["1.0", "'100%'"]),
        (1.5, ["1.5", "strictly between 0 and 1"]),
        (-0.5, ["-0.5"]),
        (float("nan"), ["nan"]),
        (float("inf"), ["inf"]),
        (-3, ["negative", "-3"]),
        ("-3", ["'-3'"]),
        ("20M", ["no unit", "Write '20M tokens' or '20M steps'"]),
        ("5k%", ["no unit", "5k%"]),
        ("101%", ["101%", "0% to 100%"]),
        ("1.5 steps", ["whole number", "1.5 steps"]),
        ("20 millions", ["'20 millions'", "'20M tokens'"]),
        ("2T tokens", ["'2T tokens'"]),
        ("", ["''"]),
        ("ten steps", ["'ten steps'"]),
        (True, ["True"]),
    ],
)
def test_what_is_not_a_length(length: Length, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_length(length, "trainer.max_length")
    message = str(caught.value)
    assert message.startswith("trainer.max_length")
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_length_of_the_run_itself() -> None:
    assert parse_length("20M tokens").to_steps(total_steps=None, tokens_per_step=12_288) == 1627
    assert parse_length(7).to_steps(total_steps=None, tokens_per_step=1) == 7
    with pytest.raises(ConfigError, match=r"share of the run cannot be the length.*5\.0000%"):
        parse_length("5%").to_steps(total_steps=None, tokens_per_step=1)


def test_parsed_value_is_exact() -> None:
    assert parse_length(0.1) == ParsedLength(Fraction(1, 10), "share")
    assert parse_length("0.3B tokens") == ParsedLength(Fraction(300_000_000), "tokens")


@pytest.mark.parametrize(("total", "tokens"), [(0, 1), (1, 0), (-1, 1)])
def test_horizon_is_positive(total: int, tokens: int) -> None:
    with pytest.raises(ConfigError, match="not positive"):
        Horizon(total, tokens)
