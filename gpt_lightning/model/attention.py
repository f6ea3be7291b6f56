"""Causal self-attention over many heads (Vaswani et al. 2017), computed by PyTorch's fused kernel."""

from __future__ import annotations

import torch.nn.functional as F
from jaxtyping import Bool, Float
from torch import Tensor, nn

from gpt_lightning.model.cache import LayerCache
from gpt_lightning.model.config import GPTConfig


class CausalSelfAttention(nn.Module):
    """Every position attends to itself and to the positions before it.

    Queries, keys and values come from one matrix, rows in this order: one large product is faster than three.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.n_head = config.n_head
        self.dropout = config.dropout
        self.query_key_value = nn.Linear(config.n_embd, 3 * config.n_embd, bias=config.bias)
        self.output = nn.Linear(config.n_embd, config.n_embd, bias=config.bias)

    def forward(
        self,
        hidden: Float[Tensor, "batch time embed"],
        cache: LayerCache | None = None,
        mask: Bool[Tensor, "time context"] | None = None,
    ) -> Float[Tensor, "batch time embed"]:
        """Mix the positions of each row.

        Args:
            hidden: Normalised residual stream of the new positions.
            cache: Keys and values of earlier positions; the new ones are appended.
            mask: True where a new position may look; needed only for several new positions behind a filled cache.
                Without it the triangle is the kernel's own, which is faster than any mask.
        """
        batch, time, embed = hidden.shape
        queries, keys, values = (
            part.view(batch, time, self.n_head, embed // self.n_head).transpose(1, 2)  # B H T D
            for part in self.query_key_value(hidden).split(embed, dim=-1)
        )
        if cache is not None:
            keys, values = cache.extend(keys, values)
        mixed = F.scaled_dot_product_attention(
            queries,
            keys,
            values,
            attn_mask=mask,
            dropout_p=self.dropout if self.training else 0.0,
            # The kernel's triangle starts at the upper left corner: right for a square, wrong for one new row.
            is_causal=mask is None and time > 1,
        )
        result: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, time, embed))
        return result
