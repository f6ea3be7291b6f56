"""``Rows``: some windows as arrays, on their way from a store to a ``Batch``."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, Int32, UInt


@dataclass(frozen=True)
class Rows:
    """Windows, one per row.

    Attributes:
        tokens: Ids in the store's narrow type, one more per row than there are training positions.
        weights: Weight of every predicted position, 0 = must not count; None = all 1.
        documents: Number of the document that a token belongs to, counted from 0 within its row; None = not asked for.
        position: Number of the first row among all samples (training) or windows (evaluation).
    """

    tokens: UInt[np.ndarray, "count time_plus_1"]
    weights: Float32[np.ndarray, "count _time"] | None = None
    documents: Int32[np.ndarray, "count time_plus_1"] | None = None
    position: int = 0

    def part(self, first: int, count: int, position: int) -> Rows:
        """``count`` rows from row ``first`` on (views), of which the first has the number ``position``."""
        rows = slice(first, first + count)
        return Rows(
            self.tokens[rows],
            None if self.weights is None else self.weights[rows],
            None if self.documents is None else self.documents[rows],
            position,
        )
