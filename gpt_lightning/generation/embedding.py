"""Texts as vectors: hidden states of a decoder behind its final norm, the mean over a text or the last one.

A model that has learned to see whole texts (masked ones, prefix LMs, mixtures with them) reads them openly, every
position seeing all of them; others read causally, so that only the last state has seen the whole text.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Pooling, Request
from gpt_lightning.generation.text import encode_prompt
from gpt_lightning.weights.loading import LoadedModel


def build_embedding_request(ids: Sequence[int], pooling: Pooling = "mean", adapter: str | None = None) -> Request:
    """The request for the hidden states of a text; one that is longer than the model's positions is refused.

    Args:
        ids: Of the text, with the end-of-text token in front of it.
        pooling: Their mean, or the last one.
        adapter: As in ``Request``.
    """
    return Request(ids, max_tokens=0, embed=pooling, slide=False, adapter=adapter)


def embed_texts(
    loaded: LoadedModel, texts: Sequence[str], *, pooling: Pooling = "mean", slots: int = 8
) -> Float[Tensor, "text embed"]:
    """A vector of length 1 for each text, so that their products are cosines.

    Args:
        loaded: The model.
        texts: Each a document.
        pooling: Which hidden states stand for a text.
        slots: Texts that wait in memory at once.

    Raises:
        DataError: A text is longer than the model's positions, or the tokenizer cannot write it.
    """
    requests = [build_embedding_request(encode_prompt(loaded.tokenizer, text), pooling) for text in texts]
    completions = Engine(loaded.model, loaded.tokenizer, slots=slots).generate(requests)
    rows = [each.embedding or () for (each,) in completions]
    return torch.nn.functional.normalize(torch.tensor(rows, dtype=torch.float64), dim=-1).float()
