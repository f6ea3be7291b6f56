"""The part of a block that transforms each position on its own, by its word in ``GPTConfig.mlp``."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.model.config import GPTConfig


class MLP(nn.Module, ABC):
    """Expand, activate, contract.

    In a gated MLP ``expand`` holds two matrices, gate first, because one large product is faster than two.

    Attributes:
        stacked_rows: Rows of the matrices that lie one above the other in a layer, by its name.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        inner = config.inner_size
        self.stacked_rows = {"expand": [inner, inner] if config.is_gated else [inner]}
        self.expand = nn.Linear(config.n_embd, sum(self.stacked_rows["expand"]), bias=config.bias)
        self.contract = nn.Linear(inner, config.n_embd, bias=config.bias)

    def forward(self, hidden: Float[Tensor, "batch time embed"]) -> Float[Tensor, "batch time embed"]:
        """Transform each position on its own."""
        result: Tensor = self.contract(self.activate(self.expand(hidden)))
        return result

    @abstractmethod
    def activate(self, expanded: Float[Tensor, "batch time expanded"]) -> Float[Tensor, "batch time inner"]:
        """The non-linear part."""


class GELU(MLP):
    """GELU in its tanh form (Hendrycks & Gimpel 2016), as in GPT-2."""

    def activate(self, expanded: Float[Tensor, "batch time expanded"]) -> Float[Tensor, "batch time inner"]:
        """As in ``MLP.activate``."""
        if torch.compiler.is_compiling() and expanded.device.type == "cpu":
            # The same function, since (1 + tanh z) / 2 = sigmoid(2 z). The compiler's exp costs a third of its tanh;
            # uncompiled, the one kernel is faster than these five.
            cubic = expanded + 0.044715 * expanded * expanded * expanded
            return expanded * torch.sigmoid(2 * math.sqrt(2 / math.pi) * cubic)
        return F.gelu(expanded, approximate="tanh")


class SquaredReLU(MLP):
    """max(x, 0)^2 (So et al. 2021)."""

    def activate(self, expanded: Float[Tensor, "batch time expanded"]) -> Float[Tensor, "batch time inner"]:
        """As in ``MLP.activate``."""
        return F.relu(expanded).square()


class SwiGLU(MLP):
    """silu(gate) x value (Shazeer 2020), as in Llama and Qwen3."""

    def activate(self, expanded: Float[Tensor, "batch time expanded"]) -> Float[Tensor, "batch time inner"]:
        """As in ``MLP.activate``."""
        gate, value = expanded.chunk(2, dim=-1)
        return F.silu(gate) * value


MLPS: dict[str, type[MLP]] = {"gelu": GELU, "relu2": SquaredReLU, "swiglu": SwiGLU}
