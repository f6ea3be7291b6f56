"""Next-token prediction: position t sees tokens 0..t and predicts token t + 1."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Objective
from gpt_lightning.objectives.losses import compute_losses


class CausalLM(Objective):
    """Cross-entropy of the next token in nats, a weighted mean over the positions; computed in float32 or wider.

    With ``batch.documents``, attention stays inside documents. Which positions count at their borders is said by
    ``batch.weights``, since only the data know where a document ends; without weights, none does.

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
        self._chunk_size = chunk_size

    def __call__(self, model: GPT, batch: Batch, generator: torch.Generator | None) -> LossOutput:
        """The loss of one micro-batch; draws nothing from ``generator``."""
        tokens = batch.tokens.long()
        targets = tokens[:, 1:]
        if batch.documents is None:
            hidden, weights = model(tokens[:, :-1]), batch.weights
        else:
            hidden = model(tokens[:, :-1], documents=batch.documents[:, :-1])
            weights = leave_out_borders(batch.documents) if batch.weights is None else batch.weights
        losses = compute_losses(model, hidden, targets, self._chunk_size)
        loss, weight = average(losses, weights)
        return LossOutput(loss=loss, weight=weight, losses=losses.detach(), weights=weights, targets=targets)


def leave_out_borders(documents: Int[Tensor, "batch time_plus_1"]) -> Float[Tensor, "batch time"]:
    """Weights in which a position does not count whose target is the first token of another document.

    Nothing that the position sees says which document that is; the loss is then that of each document on its own.

    Args:
        documents: Document number of every token.
    """
    return (documents[:, 1:] == documents[:, :-1]).to(torch.float32)


def average(
    losses: Float[Tensor, "batch time"], weights: Float[Tensor, "batch time"] | None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Weighted mean and sum of the weights (None = all 1); a mean over nothing is 0, with gradient 0."""
    if weights is None:
        return losses.mean(), losses.new_full((), losses.numel())
    weight = weights.sum()
    # Without the clamp a batch that is all padding, the last one of a validation rank, would give 0 / 0.
    return (losses * weights).sum() / weight.clamp_min(torch.finfo(weight.dtype).tiny), weight
