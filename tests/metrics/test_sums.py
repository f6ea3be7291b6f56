"""Every score is the same however the items are divided into batches and among processes."""

from __future__ import annotations

import math
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import distributed
from torch.multiprocessing.spawn import spawn

from gpt_lightning.metrics.answers import EditDistance, ExactMatch, TokenF1
from gpt_lightning.metrics.labels import Accuracy, Brier, Calibration, MacroF1
from gpt_lightning.metrics.likelihood import GuessAccuracy, Likelihood, Perplexity, UnitPerplexity
from gpt_lightning.metrics.overlap import Bleu, ChrF, Rouge
from gpt_lightning.metrics.scores import Score
from gpt_lightning.metrics.sums import SummedScore
from tests.metrics.test_labels import CHOICES
from tests.metrics.test_overlap import CHINESE

LIKELIHOODS = [Likelihood(2.5, 2, 6, 1), Likelihood(0.75, 1, 3, 1, is_greedy=True), Likelihood(4.0, 5, 11, 3)]
_TEXT: list[Callable[[], Score[Any]]] = [
    lambda: Bleu("zh"), ChrF, lambda: Rouge("zh"), ExactMatch, lambda: TokenF1("zh"), EditDistance,
]  # fmt: skip
_LABELS: list[Callable[[], Score[Any]]] = [Accuracy, lambda: MacroF1(6), Calibration, Brier]
_SPANS: list[Callable[[], Score[Any]]] = [Perplexity, lambda: UnitPerplexity("character"), GuessAccuracy]
KINDS: list[tuple[Callable[[], Score[Any]], list[Any]]] = [
    *((kind, CHINESE * 2) for kind in _TEXT),
    *((kind, CHOICES[:6]) for kind in _LABELS),
    *((kind, LIKELIHOODS * 2) for kind in _SPANS),
]

each_score = pytest.mark.parametrize(("kind", "items"), KINDS)


def value(metric: SummedScore) -> dict[str, float]:
    return {name: float(result) for name, result in metric.compute().items()}


def whole(kind: Callable[[], Score[Any]], items: list[Any]) -> dict[str, float]:
    metric = SummedScore(kind())
    metric.update(items)
    return value(metric)


@each_score
@settings(max_examples=5, deadline=None)
@given(sizes=st.lists(st.integers(1, 3), min_size=6, max_size=6))
def test_any_split_gives_the_same_value(kind: Callable[[], Score[Any]], items: list[Any], sizes: list[int]) -> None:
    metric, start = SummedScore(kind()), 0
    for size in sizes:
        metric.update(items[start : start + size])
        start += size
    assert value(metric) == pytest.approx(whole(kind, items), rel=1e-12)


@each_score
def test_sums_of_two_processes_add_up_and_stay_double(kind: Callable[[], Score[Any]], items: list[Any]) -> None:
    first, second, both = (SummedScore(kind()).to(torch.bfloat16) for _ in range(3))
    first.update(items[:1])
    second.update(items[1:])
    assert first.sums.dtype == torch.float64
    reduction = first._reductions["sums"]
    assert callable(reduction)
    both.sums = reduction(torch.stack([first.sums, second.sums]))
    both._update_count = 1
    assert value(both) == pytest.approx(whole(kind, items), rel=1e-12)


def _rank(rank: int, port: int, folder: str) -> None:
    os.environ.update(MASTER_ADDR="127.0.0.1", MASTER_PORT=str(port))
    distributed.init_process_group("gloo", rank=rank, world_size=2)
    results = []
    for kind, items in KINDS:
        metric = SummedScore(kind())
        metric.update(items[rank * 4 : rank * 4 + 4])
        results.append(value(metric))
    torch.save(results, Path(folder) / f"{rank}.pt")
    distributed.destroy_process_group()


@pytest.mark.slow
def test_two_real_processes(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    spawn(_rank, (port, str(tmp_path)), nprocs=2)  # type: ignore[no-untyped-call]
    for rank in (0, 1):
        found = torch.load(tmp_path / f"{rank}.pt")
        for (kind, items), results in zip(KINDS, found, strict=True):
            assert results == pytest.approx(whole(kind, items), rel=1e-12)


def test_likelihoods_by_definition() -> None:
    nats, tokens, size = 7.25, 8, 20
    found = whole(Perplexity, LIKELIHOODS)
    assert found["loss"] == pytest.approx(nats / tokens)
    assert found["perplexity"] == pytest.approx(math.exp(nats / tokens))
    assert found["bits_per_byte"] == pytest.approx(nats / math.log(2) / size)
    characters = whole(lambda: UnitPerplexity("character"), LIKELIHOODS)
    assert characters == pytest.approx(
        {"character_perplexity": math.exp(nats / 5), "bits_per_character": nats / math.log(2) / 5}
    )
    assert set(whole(lambda: UnitPerplexity("word"), LIKELIHOODS)) == {"word_perplexity"}
    assert whole(GuessAccuracy, LIKELIHOODS) == pytest.approx({"accuracy": 100 / 3})


def test_an_unlikely_text_is_infinitely_perplexing() -> None:
    assert whole(Perplexity, [Likelihood(1e6, 1, 1)])["perplexity"] == math.inf
