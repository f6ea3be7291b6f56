"""Norms by their word in ``GPTConfig.norm``; the arithmetic is torch's own."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.model.config import GPTConfig


class Norm(nn.Module):
    """Brings every position of the stream to one scale.

    Attributes:
        weight: Learned scale of every channel.
        bias: Learned shift of every channel; only there in a layer norm with biases.
    """

    weight: nn.Parameter
    bias: nn.Parameter


class LayerNorm(nn.LayerNorm, Norm):
    """(x - mean) / sqrt(variance + eps), scaled and shifted (Ba et al. 2016)."""


class RMSNorm(nn.RMSNorm, Norm):
    """x / sqrt(mean square + eps), scaled (Zhang & Sennrich 2019); computed in the type of its weights or wider."""

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Normalise over the last axis."""
        # Autocast hands heads over in bfloat16 and leaves the weights in float32: torch would warn, and round.
        return super().forward(hidden.to(torch.promote_types(hidden.dtype, self.weight.dtype)))


NORMS: dict[str, Callable[[GPTConfig], Norm]] = {
    "layer": lambda config: LayerNorm(config.n_embd, eps=config.norm_eps, bias=config.bias),
    "rms": lambda config: RMSNorm(config.n_embd, eps=config.norm_eps),
}


def build_norm(config: GPTConfig) -> Norm:
    """A norm over the residual stream."""
    return NORMS[config.norm](config)
