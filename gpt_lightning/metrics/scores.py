"""Scores whose statistics add up: what an item adds, and what the sums mean.

Everything measured in evaluation has this form, so that one class serves training (``sums``: a torchmetrics metric,
exact under any split into batches and processes), confidence intervals and paired comparisons (sums over a resample).
Neither torch nor torchmetrics is imported here: the latter takes seconds, for which no evaluation should wait.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Generic, TypeVar

import numpy as np
from jaxtyping import Float

Outcome = TypeVar("Outcome")
"""What came out of one item: an answer, a choice, a likelihood."""


class Score(ABC, Generic[Outcome]):
    """A score of a set of items, from sums over them.

    Attributes:
        size: Numbers that an item adds.
        lower_is_better: Results of which less is more; the one place that knows.
    """

    size: int
    lower_is_better: tuple[str, ...] = ()

    @abstractmethod
    def measure(self, outcome: Outcome) -> Sequence[float]:
        """What an item adds, ``size`` numbers."""

    @abstractmethod
    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """Results by name; NaN over nothing."""

    def describe(self) -> str:
        """How it is computed, where that is not obvious from the name; goes into reports beside the value."""
        return ""


def measure_all(score: Score[Outcome], outcomes: Iterable[Outcome]) -> Float[np.ndarray, "items size"]:
    """What every item adds, one row each."""
    rows = [score.measure(outcome) for outcome in outcomes]
    return np.array(rows, dtype=np.float64).reshape(len(rows), score.size)


def divide(numerator: float, denominator: float) -> float:
    """The quotient; NaN over nothing."""
    return float(numerator) / float(denominator) if denominator else float("nan")
