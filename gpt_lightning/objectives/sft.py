"""Supervised fine-tuning: next-token prediction of which the answers alone count."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.data.store.columns import MARKS
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Context, Needs
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption, count_targets
from gpt_lightning.objectives.draws import Draws

if TYPE_CHECKING:
    from torchmetrics import Metric


class SFT(Corruption):
    """Cross-entropy in nats of the marked tokens: the model's own words, and the end of each of its turns.

    The model reads the whole conversation; what somebody else says has no weight. The mean is over all marked tokens of
    a step, so a long answer counts for more than a short one, and the result does not depend on how the global batch is
    split into micro-batches.

    Args:
        chunk_size: As in ``CausalLM``.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        super().__init__(chunk_size)
        self._causal = CausalLM()

    def needs(self, config: GPTConfig) -> Needs:
        """The column ``marks`` of a layout of conversations."""
        return Needs(columns=(MARKS,))

    def corrupt(self, batch: Batch, draws: Draws, context: Context) -> Corrupted:
        """The conversation as it is, with the marks as weights; draws nothing."""
        return replace(self._causal.corrupt(batch, draws, context), weights=weigh_marks(batch))

    def restore(self, corrupted: Corrupted, context: Context) -> Batch:
        """As of ``CausalLM``."""
        return self._causal.restore(corrupted, context)

    def measures(self, context: Context) -> dict[str, Metric]:
        """The loss of the answers, and its exponential."""
        from gpt_lightning.metrics.language import Perplexity, TokenLoss

        return {"loss": TokenLoss(), "perplexity": Perplexity()}


def weigh_marks(batch: Batch) -> Float[Tensor, "batch time"]:
    """Weight of every token but the first as a target: the batch's own where it is marked, else 0."""
    marks, counted = batch.columns[MARKS][:, 1:], count_targets(batch)
    return marks.to(torch.float32) if counted is None else counted * marks
