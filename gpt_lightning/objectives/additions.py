"""Objectives that add a loss of their own to another one, on the hidden states of the same pass of the decoder.

    loss = loss of the base + weight x added loss

The added loss is a sum over positions divided by the positions that the *base* counts, so that it adds up over
micro-batches and processes as the base does. Its own mean is logged as a part. With a weight of 0, or nothing to add,
the base is trained to the bit.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.attention_mask import Sight
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Context, Learner, Needs, Objective, Scheduled
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption, see
from gpt_lightning.objectives.draws import Draws

if TYPE_CHECKING:
    from torchmetrics import Metric

Part = tuple[str, Float[Tensor, "batch _time"], Float[Tensor, "batch _time"]]
"""Name, loss and weight of every position."""


class Addition(Objective):
    """An objective with a further loss beside it.

    Args:
        base: What is learned in the first place.
        weight: Of the added loss.

    Raises:
        ConfigError: ``weight`` is negative.
    """

    def __init__(self, base: Corruption, weight: float) -> None:
        if weight < 0:
            raise ConfigError("objective.weight is negative", got=weight, allowed="0 or more")
        self.base, self.weight = base, weight
        self.chunk_size = base.chunk_size

    def needs(self, config: GPTConfig) -> Needs:
        """What the base needs."""
        return self.base.needs(config)

    def sights(self) -> frozenset[Sight]:
        """Those of the base."""
        return self.base.sights()

    def step_values(self) -> Mapping[str, Scheduled]:
        """Those of the base."""
        return self.base.step_values()

    def measures(self, context: Context) -> dict[str, Metric]:
        """Those of the base, and the added losses."""
        from gpt_lightning.metrics.language import PartLoss

        return {**self.base.measures(context), **{f"part/{name}": PartLoss(name) for name in self._names()}}

    @abstractmethod
    def _names(self) -> list[str]:
        """Of the added losses; none = nothing is added."""

    @abstractmethod
    def _add(self, learner: Learner, corrupted: Corrupted, hidden: Float[Tensor, "batch time embed"]) -> Iterator[Part]:
        """The added losses one after the other; the mean of them counts."""

    def __call__(self, learner: Learner, batch: Batch, draws: Draws) -> LossOutput:
        """The loss of one micro-batch."""
        corrupted = self.base.corrupt(batch, draws, learner.context)
        hidden = see(learner.model, corrupted)
        output = self.base.judge(learner, corrupted, hidden)
        names = self._names()
        if not names:
            return output
        positions = output.weight.clamp_min(torch.finfo(output.weight.dtype).tiny)
        for name, losses, weights in self._add(learner, corrupted, hidden):
            total, count = (losses * weights).sum(), weights.sum()
            output.loss = output.loss + total * (self.weight / len(names)) / positions
            output.parts[name] = total.detach() / count.clamp_min(torch.finfo(count.dtype).tiny)
            output.part_weights[name] = count
        return output
