"""Sums in float64 as torchmetrics metrics: of scores (``scores``), and what those of ``language`` are made of."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torchmetrics import Metric

from gpt_lightning.metrics.scores import Score


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
