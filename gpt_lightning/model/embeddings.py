"""What a token brings into the stream: its embedding, and what the token before it adds.

Both additions start as nothing, so a model begins as it would without them, and the ids or embedding of the token
before the first one come from the cache when decoding.
"""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn

_MIX_PREVIOUS, _MIX_CURRENT = 0x9E3779B1, 0x85EBCA77
"""Odd constants that spread ids over 32 bits; products with ids below 2^31 fit into int64."""


def reserve_embedding(rows: int, width: int) -> nn.Embedding:
    """An embedding without initial values."""
    # nn.Embedding(rows, width) draws a normal; where there is no memory, torch imports its compiler for that (1 s).
    embedding: nn.Embedding = nn.Embedding.from_pretrained(torch.empty(rows, width), freeze=False)  # type: ignore[no-untyped-call]
    return embedding


class Smear(nn.Module):
    """Adds the embedding of the token before, times a learned scale per channel (one-token mixing)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.empty(width))

    def forward(
        self,
        embedded: Float[Tensor, "batch time embed"],
        before: Float[Tensor, "batch embed"] | None = None,
        begins: Bool[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time embed"]:
        """Mix in the token before.

        Args:
            embedded: Token embeddings.
            before: Embedding of the token before the first one; None = there is none.
            begins: True where a document begins, whose first token has none before it.
        """
        first = torch.zeros_like(embedded[:, :1]) if before is None else before[:, None]
        previous = torch.cat((first, embedded[:, :-1]), dim=1)
        if begins is not None:
            previous = previous.masked_fill(begins[..., None], 0.0)
        return torch.addcmul(embedded, previous, self.scale)


class BigramEmbedding(nn.Module):
    """A table of embeddings for pairs of neighbouring tokens.

    Args:
        rows: Rows of the table; row 0 is for tokens with none before.
        width: Width of the residual stream.
        vocab_size: Number of token ids.
    """

    def __init__(self, rows: int, width: int, vocab_size: int) -> None:
        super().__init__()
        self.rows, self.vocab_size = rows, vocab_size
        self.table = reserve_embedding(rows, width)

    def forward(
        self,
        tokens: Int[Tensor, "batch time"],
        before: Int[Tensor, " batch"] | None = None,
        begins: Bool[Tensor, "batch time"] | None = None,
    ) -> Float[Tensor, "batch time embed"]:
        """Embeddings of the pairs that end in each token; ``before`` and ``begins`` as in ``Smear``, but an id."""
        tokens = tokens.long()
        first = torch.zeros_like(tokens[:, 0]) if before is None else before.long()
        rows = self.locate(torch.cat((first[:, None], tokens[:, :-1]), dim=1), tokens)
        if before is None:
            rows[:, 0] = 0
        if begins is not None:
            rows = rows.masked_fill(begins, 0)
        embedded: Tensor = self.table(rows)
        return embedded

    def locate(
        self, previous: Int[Tensor, "batch time"], tokens: Int[Tensor, "batch time"]
    ) -> Int[Tensor, "batch time"]:
        """Row of every pair, 1 or more: one for each pair where there are enough, else by hashing."""
        if self.vocab_size**2 < self.rows:
            return 1 + previous * self.vocab_size + tokens
        return 1 + ((previous * _MIX_PREVIOUS) ^ (tokens * _MIX_CURRENT)) % (self.rows - 1)
