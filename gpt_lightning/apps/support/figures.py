"""What is measured: how often the nearest answer is the right one, and what handing off costs and saves."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gpt_lightning.apps.support.matching import Matcher
from gpt_lightning.apps.support.records import Asked
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, digest
from gpt_lightning.metrics.labels import Choice
from gpt_lightning.reports.charts import LineChart, Series

MOST_NEEDLESS = 0.1
"""Share of needless hand-offs at which two ways are compared."""
_SHARES = tuple(share / 100 for share in (0, 1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30))
_KEPT = 5
"""Of an item's probabilities the file of the evaluation keeps so many, and that of the right answer."""


@dataclass(frozen=True)
class HandOffs:
    """How sure somebody is of questions that have an answer, and of those that have none.

    Attributes:
        name: Who it is.
        inside: The largest probability of each question that has an answer.
        outside: The same of each that has none.
    """

    name: str
    inside: Float[np.ndarray, " questions"]
    outside: Float[np.ndarray, " others"]

    def caught(self, needless: float) -> float:
        """Share of the questions without an answer that is handed off where at most that share of the others is.

        Args:
            needless: 0 to 1.
        """
        return float((self.outside < find_threshold(self.inside, needless)).mean())


def find_threshold(sure: Float[np.ndarray, " questions"], needless: float) -> float:
    """The largest probability below which at most that share of the questions lies.

    >>> find_threshold(np.array([0.9, 0.1, 0.5, 0.8]), 0.25)
    0.5
    """
    return float(np.sort(sure)[min(int(needless * len(sure)), len(sure) - 1)])


def measure_handoffs(name: str, matcher: Matcher, asked: Sequence[Asked]) -> HandOffs:
    """What a matcher says of questions with and without an answer."""
    sure = matcher.match([each.text for each in asked]).max(axis=1)
    has_answer = np.array([each.entry is not None for each in asked])
    return HandOffs(name, sure[has_answer], sure[~has_answer])


def evaluate(name: str, matcher: Matcher, asked: Sequence[Asked]) -> Evaluation:
    """Whether the likeliest answer is the right one, of the questions that have one."""
    known = [(each.text, each.entry) for each in asked if each.entry is not None]
    found = matcher.match([text for text, _ in known])
    items = [
        Item(text[:60], digest(text), {"": _shorten(row, right)})
        for (text, right), row in zip(known, found, strict=True)
    ]
    return Evaluation("support", name, {}, [Measure("Accuracy"), Measure("Calibration")], items)


def _shorten(probabilities: Float[np.ndarray, " entries"], right: int) -> Choice:
    """The largest probabilities and that of the right answer, as of entries in their order."""
    largest = np.argsort(-probabilities, kind="stable")[:_KEPT]
    kept = sorted({*largest.tolist(), right})
    return Choice(tuple(round(float(probabilities[each]), 6) for each in kept), kept.index(right))


def draw_curve(found: Sequence[HandOffs]) -> LineChart:
    """Hand-offs that were needed by those that were not, for every threshold."""
    percent = [100 * share for share in _SHARES]
    series = [Series(each.name, percent, [100 * each.caught(share) for share in _SHARES], dots=True) for each in found]
    return LineChart(
        series,
        "Needed hand-offs by needless ones",
        "% of the questions that have an answer",
        "% of those that have none",
        y_limits=(0.0, 100.0),
    )
