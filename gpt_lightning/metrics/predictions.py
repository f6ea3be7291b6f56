"""How well labels and numbers are predicted, over a whole data set: torchmetrics' measures of an objective's items.

    one of several classes   accuracy, f1_macro, auroc and average_precision (each class against the rest, their mean),
                             calibration_error (15 bins of equal width)
    any of several           accuracy (every label for itself), f1_micro, f1_macro, auroc, average_precision,
                             calibration_error
    a number                 pearson, mse

All in float64, which survives a model in bfloat16. A measure over nothing is NaN.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torchmetrics import MeanSquaredError, Metric, PearsonCorrCoef
from torchmetrics.classification import (
    BinaryCalibrationError,
    MulticlassAccuracy,
    MulticlassAUROC,
    MulticlassAveragePrecision,
    MulticlassCalibrationError,
    MulticlassF1Score,
    MultilabelAccuracy,
    MultilabelAUROC,
    MultilabelAveragePrecision,
    MultilabelF1Score,
)

from gpt_lightning.batch import LossOutput
from gpt_lightning.metrics.sums import DoubleSums, to_double

Shape = Callable[[Tensor], Tensor]


class Predicted(DoubleSums):
    """A measure of torchmetrics, fed with an objective's predictions.

    Args:
        measure: Takes values and answers.
        shape: What it takes of the values, ``(items, labels)``; of the answers as well where ``both``.
        both: Whether answers are a number for each label, too.
    """

    def __init__(self, measure: Metric, shape: Shape | None = None, both: bool = False) -> None:
        super().__init__()
        self.measure, self._shape, self._both = measure.set_dtype(torch.float64), shape, both

    def update(self, output: LossOutput) -> None:
        """Add a batch."""
        found = output.predictions
        assert found is not None, "the objective predicts no labels"
        if not found.counted.any():
            return
        values, answers = to_double(found.values[found.counted]), found.answers[found.counted]
        answers = answers.to(values.device)
        answers = answers if answers.is_floating_point() else answers.long()
        if self._shape is not None:
            values, answers = self._shape(values), self._shape(answers) if self._both else answers
        self.measure.update(values, answers)

    def compute(self) -> Tensor:
        """Over all batches so far."""
        if not self.measure.update_called:
            return torch.full((), torch.nan, dtype=torch.float64)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of classes that the split does not have
            value: Tensor = self.measure.compute()
        return value

    def reset(self) -> None:
        """Forget all batches."""
        super().reset()
        self.measure.reset()


def measure_classes(count: int) -> dict[str, Metric]:
    """Of one of so many classes."""
    given: dict[str, Any] = {"num_classes": count, "validate_args": False}
    found: dict[str, Metric] = {
        "accuracy": MulticlassAccuracy(average="micro", **given),
        "f1_macro": MulticlassF1Score(average="macro", **given),
        "auroc": MulticlassAUROC(average="macro", **given),
        "average_precision": MulticlassAveragePrecision(average="macro", **given),
        "calibration_error": MulticlassCalibrationError(n_bins=15, **given),
    }
    return {name: Predicted(measure) for name, measure in found.items()}


def measure_marks(count: int) -> dict[str, Metric]:
    """Of any of so many labels."""
    given: dict[str, Any] = {"num_labels": count, "validate_args": False}
    found: dict[str, Metric] = {
        "accuracy": MultilabelAccuracy(average="micro", **given),
        "f1_micro": MultilabelF1Score(average="micro", **given),
        "f1_macro": MultilabelF1Score(average="macro", **given),
        "auroc": MultilabelAUROC(average="macro", **given),
        "average_precision": MultilabelAveragePrecision(average="macro", **given),
    }
    error = Predicted(BinaryCalibrationError(n_bins=15, validate_args=False), torch.flatten, both=True)
    return {**{name: Predicted(measure) for name, measure in found.items()}, "calibration_error": error}


def measure_numbers() -> dict[str, Metric]:
    """Of one number each."""
    return {
        "pearson": Predicted(PearsonCorrCoef(), _flatten),
        "mse": Predicted(MeanSquaredError(), _flatten),
    }


def _flatten(values: Tensor) -> Tensor:
    return values[:, 0]
