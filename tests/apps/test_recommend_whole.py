"""Recommendation with a model that has learnt, in minutes: the sample, the page in a browser, MovieLens-100k."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt_lightning import cli
from gpt_lightning.evaluation.commands.compare import compare_evaluations
from gpt_lightning.evaluation.outcomes.results import read_evaluation
from gpt_lightning.metrics.ranking import RankingAt, rank_targets
from gpt_lightning.metrics.scores import measure_all
from tests.apps.serving import browse, needs_browser, serve

pytestmark = [pytest.mark.slow, pytest.mark.timeout(7200)]


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The four commands' first three on the built-in sample."""
    folder = tmp_path_factory.mktemp("sample") / "shop"
    for verb in ("init", "train", "evaluate"):
        assert cli.main(["app", "recommend", verb, str(folder)]) == 0
    return folder


def check_above_floors(folder: Path) -> None:
    """Hit rate and NDCG above both floors, each interval above 0."""
    ours = read_evaluation(folder / "evaluations" / "ours.json")
    for floor in ("popularity", "co-occurrence"):
        found = compare_evaluations(read_evaluation(folder / "evaluations" / f"{floor}.json"), ours)
        assert {name: each.low > 0 for name, each in found.items() if "@10" in name} == {"hr@10": True, "ndcg@10": True}


def test_the_sample_is_learnt(shop: Path) -> None:
    check_above_floors(shop)
    report = (shop / "report.md").read_text(encoding="utf-8")
    (place, high) = re.search(r"mean place ([\d.]+) % of the ranking \(95 %: [\d.]+ to ([\d.]+);", report).groups()  # type: ignore[union-attr]
    assert float(place) < float(high) < 45


@needs_browser
def test_the_page_recommends(shop: Path) -> None:
    with serve("recommend", shop) as url, browse() as (new_page, wrong):
        page = new_page()
        page.goto(url)
        page.fill("#item", "Amber Harbour 2")
        page.press("#item", "Enter")
        page.wait_for_selector("#found li")
        assert page.locator("#found li strong").first.inner_text() == "1. Amber Harbour 3"
        assert "because of Amber Harbour 2" in page.locator("#found li").first.inner_text()
        page.select_option("#where-language", "zh")
        page.wait_for_selector("#found li:first-child strong >> text=/[一-鿿]/")
        page.locator("#found button").first.click()
        page.wait_for_selector("#history li:nth-child(2)")
        page.locator("#history button").first.click()
        page.fill("#user", "nobody")
        page.click("#load")
        page.wait_for_selector("#status.error")
        assert "There is no person" in page.locator("#status").inner_text()
        assert [each for each in wrong if "404" not in each] == []


def test_movielens_is_learnt(tmp_path: Path) -> None:
    """MovieLens-100k by titles alone, all items ranked: most of an hour of one CPU core."""
    if importlib.util.find_spec("recbole") is None:  # importing it needs what it pins
        pytest.skip("pip install --no-deps recbole==1.2.1")
    folder = tmp_path / "ml"
    for verb, *more in (("init", "--sample", "movielens-100k"), ("train",), ("evaluate", "--set", "history=30")):
        assert cli.main(["app", "recommend", verb, str(folder), *more]) == 0
    check_above_floors(folder)


def test_metrics_are_recboles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its evaluator on the same scores; needs recbole and, without what it pins, colorlog, colorama and texttable."""
    monkeypatch.setattr(np, "float", float, raising=False)  # of a numpy that it was written for
    metrics: Any = pytest.importorskip("recbole.evaluator.metrics")
    random = np.random.default_rng(0)
    people, items = 200, 300
    scores, targets = random.normal(size=(people, items)), random.integers(0, items, size=people)
    ranked = [rank_targets(scores[each], [int(targets[each])]) for each in range(people)]
    for k in (10, items):
        found = RankingAt(k).compute(measure_all(RankingAt(k), ranked).sum(axis=0))
        hits = np.argsort(-scores, axis=1)[:, :k] == targets[:, None]
        table = torch.tensor(np.concatenate([hits.astype(int), np.ones((people, 1), dtype=int)], axis=1))
        settings, data = {"topk": [k], "metric_decimal_place": 15}, {"rec.topk": table}
        theirs: dict[str, float] = {}
        for name in ("Hit", "NDCG", "MRR"):
            theirs |= getattr(metrics, name)(settings).calculate_metric(data)
        assert found[f"hr@{k}"] == pytest.approx(theirs[f"hit@{k}"], abs=1e-9)
        assert found[f"ndcg@{k}"] == pytest.approx(theirs[f"ndcg@{k}"], abs=1e-9)
    assert found["mrr"] == pytest.approx(theirs[f"mrr@{items}"], abs=1e-9)  # its MRR ends at k
