"""What the numbers of a head mean: probabilities of labels, or a value; how they are calibrated and written down."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int, Real
from torch import Tensor

from gpt_lightning.metrics.labels import Choice, Estimate, Marks

_HOTTEST, _TURNS = 20.0, 80
"""Largest temperature, whose inverse is the smallest; halvings of the interval (each to 0.618)."""


@dataclass(frozen=True)
class Calibration:
    """What was found on validation to make probabilities believable and decisions good.

    Attributes:
        temperature: What outputs are divided by before they become probabilities (Guo et al. 2017).
        thresholds: Probability from which each label holds, where any number of them can; () = one half.
    """

    temperature: float = 1.0
    thresholds: tuple[float, ...] = ()


class Readout(ABC):
    """A way to read outputs."""

    @abstractmethod
    def read(self, outputs: Float[Tensor, "*items labels"], temperature: float = 1.0) -> Float[Tensor, "*items labels"]:
        """Probabilities, or a value."""

    @abstractmethod
    def describe(self, values: Sequence[float], labels: Sequence[str], calibration: Calibration) -> dict[str, Any]:
        """What is said of one item, for people and programs: plain data."""

    @abstractmethod
    def describe_answer(self, answer: Any, labels: Sequence[str]) -> Any:
        """What a column of the store knows of one item, in the same words."""

    @abstractmethod
    def judge(self, values: Sequence[float], answer: Any, calibration: Calibration) -> Choice | Marks | Estimate:
        """What was said of one item beside what is known, for ``metrics.labels``."""

    def calibrate(self, outputs: Float[Tensor, "items labels"], answers: Real[Tensor, "items ..."]) -> Calibration:
        """The calibration that fits known answers best; without probabilities there is nothing to calibrate."""
        return Calibration()


class OneLabel(Readout):
    """One of the labels: a softmax."""

    def read(self, outputs: Float[Tensor, "*items labels"], temperature: float = 1.0) -> Float[Tensor, "*items labels"]:
        """Probabilities that add up to 1."""
        return (outputs / temperature).softmax(dim=-1)

    def describe(self, values: Sequence[float], labels: Sequence[str], calibration: Calibration) -> dict[str, Any]:
        """The likeliest label, and the probability of each."""
        best = max(range(len(labels)), key=values.__getitem__)
        return {"label": labels[best], "probabilities": _name(values, labels)}

    def describe_answer(self, answer: Any, labels: Sequence[str]) -> Any:
        """Its name."""
        return labels[int(answer)]

    def judge(self, values: Sequence[float], answer: Any, calibration: Calibration) -> Choice:
        """A choice."""
        return Choice(tuple(values), int(answer))

    def calibrate(self, outputs: Float[Tensor, "items labels"], answers: Int[Tensor, " items"]) -> Calibration:
        """The temperature with the least cross-entropy."""
        outputs, answers = outputs.double(), answers.long()
        return Calibration(_find_temperature(lambda t: float(F.cross_entropy(outputs / t, answers))))


class AnyLabels(Readout):
    """Each label for itself: a sigmoid."""

    def read(self, outputs: Float[Tensor, "*items labels"], temperature: float = 1.0) -> Float[Tensor, "*items labels"]:
        """A probability of each."""
        return (outputs / temperature).sigmoid()

    def describe(self, values: Sequence[float], labels: Sequence[str], calibration: Calibration) -> dict[str, Any]:
        """The labels that hold, and the probability of each."""
        holds = zip(labels, _decide(values, calibration), strict=True)
        return {"labels": [name for name, decided in holds if decided], "probabilities": _name(values, labels)}

    def describe_answer(self, answer: Any, labels: Sequence[str]) -> Any:
        """The names of those that hold."""
        return [name for name, mark in zip(labels, answer, strict=True) if mark]

    def judge(self, values: Sequence[float], answer: Any, calibration: Calibration) -> Marks:
        """Marks."""
        return Marks(tuple(values), _decide(values, calibration), tuple(map(bool, answer)))

    def calibrate(self, outputs: Float[Tensor, "items labels"], answers: Int[Tensor, "items labels"]) -> Calibration:
        """The temperature with the least cross-entropy, and for each label the threshold with the best F1."""
        outputs, targets = outputs.double(), answers.double()
        temperature = _find_temperature(lambda t: float(F.binary_cross_entropy_with_logits(outputs / t, targets)))
        columns = zip(self.read(outputs, temperature).T, answers.long().T, strict=True)
        return Calibration(temperature, tuple(_find_threshold(values, marks) for values, marks in columns))


class Number(Readout):
    """A value as it is."""

    def read(self, outputs: Float[Tensor, "*items labels"], temperature: float = 1.0) -> Float[Tensor, "*items labels"]:
        """The same."""
        return outputs

    def describe(self, values: Sequence[float], labels: Sequence[str], calibration: Calibration) -> dict[str, Any]:
        """The value."""
        return {"value": values[0]}

    def describe_answer(self, answer: Any, labels: Sequence[str]) -> Any:
        """It."""
        return float(answer)

    def judge(self, values: Sequence[float], answer: Any, calibration: Calibration) -> Estimate:
        """An estimate."""
        return Estimate(values[0], float(answer))


def _decide(values: Sequence[float], calibration: Calibration) -> tuple[bool, ...]:
    """Which labels hold."""
    thresholds = calibration.thresholds or [0.5] * len(values)
    return tuple(value >= least for value, least in zip(values, thresholds, strict=True))


def _name(values: Sequence[float], labels: Sequence[str]) -> dict[str, float]:
    return {name: round(value, 6) for name, value in zip(labels, values, strict=True)}


def _find_temperature(loss: Callable[[float], float]) -> float:
    """Where a loss of the temperature is least, by golden sections of its logarithm; it has one valley."""
    low, high, share = -math.log(_HOTTEST), math.log(_HOTTEST), (math.sqrt(5) - 1) / 2
    for _ in range(_TURNS):
        left, right = high - share * (high - low), low + share * (high - low)
        if loss(math.exp(left)) <= loss(math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2)


def _find_threshold(values: Float[Tensor, " items"], marks: Int[Tensor, " items"]) -> float:
    """The probability from which F1 is best; halfway to the next lower one, so that rounding decides nothing."""
    ordered, order = values.sort(descending=True)
    hits = marks[order].cumsum(dim=0)
    chosen = torch.arange(1, len(values) + 1, dtype=torch.float64)
    scores = 2 * hits / (chosen + marks.sum())
    # Equal probabilities are on one side together.
    scores[:-1][ordered[:-1] == ordered[1:]] = -1.0
    best = int(scores.argmax())
    if not hits[-1]:
        return 0.5
    below = float(ordered[best + 1]) if best + 1 < len(ordered) else 0.0
    return (float(ordered[best]) + below) / 2
