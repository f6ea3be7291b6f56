"""Sampling against direct computation of the distributions."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.generation.sampling import (
    History,
    Sampling,
    adjust,
    choose_tokens,
    draw_uniform,
    keep_top_k,
    keep_top_p,
)

_PROBABILITIES = [0.1, 0.4, 0.2, 0.3]
_LOGITS = torch.tensor([_PROBABILITIES]).log()


def _kept(logits: Tensor) -> list[int]:
    return [index for index, value in enumerate(logits[0].tolist()) if value > -math.inf]


def _draw(logits: Tensor, sampling: Sampling, times: int = 6_000) -> list[float]:
    rows = logits.expand(times, -1)
    drawn = choose_tokens(rows, sampling, [draw_uniform(0, 0, position) for position in range(times)])
    return [drawn.count(token) / times for token in range(logits.shape[1])]


@pytest.mark.parametrize(
    ("sampling", "weights"),
    [
        (Sampling(), _PROBABILITIES),
        (Sampling(top_p=1.0), _PROBABILITIES),
        (Sampling(temperature=2.0), [p**0.5 for p in _PROBABILITIES]),
        (Sampling(temperature=0.5), [p**2 for p in _PROBABILITIES]),
        (Sampling(top_k=2), [0, 0.4, 0, 0.3]),
        (Sampling(top_p=0.75), [0, 0.4, 0.2, 0.3]),
        (Sampling(top_k=3, top_p=0.7), [0, 0.4, 0, 0.3]),  # of the three left, 0.4 / 0.9 + 0.3 / 0.9 > 0.7
        (Sampling(min_p=0.6), [0, 0.4, 0, 0.3]),
        (Sampling(min_p=0.0), _PROBABILITIES),
        (Sampling(temperature=0.5, min_p=0.6), [0, 1, 0, 0]),  # 0.09 / 0.16 < 0.6: min-p after temperature
        (Sampling(logit_bias={0: math.log(3), 3: -100.0}), [0.3, 0.4, 0.2, 0]),
        (Sampling(logit_bias={0: math.log(9)}, top_k=1), [1, 0, 0, 0]),
        (Sampling(temperature=0.5, top_p=0.8), [0, 0.16, 0, 0.09]),  # 0.25 / 0.3 > 0.8: top-p after temperature
    ],
)
def test_frequencies_follow_the_distribution(sampling: Sampling, weights: list[float]) -> None:
    expected = [weight / sum(weights) for weight in weights]
    frequencies = _draw(_LOGITS, sampling)
    assert frequencies == pytest.approx(expected, abs=0.02)
    assert [index for index, value in enumerate(frequencies) if value] == [
        i for i, value in enumerate(weights) if value
    ]


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_diverged_model_is_told_as_one(bad: float, temperature: float) -> None:
    with pytest.raises(CheckpointError, match=r"not finite.*earlier checkpoint"):
        choose_tokens(torch.tensor([[0.0, bad]]), Sampling(temperature=temperature), [0.5])


def test_a_token_that_is_ruled_out_is_no_divergence() -> None:
    assert choose_tokens(torch.tensor([[0.0, -math.inf]]), Sampling(), [1 - 2**-53]) == [0]


def test_temperature_zero_is_the_likeliest_token() -> None:
    logits = torch.tensor([[0.0, 3.0, 1.0], [5.0, 3.0, 1.0]])
    assert choose_tokens(logits, Sampling(temperature=0.0, top_k=1, top_p=0.1), [0.5] * 2) == [1, 0]


@pytest.mark.parametrize(
    ("top_p", "kept"),
    [
        (1e-9, [1]),
        (0.39, [1]),
        (0.41, [1, 3]),
        (0.69, [1, 3]),
        (0.71, [1, 2, 3]),
        (0.89, [1, 2, 3]),
        (0.91, [0, 1, 2, 3]),
        (1.0, [0, 1, 2, 3]),
    ],
)
def test_top_p_keeps_the_smallest_set_that_reaches_it(top_p: float, kept: list[int]) -> None:
    assert _kept(keep_top_p(_LOGITS, top_p)) == kept


def test_top_p_on_the_border_and_between_equals() -> None:
    quarters = torch.zeros(1, 4)
    assert _kept(keep_top_p(quarters, 0.5)) == [0, 1]
    assert _kept(keep_top_p(quarters, 0.51)) == [0, 1, 2]
    certain = torch.tensor([[-math.inf, 0.0, -math.inf]])
    assert _kept(keep_top_p(certain, 0.999)) == [1]


@settings(max_examples=30, deadline=None)
@given(
    logits=st.lists(st.floats(-8, 8, width=32), min_size=1, max_size=12),
    top_p=st.floats(1e-6, 0.999),
    top_k=st.integers(1, 15),
)
def test_filters_against_a_plain_loop(logits: list[float], top_p: float, top_k: int) -> None:
    tensor = torch.tensor([logits], dtype=torch.float64)
    order = sorted(range(len(logits)), key=lambda index: -logits[index])
    assert sorted(logits[i] for i in _kept(keep_top_k(tensor, top_k))) == sorted(logits[i] for i in order[:top_k])
    masses = [math.exp(value) for value in logits]
    kept: list[int] = []
    reached = 0.0
    for index in order:
        if kept and reached >= top_p:
            break
        kept.append(index)
        reached += masses[index] / sum(masses)
    close = any(abs(sum(masses[i] for i in order[:n]) / sum(masses) - top_p) < 1e-9 for n in range(len(order)))
    if not close:
        assert _kept(keep_top_p(tensor, top_p)) == sorted(kept)


def test_filters_leave_the_kept_logits_alone() -> None:
    for filtered in (keep_top_k(_LOGITS, 2), keep_top_p(_LOGITS, 0.5)):
        assert torch.equal(filtered[filtered > -math.inf], _LOGITS[filtered > -math.inf])


def test_draws_are_uniform_and_fixed_by_their_arguments() -> None:
    draws = [draw_uniform(seed, sample, position) for seed in range(10) for sample in (0, 1) for position in range(500)]
    assert len(set(draws)) == len(draws)
    counts = [sum(part <= 20 * draw < part + 1 for draw in draws) for part in range(20)]
    assert sum(counts) == len(draws)
    assert sum((count - 500) ** 2 / 500 for count in counts) < 43.8  # 0.1 % of chi-squared with 19 degrees of freedom
    # The text that a seed gives is a promise between versions.
    assert draw_uniform(1337, 0, 5) == 0.22586583773417857


def test_a_share_of_the_probability_names_the_token() -> None:
    for uniform, token in ((0.0, 0), (0.0999, 0), (0.1001, 1), (0.4999, 1), (0.5001, 2), (0.7001, 3), (1 - 2**-53, 3)):
        assert choose_tokens(_LOGITS, Sampling(), [uniform]) == [token]
    assert choose_tokens(_LOGITS, Sampling(top_k=2), [0.5]) == [1]  # likeliest first
    assert choose_tokens(_LOGITS, Sampling(top_k=2), [0.6]) == [3]


def test_penalties_by_their_formulas() -> None:
    logits = torch.tensor([[2.0, -2.0, 1.0, 0.5]])
    history = History(Counter([0, 1]), Counter([1, 2, 2]))
    adjusted = adjust(logits, Sampling(repetition_penalty=2.0), [history])
    assert adjusted.tolist() == [[1.0, -4.0, 0.5, 0.5]]
    adjusted = adjust(logits, Sampling(presence_penalty=0.5, frequency_penalty=0.25), [history])
    assert adjusted.tolist() == [[2.0, -2.75, 0.0, 0.5]]
    assert logits.tolist() == [[2.0, -2.0, 1.0, 0.5]]


@pytest.mark.parametrize(
    "sampling",
    [
        Sampling(temperature=0.7, top_k=8, top_p=0.8, min_p=0.05, repetition_penalty=1.3),
        Sampling(temperature=1.6, top_p=0.6, min_p=0.2),
        Sampling(top_k=5, repetition_penalty=0.8),
        Sampling(min_p=0.3),
    ],
)
def test_the_distribution_is_that_of_transformers(sampling: Sampling) -> None:
    """Its processors in its order, on the same logits; ours read off a fine grid of shares."""
    process = pytest.importorskip("transformers").generation.logits_process
    logits = torch.randn(1, 20, generator=torch.Generator().manual_seed(3)) * 2
    prompt, text = [3, 4, 3], [7, 3]
    scores = logits.clone()
    if sampling.repetition_penalty != 1.0:
        ids = torch.tensor([prompt + text])
        scores = process.RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty)(ids, scores)
    scores = process.TemperatureLogitsWarper(sampling.temperature)(None, scores)
    for warper, value in (("TopK", sampling.top_k), ("TopP", sampling.top_p), ("MinP", sampling.min_p)):
        if value is not None:
            scores = getattr(process, f"{warper}LogitsWarper")(value)(None, scores)
    expected = scores.softmax(-1)[0]
    grid = 1000
    history = History(Counter(prompt), Counter(text))
    drawn = choose_tokens(
        logits.expand(grid, -1), sampling, [(step + 0.5) / grid for step in range(grid)], [history] * grid
    )
    shares = torch.bincount(torch.tensor(drawn), minlength=20) / grid
    torch.testing.assert_close(shares, expected, rtol=0, atol=2 / grid)
    assert torch.equal(shares > 0, expected > 0)


def test_narrow_logits_are_taken() -> None:
    assert _draw(_LOGITS.bfloat16(), Sampling(top_p=0.95)) == pytest.approx(_PROBABILITIES, abs=0.015)


@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"temperature": -0.5}, "temperature is not usable: got -0.5"),
        ({"temperature": 1e-40}, "Use 0 for the likeliest token"),
        ({"temperature": math.nan}, "got nan"),
        ({"temperature": math.inf}, "got inf"),
        ({"top_k": 0}, "top_k is not positive: got 0"),
        ({"top_k": -3}, "got -3"),
        ({"top_p": 0.0}, "top_p is not a probability: got 0.0"),
        ({"top_p": 9.0}, "got 9.0 (allowed: above 0, at most 1, or none)"),
        ({"top_p": math.nan}, "got nan"),
        ({"min_p": 1.5}, "min_p is not a share of a probability: got 1.5"),
        ({"min_p": -0.1}, "got -0.1"),
        ({"repetition_penalty": 0.0}, "repetition_penalty is not usable: got 0.0"),
        ({"repetition_penalty": math.nan}, "got nan"),
        ({"presence_penalty": 3.0}, "presence_penalty is out of range: got 3.0"),
        ({"frequency_penalty": math.nan}, "frequency_penalty is out of range: got nan"),
        ({"logit_bias": {3: math.inf}}, "got {3: inf}"),
        ({"logit_bias": {-3: 1.0}}, "got {-3: 1.0}"),
    ],
)
def test_nonsense_is_refused(settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Sampling(**settings)
    assert part in str(caught.value)


def test_bias_of_a_token_that_is_not_there_is_told() -> None:
    with pytest.raises(ConfigError, match=r"does not have: got 4 \(allowed: ids 0 to 3\)"):
        choose_tokens(_LOGITS, Sampling(logit_bias={4: 1.0}), [0.5])
