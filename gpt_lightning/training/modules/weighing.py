"""One weighted mean over the whole step: all micro-batches of all processes, however the global batch is split.

    loss of a step = sum(weight x loss over every position) / sum(weight over every position)

A mean of the micro-batches' own means would be another number wherever their weights differ (padding, document masks,
answers among prompts), and would change with the size of the micro-batch. So a micro-batch gives its weighted *sum* to
the backward pass, Lightning and the strategy average those sums over micro-batches and processes, and ``close`` tells
the one factor that makes the weighted mean of it; clipping multiplies it in, without a pass of its own.

Sums are given in units of a micro-batch's positions. A micro-batch in which every position counts once is then handed
on as it is, and its gradient has an ordinary size, which float16 needs.
"""

from __future__ import annotations

import torch
from jaxtyping import Float
from lightning.pytorch.strategies import Strategy
from torch import Tensor

from gpt_lightning.batch import Batch, LossOutput


class StepWeight:
    """Adds up what counts in a step."""

    def __init__(self) -> None:
        self._positions = 0
        self._whole = 0
        self._weight: Tensor | None = None

    def add(self, output: LossOutput, batch: Batch) -> Float[Tensor, ""]:
        """Count a micro-batch; what of it to differentiate.

        Args:
            output: Of the objective.
            batch: Whose loss it is. The first one of a run tells the positions of all: every micro-batch of every
                process has the same shape.
        """
        self._positions = self._positions or batch.tokens.shape[0] * (batch.tokens.shape[1] - 1)
        if output.weights is None and output.losses is not None and output.losses.numel() == self._positions:
            self._whole += 1
            return output.loss
        weight = output.weight if output.weights is None else output.weights
        # Small weights would be lost among the many; Apple's GPUs have nothing wider than float32.
        total = weight.sum(dtype=torch.float32 if weight.device.type == "mps" else torch.float64)
        self._weight = total if self._weight is None else self._weight + total
        # The objective divided by its own sum of the weights, rounded as that is.
        return output.loss * (output.weight / self._positions)

    def close(self, accumulate: int, strategy: Strategy, world: int) -> Float[Tensor, ""] | None:
        """What to multiply the gradients by, once they are averaged; the next micro-batch begins a new step.

        Args:
            accumulate: Micro-batches that each process averaged over.
            strategy: Adds up over the processes, which all call this together.
            world: Number of processes.

        Returns:
            None where every position counts once: the average is the mean already.
        """
        whole, weight = self._whole * self._positions, self._weight
        self._whole, self._weight = 0, None
        if weight is None:
            if world == 1:
                return None
            weight = torch.zeros((), device=strategy.root_device)
        total = weight + whole
        if world > 1:
            reduced = strategy.reduce(total, reduce_op="sum")
            assert isinstance(reduced, Tensor)
            total = reduced
        factor = accumulate * world * self._positions / total
        # Where nothing counts there is no gradient either.
        return torch.where(total > 0, factor, torch.ones_like(factor))
