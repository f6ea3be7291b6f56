"""What a recommender has to be better than: counting."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from jaxtyping import Float

from gpt_lightning.apps.recommend.protocol import flatten
from gpt_lightning.apps.recommend.records import History

LATEST = 10
"""Items of a history by which co-occurrence scores."""


class Popularity:
    """How many people had an item.

    Args:
        histories: Of everybody.
        num_items: In the catalogue.
    """

    name = "popularity"

    def __init__(self, histories: Iterable[History], num_items: int) -> None:
        self._counts = np.zeros(num_items)
        for moments in histories:
            self._counts[list(flatten(moments))] += 1

    def score(self, history: Sequence[int]) -> Float[np.ndarray, " items"]:
        """The counts, whoever asks."""
        return self._counts


class CoOccurrence:
    """How many people had an item and one of the last ten of a history, summed over these.

    Args:
        histories: Of everybody.
        num_items: In the catalogue.
    """

    name = "co-occurrence"

    def __init__(self, histories: Iterable[History], num_items: int) -> None:
        people = [list(flatten(moments)) for moments in histories]
        had = np.zeros((len(people), num_items), dtype=np.float32)
        for row, items in enumerate(people):
            had[row, items] = 1
        self._together = had.T @ had
        np.fill_diagonal(self._together, 0)

    def score(self, history: Sequence[int]) -> Float[np.ndarray, " items"]:
        """Sums of counts."""
        return np.asarray(self._together[list(history[-LATEST:])].sum(axis=0, dtype=np.float64))
