"""Items as points: the nearest ones are found without asking the model about every item, and lists are made diverse.

An item's embedding is the mean of the hidden states that the model has of its text, as of ``/v1/embeddings``, of length
1 and with the catalogue's mean taken off (which all hidden states share); a history's is the mean of its latest items'.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Request
from gpt_lightning.model.gpt import GPT
from gpt_lightning.parsing.extras import import_extra

LATEST = 10
"""Items of a history that its embedding is the mean of."""


def embed_items(model: GPT, prompts: Sequence[Sequence[int]]) -> Float[np.ndarray, "items embed"]:
    """Embeddings of texts, float32.

    Args:
        model: In evaluation mode.
        prompts: Ids of each, behind end-of-text.
    """
    engine = Engine(model)
    requests = [Request(prompt, max_tokens=0, embed="mean") for prompt in prompts]
    found = np.array([answers[0].embedding for answers in engine.generate(requests)], dtype=np.float64)
    return _scale(_scale(found) - _scale(found).mean(axis=0)).astype(np.float32)


def _scale(rows: Float[np.ndarray, "rows embed"]) -> Float[np.ndarray, "rows embed"]:
    lengths: Float[np.ndarray, "rows 1"] = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.asarray(rows / np.maximum(lengths, 1e-12))


def embed_history(embeddings: Float[np.ndarray, "items embed"], history: Sequence[int]) -> Float[np.ndarray, " embed"]:
    """The mean of the latest items, of length 1; zeros for nobody's history."""
    if not len(history):
        return np.zeros(embeddings.shape[1], dtype=np.float32)
    return np.asarray(_scale(embeddings[list(history[-LATEST:])].mean(axis=0)[None])[0])


class Index(ABC):
    """Finds nearest items by the cosine.

    Args:
        embeddings: Of all items, of length 1.
    """

    @abstractmethod
    def __init__(self, embeddings: Float[np.ndarray, "items embed"]) -> None: ...

    @abstractmethod
    def search(self, query: Float[np.ndarray, " embed"], count: int) -> list[int]:
        """The ``count`` nearest items, nearest first; of equally near ones the first in the catalogue."""


class ExactIndex(Index):
    """Compares with every item: 0.1 s for a million of width 128."""

    def __init__(self, embeddings: Float[np.ndarray, "items embed"]) -> None:
        self._embeddings = embeddings

    def search(self, query: Float[np.ndarray, " embed"], count: int) -> list[int]:
        """As of ``Index``."""
        order = np.argsort(-(self._embeddings @ query), kind="stable")
        return [int(each) for each in order[:count]]


class FaissIndex(Index):
    """faiss's exact index of inner products, on all cores; for catalogues beyond a million."""

    def __init__(self, embeddings: Float[np.ndarray, "items embed"]) -> None:
        faiss: Any = import_extra("faiss", "faiss", "index: faiss needs", ConfigError)
        self._index = faiss.IndexFlatIP(embeddings.shape[1])
        self._index.add(np.ascontiguousarray(embeddings, dtype=np.float32))

    def search(self, query: Float[np.ndarray, " embed"], count: int) -> list[int]:
        """As of ``Index``."""
        _, found = self._index.search(np.ascontiguousarray(query[None], dtype=np.float32), count)
        return [int(each) for each in found[0] if each >= 0]


INDEXES: dict[str, type[Index]] = {"exact": ExactIndex, "faiss": FaissIndex}


def choose_index(name: str) -> type[Index]:
    """The kind of index.

    Raises:
        ConfigError: There is none of that name.
    """
    if name not in INDEXES:
        raise ConfigError("index is no way to search", got=name, allowed=", ".join(INDEXES))
    return INDEXES[name]


def diversify(
    scores: Float[np.ndarray, " pool"],
    embeddings: Float[np.ndarray, "pool embed"],
    count: int,
    diversity: float,
) -> list[int]:
    """Places of a list that is good and not all of a kind: maximal marginal relevance (Carbonell and Goldstein 1998).

    Chosen one by one is the item with the largest ``(1 - diversity) relevance - diversity similarity``: relevance is
    the score from 0 (the pool's lowest) to 1 (its highest), similarity the cosine with the nearest one chosen before.

    Args:
        scores: Of the items of a pool.
        embeddings: Of the same, of length 1.
        count: How many to choose.
        diversity: 0 = by score alone, 1 = as different as possible behind the first.
    """
    spread = float(scores.max() - scores.min())
    relevance = (scores - scores.min()) / (spread or 1.0)
    nearest = np.zeros(len(scores))
    chosen: list[int] = []
    for _ in range(min(count, len(scores))):
        worth = (1 - diversity) * relevance - diversity * nearest
        worth[chosen] = -np.inf
        best = int(worth.argmax()) if chosen else int(relevance.argmax())
        similarity = embeddings @ embeddings[best]
        nearest = np.maximum(nearest, similarity) if chosen else similarity
        chosen.append(best)
    return chosen
