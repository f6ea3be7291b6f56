"""Matrices in 8 bits, and products with them through which gradients flow.

    a row       whole numbers from -127 to 127, times one float32 scale: its largest is 127
    forward     W x with W made for the moment, in the type of x; nothing of W is saved for the backward pass
    backward    W^T g with W made again

That saves memory and no time, and works on every device.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

_LARGEST = 127


def round_rows(weight: Float[Tensor, "rows inputs"]) -> tuple[Int[Tensor, "rows inputs"], Float[Tensor, "rows 1"]]:
    """Whole numbers (int8) and scales of a matrix; the error is at most half a scale."""
    whole = weight.detach().float()
    scales = whole.abs().amax(dim=1, keepdim=True).clamp(min=torch.finfo(torch.float32).tiny) / _LARGEST
    return (whole / scales).round().to(torch.int8), scales


def widen_rows(
    numbers: Int[Tensor, "rows inputs"], scales: Float[Tensor, "rows 1"], kind: torch.dtype
) -> Float[Tensor, "rows inputs"]:
    """The matrix that they are, as floating-point numbers of a type."""
    return (numbers.float() * scales).to(kind)


def multiply_rows(
    inputs: Float[Tensor, "*batch inputs"], numbers: Int[Tensor, "rows inputs"], scales: Float[Tensor, "rows 1"]
) -> Float[Tensor, "*batch rows"]:
    """``W x``; the gradient is that of the inputs."""
    outputs: Tensor = _Product.apply(inputs, numbers, scales)  # type: ignore[no-untyped-call]
    return outputs


class _Product(torch.autograd.Function):
    """Saves the rounded numbers, which lie there anyway."""

    @staticmethod
    def forward(ctx: Any, inputs: Tensor, numbers: Tensor, scales: Tensor) -> Tensor:
        """As in torch."""
        ctx.save_for_backward(numbers, scales)
        return F.linear(inputs, widen_rows(numbers, scales, inputs.dtype))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        """As in torch."""
        numbers, scales = ctx.saved_tensors
        (gradient,) = gradients
        return gradient @ widen_rows(numbers, scales, gradient.dtype), None, None
