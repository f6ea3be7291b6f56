"""Prefix language models: each document begins with a prefix that is seen from both sides, the rest is predicted.

(Dong et al. 2019, UniLM; Raffel et al. 2020.) The prefix ends anywhere in its document, every place as likely, so a
model learns to go on from prompts of every length:

    text       <eot> the cat sat | down . <eot>        a prefix of 4 tokens
    sees         p    p   p   p    c    c              p: seen from everywhere in the document; c: causal
    predicts     .    .   .  down  .   <eot>
"""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.model.attention_mask import Sight
from gpt_lightning.model.positions import count_positions, find_begins
from gpt_lightning.objectives.base import Context
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption, count_targets
from gpt_lightning.objectives.draws import Draws


class PrefixLM(Corruption):
    """Next-token prediction behind a prefix of each document, which sees itself as a whole.

    Without ``data.document_mask`` a window is one document.

    Args:
        chunk_size: Positions whose logits exist at a time, see CausalLM.
    """

    def __init__(self, chunk_size: int | None = None) -> None:
        super().__init__(chunk_size)

    def sights(self) -> frozenset[Sight]:
        """A prefix sees itself as a whole."""
        return frozenset({"open"})

    def corrupt(self, batch: Batch, draws: Draws, context: Context) -> Corrupted:
        """The tokens stay; a prefix of 1 to all tokens of each document opens, and is predicted by nobody."""
        tokens = batch.tokens.long()
        documents = None if batch.documents is None else batch.documents[:, :-1]
        numbers = tokens.new_zeros(tokens[:, :-1].shape) if documents is None else documents
        places = count_positions(numbers)
        prefixes = draw_prefixes(numbers, draws)
        counted = places >= prefixes - 1
        weights = count_targets(batch)
        return Corrupted(
            tokens=tokens[:, :-1],
            targets=tokens[:, 1:],
            weights=counted.to(torch.float32) if weights is None else weights * counted,
            documents=documents,
            opens=places < prefixes,
        )

    def restore(self, corrupted: Corrupted, context: Context) -> Batch:
        """The first token, and all targets."""
        return Batch(torch.cat([corrupted.tokens[:, :1], corrupted.targets], dim=1))


def draw_prefixes(documents: Int[Tensor, "batch time"], draws: Draws) -> Int[Tensor, "batch time"]:
    """Tokens in the prefix of every position's document, from 1 to all of them, every number as likely.

    Args:
        documents: Document number of every position.
        draws: One number for each document of a row.
    """
    order = find_begins(documents).long().cumsum(dim=1) - 1  # 0, 1, 2 ...: which document of its row
    lengths = torch.zeros_like(order).scatter_add_(1, order, torch.ones_like(order)).gather(1, order)
    shares = draws.uniform("prefix", documents.shape[1]).gather(1, order)
    return 1 + (shares * lengths).long()
