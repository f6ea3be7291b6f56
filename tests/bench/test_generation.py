"""Tokens per second of the engine beside transformers, on the same random weights of GPT-2's shape."""

from __future__ import annotations

import warnings
from typing import Any

import pytest

from gpt_lightning.model.config import GPTConfig
from tests.bench.generation_speed import compare
from tests.bench.publish import measure, publish

ROUNDS = {1: 5, 8: 3}
"""Counted turns by number of texts."""
COLUMNS = ("texts", "decoder", "tokens/s", "best turn", "undisturbed step", "speed", "speed undisturbed", "same tokens")

NOTES = """\
GPT-2 124M, random weights, prompts of 64 tokens, 128 new ones, greedy, two threads. All decoders take turns in one
process. "tokens/s" is the median over the turns, prompt included; "undisturbed step" counts from the 10th percentile of
the single steps' times. "speed" is the median over the turns of the ratio to transformers in the same turn, "speed
undisturbed" the ratio of the 10th percentiles. Greedy texts of random weights soon repeat themselves, which is what
guesses live on; "same tokens" says whether all of them equal those of transformers."""


def tabulate(texts: int, found: dict[str, Any]) -> list[list[object]]:
    """One row per decoder."""
    reference = found["transformers"]["step_p10"]
    return [
        [
            texts,
            name,
            texts / times["median"],
            texts / times["best"],
            texts / times["step_p10"] if times["step_p10"] else float("nan"),
            times["ratio"],
            reference / times["step_p10"] if times["step_p10"] else float("nan"),
            "yes" if times["same"] else "no",
        ]
        for name, times in found.items()
    ]


@pytest.mark.bench
def test_generation_beside_transformers() -> None:
    rows = []
    for texts, rounds in ROUNDS.items():
        rows += tabulate(texts, measure("generation_speed", str(texts), str(rounds), threads=2))
    publish("generation", "Decoding speed, 2 CPU cores", COLUMNS, rows, NOTES)


def test_the_comparison_runs() -> None:
    pytest.importorskip("transformers")
    config = GPTConfig(n_layer=1, n_head=2, n_embd=32, block_size=24, vocab_size=64)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        found = list(compare(config, rows=2, prompt=5, count=6, rounds=1))[-1]
    assert [row[7] for row in tabulate(2, found)].count("yes") >= 4
    assert found["float32"]["same"]
    assert found["no cache"]["same"]
    assert all(times["median"] > 0 for times in found.values())
