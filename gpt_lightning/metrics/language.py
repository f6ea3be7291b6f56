"""Loss, perplexity and bits per byte of a language model over a whole data set.

All sums are float64: a float32 sum stops counting at 2^24 tokens, and a bfloat16 one is off in the third digit.
Token weights are honoured, so padding (weight 0) counts nowhere. A metric over nothing is NaN.

Bits per byte compares models with different tokenizers: the nats of all targets that stand for text, divided by
ln 2 and by the UTF-8 bytes of that text. Special tokens have no bytes; their nats are left out as well, or a store of
short documents, each opened by a special token, would look harder than the same text in one document.
"""

from __future__ import annotations

import math

import torch
from jaxtyping import Float, Int, Real
from torch import Tensor

from gpt_lightning.batch import LossOutput
from gpt_lightning.metrics.sums import DoubleSums, to_double


def sum_losses(
    losses: Float[Tensor, "batch time"], weights: Float[Tensor, "batch time"] | None = None
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """What a batch adds to the mean loss: weighted nats and weights, in float64. ``weights`` None = all 1."""
    losses = to_double(losses)
    if weights is None:
        return losses.sum(), losses.new_full((), losses.numel())
    weights = to_double(weights)
    return (losses * weights).sum(), weights.sum()


def sum_losses_and_bytes(
    losses: Float[Tensor, "batch time"],
    weights: Float[Tensor, "batch time"] | None,
    targets: Int[Tensor, "batch time"],
    token_bytes: Real[Tensor, " vocab"],
) -> tuple[Float[Tensor, ""], Float[Tensor, ""]]:
    """What a batch adds to bits per byte: nats of the targets that have bytes, and those bytes, in float64.

    Args:
        losses: Nats of every target.
        weights: Weight of every target; None = all 1.
        targets: Token ids.
        token_bytes: UTF-8 bytes of text behind every id, on average; 0 for special tokens.
    """
    num_bytes = to_double(token_bytes[targets])
    if weights is not None:
        num_bytes = num_bytes * to_double(weights)
    counted = (num_bytes > 0).double()
    nats, _ = sum_losses(losses, counted if weights is None else counted * to_double(weights))
    return nats, num_bytes.sum()


def compute_mean(nats: Float[Tensor, ""], weight: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Mean loss in nats per token; NaN over nothing."""
    return nats / weight


def compute_perplexity(nats: Float[Tensor, ""], weight: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """The exponential of the mean loss; NaN over nothing."""
    return torch.exp(nats / weight)


def compute_bits_per_byte(nats: Float[Tensor, ""], num_bytes: Float[Tensor, ""]) -> Float[Tensor, ""]:
    """Nats / (ln 2 x bytes); NaN over nothing."""
    return nats / (math.log(2) * num_bytes)


class _Ratio(DoubleSums):
    """Two float64 sums that add up over batches and processes."""

    # Read by torchmetrics' own update and sync machinery, declared here for the type checker.
    nats: Tensor
    count: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.add_state("nats", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")
        self.add_state("count", torch.zeros((), dtype=torch.float64), dist_reduce_fx="sum")


class TokenLoss(_Ratio):
    """Mean loss per token in nats; of an objective without losses per position, its mean by weight."""

    higher_is_better = False

    def update(self, output: LossOutput) -> None:
        """Add a batch."""
        if output.losses is None:
            nats, weight = to_double(output.loss.detach()) * to_double(output.weight), to_double(output.weight)
        else:
            nats, weight = sum_losses(output.losses, output.weights)
        self.nats += nats
        self.count += weight

    def compute(self) -> Tensor:
        """The mean over all batches so far."""
        return compute_mean(self.nats, self.count)


class Perplexity(TokenLoss):
    """The exponential of the mean loss per token."""

    def compute(self) -> Tensor:
        """The perplexity over all batches so far."""
        return compute_perplexity(self.nats, self.count)


class PartLoss(_Ratio):
    """Mean of one part that an objective reports beside its loss.

    Args:
        name: Of the part.
    """

    higher_is_better = False

    def __init__(self, name: str) -> None:
        super().__init__()
        self._name = name

    def update(self, output: LossOutput) -> None:
        """Add a batch."""
        weight = to_double(output.part_weights.get(self._name, output.weight))
        self.nats += to_double(output.parts[self._name]) * weight
        self.count += weight

    def compute(self) -> Tensor:
        """The mean over all batches so far."""
        return compute_mean(self.nats, self.count)


class BitsPerByte(_Ratio):
    """Bits needed per UTF-8 byte of text.

    Args:
        token_bytes: UTF-8 bytes of text behind every token id, on average; 0 for special tokens, which are left out.
    """

    higher_is_better = False
    token_bytes: Tensor

    def __init__(self, token_bytes: Real[Tensor, " vocab"]) -> None:
        super().__init__()
        # Not part of a checkpoint: it belongs to the tokenizer.
        self.register_buffer("token_bytes", token_bytes, persistent=False)

    def update(self, output: LossOutput) -> None:
        """Add a batch; ``output.losses`` and ``output.targets`` must be there."""
        assert output.losses is not None, "the objective reports no losses per position"
        assert output.targets is not None, "the objective reports no targets"
        nats, num_bytes = sum_losses_and_bytes(output.losses, output.weights, output.targets, self.token_bytes)
        self.nats += nats
        self.count += num_bytes

    def compute(self) -> Tensor:
        """The ratio over all batches so far."""
        return compute_bits_per_byte(self.nats, self.count)
