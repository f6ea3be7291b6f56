"""How far a score can be trusted: intervals of one model, and the difference of two models on the same items.

Items are drawn with replacement (Efron 1979), a thousand times; since every score is a function of sums over items, a
resample is a vector of counts times the matrix of what each item adds. For two models the same items are drawn for
both (paired bootstrap; Koehn 2004), which removes what makes an item hard for either.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from gpt_lightning.metrics.scores import Score

_BLOCK = 4_000_000
"""Counts drawn at a time."""


def bootstrap_interval(
    score: Score[Any], rows: Float[np.ndarray, "items size"], *, seed: int, resamples: int = 1000
) -> dict[str, tuple[float, float]]:
    """The 2.5th and 97.5th percentile of each result over resamples of the items.

    Args:
        score: What the rows are of.
        rows: What each item adds; at least one.
        seed: The same seed draws the same items.
        resamples: How many.
    """
    drawn = [score.compute(sums) for sums in _resample(rows, seed, resamples)]
    limits = {}
    for name in drawn[0]:
        values = np.array([values[name] for values in drawn])
        values = values[~np.isnan(values)]
        low, high = np.percentile(values, [2.5, 97.5]) if len(values) else (math.nan, math.nan)
        limits[name] = (float(low), float(high))
    return limits


def _resample(rows: Float[np.ndarray, "items size"], seed: int, resamples: int) -> Iterator[np.ndarray]:
    """Sums over each resample."""
    generator, items = np.random.default_rng(seed), len(rows)
    block = max(1, _BLOCK // items)
    for start in range(0, resamples, block):
        counts = generator.multinomial(items, np.full(items, 1 / items), size=min(block, resamples - start))
        yield from counts.astype(np.float64) @ rows


@dataclass(frozen=True)
class Difference:
    """Second model minus first, in the units of the result.

    Attributes:
        first: Result of the first model.
        second: Of the second.
        low: Lower end of the 95 % interval of the difference.
        high: Its upper end.
        p_value: Two-sided, of the paired bootstrap: how often a resample turns the difference round; NaN where no
            resample has a difference.
        wins: Items on which the second is better.
        losses: Items on which the first is.
        sign_p_value: Two-sided, of the sign test over these.
    """

    first: float
    second: float
    low: float
    high: float
    p_value: float
    wins: int
    losses: int
    sign_p_value: float


def compare_rows(
    score: Score[Any],
    first: Float[np.ndarray, "items size"],
    second: Float[np.ndarray, "items size"],
    *,
    seed: int,
    resamples: int = 1000,
) -> dict[str, Difference]:
    """Compare two models on the same items, by result.

    Args:
        score: What the rows are of.
        first: What each item adds for the first model.
        second: For the second, in the same order.
        seed: The same seed draws the same items.
        resamples: How many.
    """
    both = np.concatenate([first, second], axis=1)
    drawn = [(score.compute(sums[: score.size]), score.compute(sums[score.size :])) for sums in
             _resample(both, seed, resamples)]  # fmt: skip
    whole = score.compute(first.sum(axis=0)), score.compute(second.sum(axis=0))
    single = [(score.compute(a), score.compute(b)) for a, b in zip(first, second, strict=True)]
    results = {}
    for name in whole[0]:
        sign = -1.0 if name in score.lower_is_better else 1.0
        # A resample without anything to divide by, or with infinity on both sides, says nothing either way.
        changes = np.array([b[name] - a[name] for a, b in drawn])
        changes = changes[~np.isnan(changes)]
        gains = np.array([sign * (b[name] - a[name]) for a, b in single])
        wins, losses = int((gains > 0).sum()), int((gains < 0).sum())
        low, high = np.percentile(changes, [2.5, 97.5]) if len(changes) else (math.nan, math.nan)
        results[name] = Difference(
            whole[0][name], whole[1][name], float(low), float(high), _two_sided(changes), wins, losses,
            sign_test(wins, losses),
        )  # fmt: skip
    return results


def _two_sided(changes: Float[np.ndarray, " resamples"]) -> float:
    if not len(changes):
        return math.nan
    # One is added, so that no finite number of resamples says "never" (Davison and Hinkley 1997, section 4.2).
    tail = min((changes <= 0).sum(), (changes >= 0).sum())
    return min(1.0, 2 * (float(tail) + 1) / (len(changes) + 1))


def sign_test(wins: int, losses: int) -> float:
    """Two-sided p-value of so many wins and losses if both were equally likely; draws do not count."""
    total, tail, ways = wins + losses, 0, 1
    for count in range(min(wins, losses) + 1):
        tail += ways
        ways = ways * (total - count) // (count + 1)
    # Exact integers: Python divides them correctly however long they are.
    return float(min(1.0, 2 * tail / (1 << total)))
