"""Positions ahead of a text: keys and values that every position of it sees, and that are no tokens of it.

    context of layer l     [ keys, values of what is ahead ][ keys, values of the text so far ]
    positions of the text  0, 1, 2, ... as without it; what is ahead stands at -n .. -1

So nothing else changes: windows, packed documents (each sees what is ahead), caches and slots hold the text alone.
``GPT.ahead`` says what it is (``adapters.prefix``); ``Behind`` is any mask of the text, with that in front of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.model.attention_mask import AttentionMask, Lead, States
from gpt_lightning.model.cache import LayerCache


@dataclass(frozen=True)
class Behind(AttentionMask):
    """A mask of a text behind what is ahead of it."""

    inner: AttentionMask
    lead: Lead

    def attend(
        self,
        queries: Float[Tensor, "batch heads time head"],
        keys: Float[Tensor, "batch groups context head"],
        values: Float[Tensor, "batch groups context head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "batch heads time head"]:
        """As in ``AttentionMask.attend``."""
        return self.inner.attend_behind(self.lead, queries, keys, values, dropout)

    def without_values(self) -> Behind:
        """The same weights; what is ahead adds nothing."""
        rows = tuple(row and (row[0], torch.zeros_like(row[1])) for row in self.lead.rows)
        return replace(self, lead=Lead(rows))


class Kept(LayerCache):
    """Keeps the keys and values of one pass, with their gradients."""

    def __init__(self) -> None:
        super().__init__(0)
        self.states: States | None = None

    def extend(
        self, keys: Float[Tensor, "1 groups new head"], values: Float[Tensor, "1 groups new head"]
    ) -> tuple[Tensor, Tensor]:
        """As in ``LayerCache.extend``, once."""
        self.states = keys, values
        return keys, values


def lay_side_by_side(rows: Sequence[list[States] | None]) -> list[Lead] | None:
    """What is ahead of each row, layer by layer, or of all rows where there is one; None = nothing in any."""
    found = [row for row in rows if row is not None]
    if not found:
        return None
    return [Lead(tuple([None if row is None else row[layer] for row in rows])) for layer in range(len(found[0]))]
