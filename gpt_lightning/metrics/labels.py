"""A choice among labels or answers, any of several labels, or a number: how right, and whether it can be believed."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gpt_lightning.errors import ConfigError
from gpt_lightning.metrics.scores import Score, divide


@dataclass(frozen=True)
class Choice:
    """Probabilities of all labels of an item, which add up to 1, and the number of the right one."""

    probabilities: tuple[float, ...]
    label: int

    @property
    def prediction(self) -> int:
        """The likeliest label; of equal ones the first."""
        return max(range(len(self.probabilities)), key=self.probabilities.__getitem__)


class Accuracy(Score[Choice]):
    """Share of items whose likeliest label is the right one, in percent."""

    size = 2

    def measure(self, outcome: Choice) -> Sequence[float]:
        """1 for a right one; 1."""
        return [float(outcome.prediction == outcome.label), 1.0]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``accuracy``."""
        return {"accuracy": 100 * divide(sums[0], sums[1])}


class MacroF1(Score[Choice]):
    """Mean over labels of F1 in percent; labels that are neither right nor predicted anywhere are left out.

    Args:
        num_labels: The same labels for every item.
    """

    def __init__(self, num_labels: int) -> None:
        if num_labels < 1:
            raise ConfigError("num_labels counts labels", got=num_labels, allowed="1 or more")
        self._num_labels, self.size = num_labels, 3 * num_labels

    def measure(self, outcome: Choice) -> Sequence[float]:
        """Hits, predictions and right labels, by label."""
        row = [0.0] * self.size
        count, prediction, label = self._num_labels, outcome.prediction, outcome.label
        row[label] = float(prediction == label)
        row[count + prediction] = 1.0
        row[2 * count + label] = 1.0
        return row

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``macro_f1``."""
        hits, predicted, right = sums.reshape(3, -1)
        seen = predicted + right > 0
        return {"macro_f1": 100 * divide((2 * hits[seen] / (predicted + right)[seen]).sum(), float(seen.sum()))}


class Calibration(Score[Choice]):
    """Expected calibration error (percent) of the likeliest label, in bins of equal width (Guo et al. 2017).

    Args:
        num_bins: Bins of confidence between 0 and 1.
    """

    lower_is_better = ("calibration_error",)

    def __init__(self, num_bins: int = 15) -> None:
        if num_bins < 1:
            raise ConfigError("num_bins counts bins", got=num_bins, allowed="1 or more")
        self._num_bins, self.size = num_bins, 3 * num_bins

    def measure(self, outcome: Choice) -> Sequence[float]:
        """Confidence, hits and items, by bin."""
        row = [0.0] * self.size
        prediction = outcome.prediction
        confidence = outcome.probabilities[prediction]
        place = min(int(confidence * self._num_bins), self._num_bins - 1)
        values = (confidence, float(prediction == outcome.label), 1.0)
        for kind, value in enumerate(values):
            row[kind * self._num_bins + place] = value
        return row

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``calibration_error``."""
        confidence, hits, _ = bins = self.divide_bins(sums)
        return {"calibration_error": 100 * divide(np.abs(hits - confidence).sum(), float(bins[2].sum()))}

    def divide_bins(self, sums: Float[np.ndarray, " size"]) -> Float[np.ndarray, "3 bins"]:
        """Sums of confidence and hits, and items, by bin: a reliability diagram."""
        return sums.reshape(3, self._num_bins)


class Brier(Score[Choice]):
    """Mean over items of the squared distance between probabilities and the right answer: 0 to 2 (Brier 1950)."""

    size = 2
    lower_is_better = ("brier",)

    def measure(self, outcome: Choice) -> Sequence[float]:
        """Squared distance; 1."""
        chosen = enumerate(outcome.probabilities)
        return [sum((value - float(index == outcome.label)) ** 2 for index, value in chosen), 1.0]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``brier``."""
        return {"brier": divide(sums[0], sums[1])}


@dataclass(frozen=True)
class Marks:
    """Any of several labels of an item: a probability of each, which were decided for, and which hold."""

    probabilities: tuple[float, ...]
    decisions: tuple[bool, ...]
    marks: tuple[bool, ...]


class MarksF1(Score[Marks]):
    """F1 in percent: of all labels together, and its mean over those that hold or are decided for anywhere.

    Args:
        num_labels: The same for every item.
    """

    def __init__(self, num_labels: int) -> None:
        self.size = 3 * num_labels

    def measure(self, outcome: Marks) -> Sequence[float]:
        """Hits, decisions and right labels, by label."""
        pairs = zip(outcome.decisions, outcome.marks, strict=True)
        hits = [float(decided and holds) for decided, holds in pairs]
        return [*hits, *map(float, outcome.decisions), *map(float, outcome.marks)]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``micro_f1`` and ``macro_f1``."""
        hits, decided, right = sums.reshape(3, -1)
        seen = decided + right > 0
        micro = divide(2 * hits.sum(), (decided + right).sum())
        macro = divide((2 * hits[seen] / (decided + right)[seen]).sum(), float(seen.sum()))
        return {"micro_f1": 100 * micro, "macro_f1": 100 * macro}


class MarksCalibration(Calibration):
    """Expected calibration error (percent) of every label's probability, in bins of equal width."""

    def measure(self, outcome: Marks) -> Sequence[float]:  # type: ignore[override]
        """Probabilities, hits and labels, by bin."""
        pairs = zip(outcome.probabilities, outcome.marks, strict=True)
        yes = [Choice((1 - value, value), int(holds)) for value, holds in pairs]
        return [sum(column) for column in zip(*map(super().measure, yes), strict=True)]


@dataclass(frozen=True)
class Estimate:
    """A number that was predicted, and the right one."""

    value: float
    answer: float


class Pearson(Score[Estimate]):
    """Correlation of predicted and right numbers, -1 to 1."""

    size = 6

    def measure(self, outcome: Estimate) -> Sequence[float]:
        """Items, both numbers, their squares and their product."""
        value, answer = outcome.value, outcome.answer
        return [1.0, value, answer, value * value, answer * answer, value * answer]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``pearson``."""
        count, value, answer, values, answers, products = sums.tolist()
        spread = (count * values - value * value) * (count * answers - answer * answer)
        return {"pearson": divide(count * products - value * answer, math.sqrt(max(spread, 0.0)))}


class SquaredError(Score[Estimate]):
    """Mean squared error of predicted numbers."""

    size = 2
    lower_is_better = ("mse",)

    def measure(self, outcome: Estimate) -> Sequence[float]:
        """Squared error; 1."""
        return [(outcome.value - outcome.answer) ** 2, 1.0]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``mse``."""
        return {"mse": divide(sums[0], sums[1])}
