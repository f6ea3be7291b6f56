"""Scores whose statistics add up: what an item adds, and what the sums mean.

Everything measured in evaluation has this form, which is why one class serves training (a torchmetrics metric, exact
under any split into batches and processes), confidence intervals and paired comparisons (sums over a resample).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn
from torchmetrics import Metric

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


def to_double(tensor: Tensor) -> Tensor:
    """In float64; on the CPU where its device has no such numbers, as Apple's GPUs have none."""
    return (tensor.cpu() if tensor.device.type == "mps" else tensor).double()


class DoubleSums(Metric):
    """A torchmetrics metric whose float64 states stay float64 whatever the model becomes, see ``to_double``."""

    is_differentiable = False
    full_state_update = False

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = "") -> nn.Module:
        # Follow the model to another device, never to another type. torchmetrics guards .half() and .bfloat16(), but
        # not .to(torch.bfloat16), which is what training in pure bfloat16 calls.
        def follow(tensor: Tensor) -> Tensor:
            device = fn(torch.empty(0)).device
            return tensor.to("cpu" if device.type == "mps" else device)

        return super()._apply(follow, exclude_state)


class SummedScore(DoubleSums):
    """A score as a torchmetrics metric.

    Args:
        score: What is measured.
    """

    sums: Tensor

    def __init__(self, score: Score[Any]) -> None:
        super().__init__()
        self.score = score
        self.add_state("sums", torch.zeros(score.size, dtype=torch.float64), dist_reduce_fx="sum")

    def update(self, outcomes: Iterable[Any]) -> None:
        """Add some items."""
        for outcome in outcomes:
            self.sums += torch.tensor(self.score.measure(outcome), dtype=torch.float64, device=self.sums.device)

    def compute(self) -> dict[str, Tensor]:
        """The results over all items so far, float64."""
        values = self.score.compute(self.sums.cpu().numpy())
        return {name: torch.tensor(value, dtype=torch.float64) for name, value in values.items()}


def measure_all(score: Score[Outcome], outcomes: Iterable[Outcome]) -> Float[np.ndarray, "items size"]:
    """What every item adds, one row each."""
    rows = [score.measure(outcome) for outcome in outcomes]
    return np.array(rows, dtype=np.float64).reshape(len(rows), score.size)


def divide(numerator: float, denominator: float) -> float:
    """The quotient; NaN over nothing."""
    return float(numerator) / float(denominator) if denominator else float("nan")
