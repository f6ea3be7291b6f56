"""Intervals and comparisons against closed forms and scipy."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import binomtest

from gpt_lightning.evaluation.outcomes.resampling import bootstrap_interval, compare_rows, sign_test
from gpt_lightning.evaluation.outcomes.results import _SCORES
from gpt_lightning.metrics.answers import EditDistance
from gpt_lightning.metrics.labels import Accuracy, Choice, Estimate, Marks, Pearson
from gpt_lightning.metrics.likelihood import Likelihood, UnitPerplexity
from gpt_lightning.metrics.overlap import Answer
from gpt_lightning.metrics.ranking import Ranking
from gpt_lightning.metrics.scores import measure_all


def rights(hits: list[bool]) -> np.ndarray:
    return measure_all(Accuracy(), [Choice((1.0, 0.0), 0 if hit else 1) for hit in hits])


def test_the_interval_of_a_share_is_the_binomials() -> None:
    rows = rights([n % 5 != 0 for n in range(1000)])
    low, high = bootstrap_interval(Accuracy(), rows, seed=0)["accuracy"]
    spread = 100 * 1.96 * math.sqrt(0.8 * 0.2 / 1000)
    assert low == pytest.approx(80 - spread, abs=0.4)
    assert high == pytest.approx(80 + spread, abs=0.4)
    assert bootstrap_interval(Accuracy(), rows, seed=0)["accuracy"] == (low, high)


def test_the_interval_holds_the_truth_nineteen_times_in_twenty() -> None:
    generator, held = np.random.default_rng(1), 0
    for seed in range(40):
        rows = rights((generator.random(80) < 0.6).tolist())
        low, high = bootstrap_interval(Accuracy(), rows, seed=seed, resamples=100)["accuracy"]
        held += low <= 60 <= high
    assert 34 <= held <= 40


@pytest.mark.parametrize(("wins", "losses"), [(0, 0), (5, 0), (3, 7), (60, 40), (1300, 1200), (4_000, 4_500)])
def test_sign_test_is_scipys(wins: int, losses: int) -> None:
    expected = binomtest(wins, wins + losses).pvalue if wins + losses else 1.0
    assert sign_test(wins, losses) == pytest.approx(expected, rel=1e-9)


def test_pairs_see_a_difference_that_intervals_hide() -> None:
    generator = np.random.default_rng(2)
    first = (generator.random(400) < 0.5).tolist()
    second = [hit or n % 20 == 0 for n, hit in enumerate(first)]  # never worse, on one item in twenty better
    found = compare_rows(Accuracy(), rights(first), rights(second), seed=0)["accuracy"]
    low, high = (bootstrap_interval(Accuracy(), rights(hits), seed=0)["accuracy"] for hits in (first, second))
    assert low[1] > high[0], "the intervals should overlap"
    assert found.p_value < 0.01
    assert found.low > 0
    assert (found.wins, found.losses) == (sum(second) - sum(first), 0)
    assert found.second - found.first == pytest.approx(100 * found.wins / 400)


def test_a_model_does_not_differ_from_itself() -> None:
    rows = rights([True, False] * 50)
    found = compare_rows(Accuracy(), rows, rows, seed=0)["accuracy"]
    assert (found.low, found.high, found.p_value, found.wins, found.losses, found.sign_p_value) == (0, 0, 1, 0, 0, 1)


def test_fewer_edits_are_better() -> None:
    score = EditDistance()
    bad, good = (measure_all(score, [Answer(text, ("abc",))] * 8) for text in ("xyz", "abc"))
    found = compare_rows(score, bad, good, seed=0)
    assert {name: (each.wins, each.losses) for name, each in found.items()} == dict.fromkeys(found, (8, 0))
    assert found["edit_distance"].second < found["edit_distance"].first


def test_noise_is_rarely_called_a_difference() -> None:
    generator, called = np.random.default_rng(3), 0
    for seed in range(24):
        first, second = (rights((generator.random(60) < 0.5).tolist()) for _ in range(2))
        called += compare_rows(Accuracy(), first, second, seed=seed, resamples=100)["accuracy"].p_value < 0.05
    assert called <= 4


def one_of(name: str) -> tuple[Any, Any, Any]:
    """A score of this class, with an outcome that is bad and one that is good."""
    texts = Answer("x y z w", ("a b c d",)), Answer("a b c d", ("a b c d",))
    choices = Choice((0.4, 0.6), 0), Choice((1.0, 0.0), 0)
    likelihoods = Likelihood(90.0, 4, 9, 2), Likelihood(1.0, 4, 9, 2, is_greedy=True)
    marks = Marks((0.4, 0.6), (False, True), (True, False)), Marks((1.0, 0.0), (True, False), (True, False))
    rankings = Ranking((90,), (1,), (100,)), Ranking((0,), (1,), (100,))
    kinds: dict[str, tuple[Any, tuple[Any, Any]]] = {
        **{text: ({"cut": "13a"}, texts) for text in ("Bleu", "Rouge", "TokenF1")},
        **{text: ({}, texts) for text in ("ChrF", "ExactMatch", "EditDistance", "Same")},
        "Ended": ({}, (Answer("a", ("a",), ended=False), Answer("a", ("a",)))),
        **{choice: ({}, choices) for choice in ("Accuracy", "Brier", "Calibration")},
        "MacroF1": ({"num_labels": 2}, choices),
        "MarksF1": ({"num_labels": 2}, marks),
        "MarksCalibration": ({}, marks),
        "SquaredError": ({}, (Estimate(3.0, 1.0), Estimate(1.5, 1.0))),
        **{ranking: ({}, rankings) for ranking in ("RankingAt", "RankPercentile")},
        "UnitPerplexity": ({"unit": "target"}, likelihoods),
        **{text: ({}, likelihoods) for text in ("Perplexity", "GuessAccuracy")},
    }
    options, (bad, good) = kinds[name]
    return _SCORES[name](**options), bad, good


# A correlation is of several items only; below.
@pytest.mark.parametrize("name", sorted(set(_SCORES) - {"Pearson"}))
def test_every_measure_knows_which_direction_is_better(name: str) -> None:
    score, bad, good = one_of(name)
    found = compare_rows(score, measure_all(score, [bad] * 50), measure_all(score, [good] * 50), seed=0, resamples=100)
    assert found
    assert {(each.wins, each.losses) for each in found.values()} == {(50, 0)}


def test_more_correlation_is_better() -> None:
    draw = np.random.default_rng(0)
    answers = draw.normal(size=200)
    bad, good = ([Estimate(a + spread * n, a) for a, n in zip(answers, draw.normal(size=200), strict=True)]
                 for spread in (3.0, 0.5))  # fmt: skip
    found = compare_rows(Pearson(), measure_all(Pearson(), bad), measure_all(Pearson(), good), seed=0, resamples=100)
    assert found["pearson"].low > 0
    assert not Pearson.lower_is_better


@pytest.mark.parametrize("unit", ["target", "word", "character", "byte", "line"])
def test_less_perplexity_is_better_whatever_the_unit(unit: str) -> None:
    score = UnitPerplexity(unit)
    bad, good = (measure_all(score, [Likelihood(nats, 3, 9, 3)] * 50) for nats in (5.0, 4.0))
    found = compare_rows(score, bad, good, seed=0, resamples=100)
    assert {(each.wins, each.losses) for each in found.values()} == {(50, 0)}


def test_resamples_that_say_nothing_are_left_out() -> None:
    score = EditDistance()
    # An empty reference: the rate has nothing to divide by, in every resample or in some.
    nothing = [Answer("a", ("",))] * 6
    found = compare_rows(score, *(measure_all(score, nothing),) * 2, seed=0)["character_error_rate"]
    assert math.isnan(found.p_value)
    assert math.isnan(found.low)
    some = [*nothing, Answer("abc", ("abd",))]
    found = compare_rows(score, *(measure_all(score, some),) * 2, seed=0)["character_error_rate"]
    assert (found.p_value, found.low, found.high) == (1.0, 0.0, 0.0)
