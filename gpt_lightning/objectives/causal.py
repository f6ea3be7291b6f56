"""Next-token prediction: position t sees tokens 0..t and predicts token t + 1."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Objective


class CausalLM(Objective):
    """Cross-entropy of the next token in nats, a weighted mean over the positions; computed in float32 or wider."""

    def __call__(self, model: GPT, batch: Batch, generator: torch.Generator | None) -> LossOutput:
        """The loss of one micro-batch; draws nothing from ``generator``."""
        tokens = batch.tokens.long()
        targets = tokens[:, 1:]
        logits = model.logits(model(tokens[:, :-1]))
        if logits.dtype in (torch.bfloat16, torch.float16):
            logits = logits.float()
        losses = F.cross_entropy(logits.flatten(0, 1), targets.flatten(), reduction="none").view(targets.shape)
        loss, weight = average(losses, batch.weights)
        return LossOutput(loss=loss, weight=weight, losses=losses.detach(), weights=batch.weights, targets=targets)


def average(
    losses: Float[Tensor, "batch time"], weights: Float[Tensor, "batch time"] | None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """Weighted mean and sum of the weights (None = all 1); a mean over nothing is 0, with gradient 0."""
    if weights is None:
        return losses.mean(), losses.new_full((), losses.numel())
    weight = weights.sum()
    # Without the clamp a batch that is all padding, the last one of a validation rank, would give 0 / 0.
    return (losses * weights).sum() / weight.clamp_min(torch.finfo(weight.dtype).tiny), weight
