"""Where the right items stand in a ranking of all: hit rate, NDCG, reciprocal rank; equal scores in every order.

A score that many items share (a count of 0) leaves their order open, and which of them a sort happens to put first can
double a hit rate. Each result here is the mean over all orders of equal scores, in closed form; no item has to be the
only one that is right, and with several the result is the mean over them.

>>> RankingAt(2).compute(np.array(RankingAt(2).measure(Ranking((1,), (2,), (5,)))))  # second or third of five
{'hr@2': 0.5, 'ndcg@2': 0.31546487678572877, 'mrr': 0.41666666666666663}
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gpt_lightning.errors import ConfigError
from gpt_lightning.metrics.scores import Score, divide


@dataclass(frozen=True)
class Ranking:
    """How the right items of one question came out; at least one.

    Attributes:
        above: By right item, how many candidates have a higher score.
        ties: How many have the same, itself included: 1 or more.
        candidates: How many were ranked, itself included.
    """

    above: tuple[int, ...]
    ties: tuple[int, ...]
    candidates: tuple[int, ...]


def rank_targets(scores: Float[np.ndarray, " items"], targets: Sequence[int], excluded: Sequence[int] = ()) -> Ranking:
    """The ranking of right items, each among all that are neither excluded nor right as well.

    Args:
        scores: Of every item; higher is better.
        targets: The right ones.
        excluded: Items that are no candidates.
    """
    others = np.ones(len(scores), dtype=bool)
    others[list(excluded)] = False
    others[list(targets)] = False
    rivals = scores[others]
    above = tuple(int((rivals > scores[target]).sum()) for target in targets)
    ties = tuple(int((rivals == scores[target]).sum()) + 1 for target in targets)
    return Ranking(above, ties, (len(rivals) + 1,) * len(targets))


class RankingAt(Score[Ranking]):
    """Hit rate, NDCG of one relevant item, and mean reciprocal rank (of the whole ranking), 0 to 1.

    Args:
        k: Length of the list that a person sees.
    """

    size = 4

    def __init__(self, k: int = 10) -> None:
        if k < 1:
            raise ConfigError("k is the length of a list", got=k, allowed="1 or more")
        self._k = k

    def measure(self, outcome: Ranking) -> Sequence[float]:
        """The three of this question; 1."""
        found = [self._measure(above, ties) for above, ties in zip(outcome.above, outcome.ties, strict=True)]
        return [*(math.fsum(column) / len(found) for column in zip(*found, strict=True)), 1.0]

    def _measure(self, above: int, ties: int) -> tuple[float, float, float]:
        ranks = range(above + 1, above + ties + 1)
        seen = [rank for rank in ranks if rank <= self._k]
        gain = math.fsum(1 / math.log2(rank + 1) for rank in seen)
        return len(seen) / ties, gain / ties, math.fsum(1 / rank for rank in ranks) / ties

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``hr@k``, ``ndcg@k``, ``mrr``."""
        names = (f"hr@{self._k}", f"ndcg@{self._k}", "mrr")
        return {name: divide(value, sums[3]) for name, value in zip(names, sums, strict=False)}

    def describe(self) -> str:
        """The rule of ties."""
        return "all items ranked; mean over the orders of equal scores"


class RankPercentile(Score[Ranking]):
    """Mean place of the right items as a percentage: 0 = always the first, 50 = by chance, 100 = always the last."""

    size = 2
    lower_is_better = ("percentile",)

    def measure(self, outcome: Ranking) -> Sequence[float]:
        """The mean of this question; 1."""
        places = [
            100 * (above + (ties - 1) / 2) / max(1, candidates - 1)
            for above, ties, candidates in zip(outcome.above, outcome.ties, outcome.candidates, strict=True)
        ]
        return [math.fsum(places) / len(places), 1.0]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``percentile``."""
        return {"percentile": divide(sums[0], sums[1])}
