"""Causal self-attention over many heads (Vaswani et al. 2017), computed by PyTorch's fused kernels."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.model.attention_mask import AttentionMask, CausalMask
from gpt_lightning.model.cache import LayerCache
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.norm import RMSNorm
from gpt_lightning.model.positions import Rotation, rotate


class CausalSelfAttention(nn.Module):
    """Every position attends to itself and to the positions before it.

    Queries, keys and values come from one matrix, rows in this order: one large product is faster than three.
    """

    def __init__(self, config: GPTConfig) -> None:
        super().__init__()
        self.head_size, self.dropout = config.head_size, config.dropout
        self.widths = [config.query_size, *2 * [config.key_value_heads * config.head_size]]
        self.query_key_value = nn.Linear(config.n_embd, sum(self.widths), bias=config.bias)
        self.query_norm = RMSNorm(config.head_size, eps=config.norm_eps) if config.qk_norm else None
        self.key_norm = RMSNorm(config.head_size, eps=config.norm_eps) if config.qk_norm else None
        self.output = nn.Linear(config.query_size, config.n_embd, bias=config.bias)

    @property
    def stacked_rows(self) -> dict[str, list[int]]:
        """Rows of the matrices that lie one above the other in a layer, by its name."""
        return {"query_key_value": self.widths}

    def forward(
        self,
        hidden: Float[Tensor, "batch time embed"],
        cache: LayerCache | None = None,
        mask: AttentionMask | None = None,
        rotation: Rotation | None = None,
        added_values: Float[Tensor, "batch time values"] | None = None,
    ) -> Float[Tensor, "batch time embed"]:
        """Mix the positions of each row.

        Args:
            hidden: Normalised residual stream of the new positions.
            cache: Keys and values of earlier positions; the new ones are appended.
            mask: What each new position sees; None = everything before it.
            rotation: Rotary angles of the new positions; None = queries and keys know no position.
            added_values: Added to the values, all heads side by side.
        """
        batch, time, _ = hidden.shape
        queries, keys, values = self.query_key_value(hidden).split(self.widths, dim=-1)
        if added_values is not None:
            values = values + added_values
        queries, keys, values = (
            part.view(batch, time, -1, self.head_size).transpose(1, 2)  # B H T D
            for part in (queries, keys, values)
        )
        if self.query_norm is not None and self.key_norm is not None:
            queries, keys = self.query_norm(queries), self.key_norm(keys)
        if rotation is not None:
            queries, keys = rotate(queries, rotation), rotate(keys, rotation)
        # Norms and rotations may have widened them; the kernels and the cache want one type.
        queries, keys = queries.to(values.dtype), keys.to(values.dtype)
        if cache is not None:
            keys, values = cache.extend(keys, values)
        mixed = (mask or CausalMask()).attend(queries, keys, values, self.dropout if self.training else 0.0)
        result: Tensor = self.output(mixed.transpose(1, 2).reshape(batch, time, -1))
        return result
