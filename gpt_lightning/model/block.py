"""One layer of the decoder: attention, then an MLP, each on a normalised copy of the residual stream.

The norm stands before the branch (Radford et al. 2019), so the stream itself runs untouched from the embeddings to
the final norm.
"""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gpt_lightning.model.attention import CausalSelfAttention
from gpt_lightning.model.cache import LayerCache
from gpt_lightning.model.config import GPTConfig


class MLP(nn.Module):
    """Four times as wide inside, with GELU in its tanh form (Hendrycks & Gimpel 2016), as in GPT-2."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.expand = nn.Linear(config.n_embd, 4 * config.n_embd, bias=config.bias)
        self.contract = nn.Linear(4 * config.n_embd, config.n_embd, bias=config.bias)

    def forward(self, hidden: Float[Tensor, "batch time embed"]) -> Float[Tensor, "batch time embed"]:
        """Transform each position on its own."""
        result: Tensor = self.contract(F.gelu(self.expand(hidden), approximate="tanh"))
        return result


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.attention = CausalSelfAttention(config)
        self.mlp_norm = nn.LayerNorm(config.n_embd, bias=config.bias)
        self.mlp = MLP(config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden: Float[Tensor, "batch time embed"],
        cache: LayerCache | None = None,
        mask: Bool[Tensor, "time context"] | None = None,
    ) -> Float[Tensor, "batch time embed"]:
        """Add both branches to the residual stream; ``cache`` and ``mask`` as in ``CausalSelfAttention``."""
        hidden = hidden + self.dropout(self.attention(self.attention_norm(hidden), cache, mask))
        result: Tensor = hidden + self.dropout(self.mlp(self.mlp_norm(hidden)))
        return result
