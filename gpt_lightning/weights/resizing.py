"""Weights for a model of other sizes than they were trained with: the vocabulary and the positions, by stated rules.

    vocabulary smaller    the last rows go
    vocabulary larger     new rows of the embedding and the head are the mean of the old ones, so a new token is as
                          likely as an average one and no logit of the old ones moves (Hewitt 2021)
    positions fewer       the last ones go
    positions more        learned ones are repeated from the first on (Longformer, Beltagy et al. 2020), so that texts
                          up to the old length give what they gave; rotary ones need no weights
    rows that fill up     zeros; they have no logit

Everything else must agree; ``loading.check_fit`` names what does not.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.weights.keys import cut_vocabulary, fill_vocabulary

_POSITIONS = "position_embedding.weight"


def resize(state_dict: Mapping[str, Tensor], before: GPTConfig, after: GPTConfig) -> dict[str, Tensor]:
    """Our state dict with the vocabulary and the positions of another record.

    Args:
        state_dict: Weights of ``GPT(before)``.
        before: Complete record that the weights were made with.
        after: Complete record of the model that takes them.

    Raises:
        ConfigError: The vocabulary changes under a table of bigrams, whose rows depend on its size.
    """
    old_vocabulary, _ = before.data_sizes()
    vocabulary, positions = after.data_sizes()
    state = cut_vocabulary(state_dict, before)
    if vocabulary != old_vocabulary:
        if before.bigram_rows is not None:
            raise ConfigError(
                "the vocabulary of a model with bigram_rows cannot change: the rows of its pairs would mean others",
                got=vocabulary,
                allowed=str(old_vocabulary),
                fix="Leave vocab_size out.",
            )
        state = {
            key: _resize_rows(tensor, vocabulary) if _is_vocabulary(key) else tensor for key, tensor in state.items()
        }
    if _POSITIONS in state and len(state[_POSITIONS]) != positions:
        old = state[_POSITIONS]
        state[_POSITIONS] = old[torch.arange(positions, device=old.device) % len(old)]
    return fill_vocabulary(state, after)


def _is_vocabulary(key: str) -> bool:
    return key in ("token_embedding.weight", "head.weight") or key.startswith("value_embeddings.")


def _resize_rows(table: Tensor, rows: int) -> Tensor:
    if rows <= len(table):
        return table[:rows]
    # In double precision: the mean of 150,000 rows of bfloat16 would lose its digits.
    mean = table.double().mean(dim=0).to(table.dtype)
    return torch.cat((table, mean.expand(rows - len(table), -1)))
