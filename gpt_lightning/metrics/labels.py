"""A choice among labels or answers: accuracy, macro F1, and whether its probabilities can be believed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gpt_lightning.errors import ConfigError
from gpt_lightning.metrics.sums import Score, divide


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
