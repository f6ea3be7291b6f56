"""The product with the head and the cross-entropy of its logits as one operation, for a CPU.

The logits lie class by class. That product is a third faster than the usual one where the number of classes is no
multiple of a vector's width, as GPT-2's 50257, and no number exists twice: the exponentials take the place of the
logits, their gradient takes the place of the exponentials. Torch's cross-entropy, compiled or not, writes two to four
tensors of that size (tests/bench/results/loss_memory.md).
"""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor


class _LinearCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, hidden: Tensor, weight: Tensor, targets: Tensor, num_classes: int) -> Tensor:
        scores = torch.mm(weight[:num_classes], hidden.T)
        wanted = scores.gather(0, targets[None])[0]
        largest = scores.amax(dim=0)
        total = scores.sub_(largest).exp_().sum(dim=0)
        ctx.save_for_backward(hidden, weight, targets, scores, total)
        ctx.num_classes = num_classes
        return total.log() + largest - wanted

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (gradient,) = gradients
        # A second backward pass finds that the scores were written to, and torch refuses it.
        hidden, weight, targets, scores, total = ctx.saved_tensors
        scores.mul_(gradient / total).scatter_add_(0, targets[None], -gradient[None])
        by_hidden = by_weight = None
        if ctx.needs_input_grad[0]:
            by_hidden = torch.mm(scores.T, weight[: ctx.num_classes])
        if ctx.needs_input_grad[1]:
            by_weight = torch.empty_like(weight)
            torch.mm(scores, hidden, out=by_weight[: ctx.num_classes])
            by_weight[ctx.num_classes :] = 0
        return by_hidden, by_weight, None, None


def linear_cross_entropy(
    hidden: Float[Tensor, "positions embed"],
    weight: Float[Tensor, "rows embed"],
    targets: Int[Tensor, " positions"],
    num_classes: int,
) -> Float[Tensor, " positions"]:
    """Cross-entropy in nats of every position: ``log sum_c exp(w_c h) - w_target h``.

    Equal to ``torch.nn.functional.cross_entropy(hidden @ weight[:num_classes].T, targets, reduction="none")`` up to
    rounding. Its gradient can be asked for once only.

    Args:
        hidden: Of the same floating type as ``weight``, at least float32.
        weight: One row per class; rows behind ``num_classes`` are padding and get a gradient of 0.
        targets: The right class of every position; below ``num_classes``.
        num_classes: Classes that exist.
    """
    losses: Tensor = _LinearCrossEntropy.apply(hidden, weight, targets, num_classes)  # type: ignore[no-untyped-call]
    return losses
