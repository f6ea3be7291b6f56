"""``Corruption``: what the model sees of a batch and what it has to say about it; the loss is the same for all."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.attention_mask import Opens
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context, Learner, Objective
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.objectives.losses import compute_losses


@dataclass(frozen=True)
class Corrupted:
    """Rows as the model gets them; ``time`` is that of the batch, and ``Needs.room`` more.

    Attributes:
        tokens: What it sees.
        targets: What every position has to predict.
        weights: Of every position, 0 = has nothing to predict; None = all 1.
        documents: Document number of every position; None = each row is one.
        opens: Positions that everybody of their document sees, also those before them; False = causal.
        unseen: First tokens of the windows where the model neither sees nor predicts them; for ``restore`` alone.
    """

    tokens: Int[Tensor, "batch time"]
    targets: Int[Tensor, "batch time"]
    weights: Float[Tensor, "batch time"] | None = None
    documents: Int[Tensor, "batch time"] | None = None
    opens: Opens = False
    unseen: Int[Tensor, "batch rest"] | None = None


class Corruption(Objective):
    """An objective that predicts tokens of a changed batch; the loss is cross-entropy in nats.

    Args:
        chunk_size: Positions (of all rows together) whose logits exist at a time; they are computed a second time in
            the backward pass. Saves most of the memory of a large vocabulary for about a third more work in the head.
            None = all logits at once.

    Raises:
        ConfigError: ``chunk_size`` is not positive.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        if chunk_size is not None and chunk_size < 1:
            raise ConfigError("objective.chunk_size is not positive", got=chunk_size, allowed="1 or more, or null")
        self.chunk_size = chunk_size

    @abstractmethod
    def corrupt(self, batch: Batch, draws: Draws, context: Context) -> Corrupted:
        """What the model sees of ``batch``; each row depends on itself and its draws alone."""

    @abstractmethod
    def restore(self, corrupted: Corrupted, context: Context) -> Batch:
        """The tokens (and documents, where there are any) that ``corrupted`` came from, from what it holds."""

    def __call__(self, learner: Learner, batch: Batch, draws: Draws) -> LossOutput:
        """The loss of one micro-batch."""
        corrupted = self.corrupt(batch, draws, learner.context)
        return self.judge(learner, corrupted, see(learner.model, corrupted))

    def judge(self, learner: Learner, corrupted: Corrupted, hidden: Float[Tensor, "batch time embed"]) -> LossOutput:
        """The loss of hidden states: a weighted mean over the positions, in float32 or wider."""
        weights = corrupted.weights
        losses = compute_losses(learner.model, hidden, corrupted.targets, self.chunk_size)
        loss, weight = average(losses, weights)
        return LossOutput(loss=loss, weight=weight, losses=losses.detach(), weights=weights, targets=corrupted.targets)


def see(model: GPT, corrupted: Corrupted) -> Float[Tensor, "batch time embed"]:
    """A decoder's hidden states of corrupted rows."""
    hidden: Tensor = model(corrupted.tokens, documents=corrupted.documents, opens=corrupted.opens)
    return hidden


def average(
    losses: Float[Tensor, "batch time"], weights: Float[Tensor, "batch time"] | None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Weighted mean and sum of the weights (None = all 1); a mean over nothing is 0, with gradient 0."""
    if weights is None:
        return losses.mean(), losses.new_full((), losses.numel())
    weight = weights.sum()
    # Without the clamp a batch that is all padding, the last one of a validation rank, would give 0 / 0.
    return (losses * weights).sum() / weight.clamp_min(torch.finfo(weight.dtype).tiny), weight


def count_targets(batch: Batch) -> Float[Tensor, "batch time"] | None:
    """Weight of every token but the first as a target: the batch's own, or none at the borders of documents.

    Nothing that a causal position sees says which document the next one is. None = all 1.
    """
    documents = batch.documents
    if batch.weights is not None or documents is None:
        return batch.weights
    return (documents[:, 1:] == documents[:, :-1]).to(torch.float32)
