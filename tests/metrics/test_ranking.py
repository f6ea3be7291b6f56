"""Hit rate, NDCG and reciprocal rank against their definitions, over every order of equal scores."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise, permutations
from pathlib import Path

import numpy as np
import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.outcomes.results import Evaluation, Item, Measure, read_evaluation, write_evaluation
from gpt_lightning.metrics.ranking import Ranking, RankingAt, RankPercentile, rank_targets


def define(scores: Sequence[float], targets: Sequence[int], excluded: Sequence[int], k: int) -> dict[str, float]:
    """All orders of all candidates that are sorted by score; of each the textbook's formula with one relevant item."""
    sums = np.zeros(4)
    for target in targets:
        candidates = [i for i in range(len(scores)) if i == target or i not in (*targets, *excluded)]
        orders = [
            order for order in permutations(candidates) if all(scores[a] >= scores[b] for a, b in pairwise(order))
        ]
        ranks = np.array([order.index(target) + 1 for order in orders])
        last = max(1, len(candidates) - 1)
        sums += [
            np.mean(ranks <= k), np.mean((ranks <= k) / np.log2(ranks + 1)), np.mean(1 / ranks),
            100 * np.mean((ranks - 1) / last),
        ]  # fmt: skip
    return dict(zip((f"hr@{k}", f"ndcg@{k}", "mrr", "percentile"), (sums / len(targets)).tolist(), strict=True))


def measure(ranking: Ranking, k: int) -> dict[str, float]:
    found: dict[str, float] = {}
    for score in (RankingAt(k), RankPercentile()):
        found |= score.compute(np.array(score.measure(ranking)))
    return found


def test_equals_the_definition_over_all_orders() -> None:
    random = np.random.default_rng(0)
    naive = 0
    for _ in range(60):
        scores = random.integers(0, 3, size=6).astype(float)
        targets, excluded = [0, 5][: random.integers(1, 3)], [3][: random.integers(0, 2)]
        k = int(random.integers(1, 5))
        expected = define(scores.tolist(), targets, excluded, k)
        assert measure(rank_targets(scores, targets, excluded), k) == pytest.approx(expected, abs=1e-12)
        # What a sort by score alone makes of the order of the file.
        order = [i for i in np.argsort(-scores, kind="stable") if i not in excluded and (i == 0 or i not in targets)]
        naive += len(targets) == 1 and abs((order.index(0) < k) - expected[f"hr@{k}"]) > 0.1
    assert naive > 5


def test_a_hand_computed_example() -> None:
    ranking = rank_targets(np.array([0.9, 0.5, 0.7, 0.1]), [1])
    assert ranking == Ranking((2,), (1,), (4,))
    assert measure(ranking, 3) == pytest.approx({"hr@3": 1, "ndcg@3": 0.5, "mrr": 1 / 3, "percentile": 200 / 3})
    assert measure(ranking, 2) == pytest.approx({"hr@2": 0, "ndcg@2": 0, "mrr": 1 / 3, "percentile": 200 / 3})


def test_minus_infinity_is_a_score_like_any_other() -> None:
    ranking = rank_targets(np.array([-np.inf, 1.0, -np.inf]), [0])
    assert ranking == Ranking((1,), (2,), (3,))


def test_chance_is_what_equal_scores_get() -> None:
    found = measure(rank_targets(np.zeros(101), [7]), 10)
    assert found["hr@10"] == pytest.approx(10 / 101)
    assert found["percentile"] == pytest.approx(50)
    assert found["mrr"] == pytest.approx(math.fsum(1 / n for n in range(1, 102)) / 101)


def test_is_kept_and_read_again(tmp_path: Path) -> None:
    items = [Item(str(n), str(n), {"": Ranking((n, 2), (1, 2), (9, 9))}) for n in range(3)]
    before = Evaluation("r", "m", {}, [Measure("RankingAt", {"k": 5}), Measure("RankPercentile")], items)
    write_evaluation(before, tmp_path / "r.json")
    after = read_evaluation(tmp_path / "r.json")
    assert after.items == items
    assert after.scores == before.scores


def test_a_list_has_a_length() -> None:
    with pytest.raises(ConfigError, match="k is the length"):
        RankingAt(0)
