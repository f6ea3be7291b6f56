"""Keys and values of the tokens already decoded, so that each new token costs one position, not the whole context.

The memory is reserved once, at the first use: shape, type and device are those of the first keys, so a cache follows
autocast and moves without being told. A cache belongs to one sequence batch whose rows all have the same length.
"""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gpt_lightning.errors import ConfigError


class LayerCache:
    """The part of a cache that one attention layer sees.

    Args:
        capacity: Most positions that can be held.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self.length = 0
        self._keys: Tensor | None = None
        self._values: Tensor | None = None

    def extend(
        self,
        keys: Float[Tensor, "batch heads new head"],
        values: Float[Tensor, "batch heads new head"],
    ) -> tuple[Float[Tensor, "batch heads time head"], Float[Tensor, "batch heads time head"]]:
        """Append the keys and values of ``new`` positions; returns views of all that are held now."""
        if self._keys is None or self._values is None:
            batch, heads, _, head = keys.shape
            self._keys = keys.new_empty(batch, heads, self.capacity, head)
            self._values = torch.empty_like(self._keys)
        start, end = self.length, self.length + keys.shape[2]
        assert end <= self.capacity, f"cache of {self.capacity} positions asked to hold {end}"
        self._keys[:, :, start:end] = keys
        self._values[:, :, start:end] = values
        self.length = end
        return self._keys[:, :, :end], self._values[:, :, :end]


class KeyValueCache:
    """Keys and values of every layer.

    Args:
        n_layer: Number of layers of the model.
        capacity: Most positions that can be held; at most the model's ``block_size``.

    Raises:
        ConfigError: ``capacity`` is not positive.
    """

    def __init__(self, n_layer: int, capacity: int) -> None:
        if capacity < 1:
            raise ConfigError("the cache has no room for a token", got=capacity, allowed="1 or more positions")
        self.layers = [LayerCache(capacity) for _ in range(n_layer)]
        self.capacity = capacity
        self._documents: Tensor | None = None
        self._last_tokens: Tensor | None = None

    @property
    def length(self) -> int:
        """Positions held so far."""
        return self.layers[0].length

    def extend_documents(self, documents: Int[Tensor, "batch new"] | None) -> Int[Tensor, "batch time"] | None:
        """Append the document numbers of the new positions; call it before the layers are extended.

        Returns:
            Those of all positions; None if none were ever given.

        Raises:
            ConfigError: Some positions have a document number and others have none.
        """
        if self.length > 0 and (self._documents is None) != (documents is None):
            raise ConfigError(
                "document numbers for only a part of the cached positions",
                allowed="for all of them or for none",
                fix="Pass documents to every call with this cache, or clear it.",
            )
        if self.length > 0 and self._documents is not None and documents is not None:
            documents = torch.cat((self._documents, documents), dim=1)
        self._documents = documents
        return documents

    def swap_last_tokens(self, tokens: Int[Tensor, "batch new"]) -> Int[Tensor, " batch"] | None:
        """Remember the last of the new tokens; returns the last one of those before, None if there are none."""
        before, self._last_tokens = self._last_tokens, tokens[:, -1]
        return before

    def clear(self) -> None:
        """Forget every position and keep the memory."""
        self._documents = self._last_tokens = None
        for layer in self.layers:
            layer.length = 0
