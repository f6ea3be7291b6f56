"""A beginning that many sequences share, encoded once."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gpt_lightning.model.cache import KeyValueCache, LayerCache
from gpt_lightning.model.gpt import GPT


class _PrefixLayer(LayerCache):
    """Keys and values of the prefix, put before those of every row of a batch; not changed by that."""

    def __init__(self, capacity: int, held: tuple[Tensor, Tensor] | None) -> None:
        super().__init__(capacity)
        self.length = 0 if held is None else held[0].shape[2]
        self._held = held
        self.latest: tuple[Tensor, Tensor] | None = None

    def extend(
        self,
        keys: Float[Tensor, "batch heads new head"],
        values: Float[Tensor, "batch heads new head"],
    ) -> tuple[Float[Tensor, "batch heads time head"], Float[Tensor, "batch heads time head"]]:
        """Keys and values of the prefix and of ``new`` positions behind it."""
        if self._held is not None:
            before = [part.expand(len(keys), -1, -1, -1) for part in self._held]
            keys, values = torch.cat((before[0], keys), dim=2), torch.cat((before[1], values), dim=2)
        self.latest = (keys, values)
        return keys, values


class Prefix(KeyValueCache):
    """The cache of a beginning: any number of batches may continue it, each row from there.

    Args:
        model: Whose cache.
        tokens: The beginning; may be empty.
        before: A beginning of it that is encoded already.
    """

    tokens: tuple[int, ...]
    _prefix_layers: list[_PrefixLayer]

    def __init__(self, model: GPT, tokens: Sequence[int] = (), before: Prefix | None = None) -> None:
        super().__init__(model.config.n_layer, model.block_size)
        self.tokens = (*(() if before is None else before.tokens), *tokens)
        self._last = torch.tensor(self.tokens[-1:], dtype=torch.long, device=model.token_embedding.weight.device)
        held: list[tuple[Tensor, Tensor] | None] = [None] * model.config.n_layer
        if tokens:
            row = torch.tensor([list(tokens)], dtype=torch.long, device=self._last.device)
            start = Prefix(model) if before is None else before
            with torch.inference_mode():
                model(row, start)
            held = [layer.latest for layer in start._prefix_layers]
        elif before is not None:
            held = [layer._held for layer in before._prefix_layers]
        self._prefix_layers = [_PrefixLayer(self.capacity, each) for each in held]
        self.layers = list(self._prefix_layers)

    def swap_last_tokens(self, tokens: Int[Tensor, "batch new"]) -> Int[Tensor, " batch"] | None:
        """The prefix's last token for each row; the prefix stays."""
        return self._last.expand(len(tokens)) if self.tokens else None
