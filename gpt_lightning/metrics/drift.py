"""Has what comes in changed? Two samples compared by a permutation test, whose rate of false alarms is the one stated.

    compare_counts   how often each class, word, kind ... occurs: a reference against a window
    compare_values   numbers (lengths, confidences): the same, in classes that hold equal shares of both together

Nothing is assumed of the numbers but that the items are exchangeable while nothing changes: then every choice of the
window's items among all of them is as likely as the one that happened, the reference's own luck included. So a stream
raises at most ``rate`` alarms per window on average, however many windows are compared with one reference. A season (of
the day, of the week) is a change: compare with a reference of the same hours. The statistic is Pearson's chi-squared;
its distribution is drawn, not approximated, so small windows and rare classes are right too. Draws that can no longer
change the answer are not made. Several comparisons of one window share its rate: ask each for a part.

Asked and left: libraries for streams. Their detectors state no rate, or another than they have: a textbook CUSUM alarms
on 88 % of stable streams of 1,000 samples (online-ml/river#1914), and p-values of large samples on differences that
nobody minds (SeldonIO/alibi-detect#197), wherefore a comparison says how large the difference is as well.

>>> import numpy as np
>>> calm, shifted = np.array([140, 60]), np.array([100, 100])
>>> [compare_counts(np.array([700, 300]), window, rate=0.001).alarm for window in (calm, shifted)]
[False, True]
>>> round(compare_counts(np.array([700, 300]), shifted, rate=0.001).difference, 2)
0.2
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from gpt_lightning.errors import ConfigError, DataError

_RANK = 10
"""An alarm is one of so many largest values of all draws: more draws, less luck of theirs."""
_BATCHES = (100, 1000)
_CLASSES = 8


@dataclass(frozen=True)
class Comparison:
    """A window against a reference.

    Attributes:
        alarm: Whether they differ by more than luck, at the rate that was asked for.
        difference: Share of the items that would have to be of another class (total variation), 0 to 1.
        p_value: Of the draws that were made: coarse where it is large, and no draw was needed any more.
    """

    alarm: bool
    difference: float
    p_value: float


def compare_counts(
    reference: Int[np.ndarray, " classes"], window: Int[np.ndarray, " classes"], *, rate: float, seed: int = 0
) -> Comparison:
    """Whether the shares of classes in a window are those of a reference.

    Args:
        reference: How often each class occurs there.
        window: The same of the window.
        rate: False alarms per window, above 0 and below 1: 0.001 is one in a thousand windows.
        seed: Of the draws; the same counts and seed always give the same answer.

    Raises:
        ConfigError: ``rate`` is out of range.
        DataError: A count is negative, or one of both is empty.
    """
    if not 0 < rate < 1:
        raise ConfigError("rate is the share of windows with a false alarm", got=rate, allowed="above 0 and below 1")
    size = int(window.sum())
    if min(reference.min(initial=0), window.min(initial=0)) < 0 or not size or not reference.sum():
        raise DataError(
            "There is nothing to compare", got=f"{reference.sum()} and {size} items", allowed="1 or more each"
        )
    pooled = reference + window
    pooled, window, reference = pooled[pooled > 0], window[pooled > 0], reference[pooled > 0]
    difference = float(np.abs(reference / reference.sum() - window / size).sum() / 2)
    expected = pooled * (size / pooled.sum())
    found = _distance(window, expected)
    draws = math.ceil(_RANK / rate) - 1
    # Seeded by what is compared: one stream of numbers for all windows would make their luck the same.
    random = np.random.default_rng([seed, *map(int, reference), *map(int, window)])
    larger = done = 0
    while done < draws and larger < _RANK:
        count = min(_BATCHES[min(done, 1)], draws - done)
        tables = random.multivariate_hypergeometric(pooled, size, size=count, method="marginals")
        # Rounding must not make a table differ from itself.
        larger += int((_distance(tables, expected) >= found * (1 - 1e-9)).sum())
        done += count
    return Comparison(larger < _RANK, difference, (1 + larger) / (1 + done))


def compare_values(
    reference: Float[np.ndarray, " items"], window: Float[np.ndarray, " new"], *, rate: float, seed: int = 0
) -> Comparison:
    """Whether numbers of a window are distributed as those of a reference.

    They are counted in classes that hold equal shares of both samples together, so that the classes know nothing of
    which is which; equal numbers stay in one class.

    Args:
        reference: Its numbers.
        window: Those of the window.
        rate: As of ``compare_counts``.
        seed: Likewise.

    Raises:
        ConfigError: ``rate`` is out of range.
        DataError: A number is not finite, or one of both is empty.
    """
    pooled = np.concatenate([reference, window])
    if not np.isfinite(pooled).all():
        raise DataError("Numbers to compare are not finite", got=int((~np.isfinite(pooled)).sum()), allowed="0 of them")
    borders = np.unique(np.quantile(pooled, np.arange(1, _CLASSES) / _CLASSES)) if len(pooled) else pooled
    places = [np.searchsorted(borders, each, side="left") for each in (reference, window)]
    counts = [np.bincount(each, minlength=len(borders) + 1) for each in places]
    return compare_counts(*counts, rate=rate, seed=seed)


def _distance(
    counts: Int[np.ndarray, "*tables classes"], expected: Float[np.ndarray, " classes"]
) -> Float[np.ndarray, "*tables"]:
    """Pearson's chi-squared, up to a factor that is the same for all tables of these sums."""
    return np.asarray(((counts - expected) ** 2 / expected).sum(axis=-1))
