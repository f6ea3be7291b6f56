"""Scores of choices against scikit-learn and torchmetrics."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from sklearn.metrics import accuracy_score, brier_score_loss, f1_score
from torchmetrics.functional.classification import multiclass_calibration_error

from gpt_lightning.errors import ConfigError
from gpt_lightning.metrics.labels import Accuracy, Brier, Calibration, Choice, MacroF1
from gpt_lightning.metrics.scores import Score, measure_all

_NUM_LABELS = 6
_LABELS = [int(n) for n in np.random.default_rng(0).integers(0, 4, 200)]
_CHANCES = np.random.default_rng(1).dirichlet([0.5] * 5, 200)
CHOICES = [Choice((*map(float, row), 0.0), label) for row, label in zip(_CHANCES, _LABELS, strict=True)]
"""Label 4 is predicted and never right, label 5 is neither."""


def measured(score: Score[Choice]) -> float:
    (value,) = score.compute(measure_all(score, CHOICES).sum(axis=0)).values()
    return value


def test_accuracy_and_macro_f1_are_scikit_learns() -> None:
    guesses = [choice.prediction for choice in CHOICES]
    assert measured(Accuracy()) == pytest.approx(100 * accuracy_score(_LABELS, guesses))
    assert measured(MacroF1(_NUM_LABELS)) == pytest.approx(100 * f1_score(_LABELS, guesses, average="macro"))


def test_brier_is_scikit_learns() -> None:
    expected = brier_score_loss(_LABELS, _CHANCES, labels=range(5), scale_by_half=False)
    assert measured(Brier()) == pytest.approx(expected)


@pytest.mark.parametrize("num_bins", [1, 10, 15])
def test_calibration_is_torchmetrics(num_bins: int) -> None:
    chances = torch.tensor([choice.probabilities for choice in CHOICES], dtype=torch.float64)
    expected = multiclass_calibration_error(chances, torch.tensor(_LABELS), _NUM_LABELS, n_bins=num_bins)
    assert measured(Calibration(num_bins)) == pytest.approx(100 * float(expected), rel=1e-6)


def test_certainty_falls_into_the_last_bin() -> None:
    row = Calibration(2).measure(Choice((0.0, 1.0), 1))
    assert row == [0, 1, 0, 1, 0, 1]


def test_equal_chances_choose_the_first() -> None:
    assert Choice((0.5, 0.5), 1).prediction == 0


@pytest.mark.parametrize("kind", [MacroF1, Calibration])
def test_counts_are_positive(kind: type[MacroF1 | Calibration]) -> None:
    with pytest.raises(ConfigError, match="got 0"):
        kind(0)


def test_nothing_measured_is_nan() -> None:
    for score in (Accuracy(), MacroF1(2), Calibration(), Brier()):
        assert all(np.isnan(value) for value in score.compute(np.zeros(score.size)).values())
