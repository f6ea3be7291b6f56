"""One layer of the decoder: attention, then an MLP, each on a normalised copy of the residual stream.

The norm stands before the branch (Radford et al. 2019), so the stream itself runs untouched from the embeddings to
the final norm.
"""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.model.attention import CausalSelfAttention
from gpt_lightning.model.attention_mask import AttentionMask
from gpt_lightning.model.cache import LayerCache
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.mlp import MLPS
from gpt_lightning.model.norm import build_norm
from gpt_lightning.model.positions import Rotation


class Block(nn.Module):
    """Pre-norm transformer block."""

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.attention_norm = build_norm(config)
        self.attention = CausalSelfAttention(config)
        self.mlp_norm = build_norm(config)
        self.mlp = MLPS[config.mlp](config)
        self.dropout = nn.Dropout(config.dropout)

    def forward(
        self,
        hidden: Float[Tensor, "batch time embed"],
        cache: LayerCache | None = None,
        mask: AttentionMask | None = None,
        rotation: Rotation | None = None,
        added_values: Float[Tensor, "batch time values"] | None = None,
    ) -> Float[Tensor, "batch time embed"]:
        """Add both branches to the residual stream; the other arguments as in ``CausalSelfAttention``."""
        branch = self.attention(self.attention_norm(hidden), cache, mask, rotation, added_values)
        hidden = hidden + self.dropout(branch)
        result: Tensor = hidden + self.dropout(self.mlp(self.mlp_norm(hidden)))
        return result
