"""``fit`` beside loops of other projects on two CPU cores, compiled and not, and beside its own step in a bare loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.bench import peers_cpu
from tests.bench.peers_cpu import compare
from tests.bench.publish import corpus, measure, publish
from tests.training.forked import write_corpus

ROUNDS = {"tiny": 25, "lean": 25, "million": 40, "gpt2": 5}
"""Counted turns per size."""

NAMES = {"fit": "build(...).fit", "bare": "the same step in a bare loop", "nano": "nanoGPT-like eager loop"}

NOTES = """\
tiny: 4 layers, 128 wide, the corpus's characters, block 64, batch 12. lean: the same without biases, with RMSNorm,
squared ReLU and one key-value head. million: tiny, 160 wide, 1.26M parameters. gpt2: GPT-2 124M, block 256, batch 2.
fp32, two threads. The loops of one table part take turns: six steps each (the first not counted), gpt2 two; `fit` and
its own step in a bare loop in one process, every other loop in a process of its own, which sleeps meanwhile. "speed" is
the median over the turns of the ratio to the nanoGPT-like loop in the same turn; "speed p10" that of the 10th
percentiles, which other work disturbs least. MFU: PaLM's count of operations at the p10 step, over the fastest fp32
product of two 2048 x 2048 matrices before and after. The nanoGPT-like loop is tests/bench/nano_gpt.py: exact GELU,
unfused AdamW.
Real checkouts join where NANOGPT_CHECKOUT, LITGPT_CHECKOUT, TRANSFORMERS_CHECKOUT say where they lie."""

COLUMNS = ("size", "model.compile", "loop", "median ms", "p10 ms", "tokens/s (p10)", "speed", "speed p10", "MFU")


def tabulate(size: str, compiled: bool, found: dict[str, Any]) -> list[list[object]]:
    """One row per loop."""
    rows: list[list[object]] = []
    for name, times in found["times"].items():
        rate = found["tokens"] / times["p10"]
        mfu = rate * found["flops_per_token"] / found["peak"]
        row: list[object] = [size, str(compiled).lower(), NAMES.get(name, name)]
        row += [1000 * times["median"], 1000 * times["p10"], rate, times["speed"], times["speed_p10"], f"{mfu:.1%}"]
        rows.append(row)
    return rows


@pytest.mark.bench
def test_fit_beside_peers() -> None:
    rows, costs = [], []
    for size, rounds in ROUNDS.items():
        for compiled in (False, True):
            options = ["--compiled"] if compiled else []
            found = measure("peers_cpu", size, str(rounds), corpus(), *options, threads=2)
            rows += tabulate(size, compiled, found)
            costs.append(f"{size} {'compiled ' if compiled else ''}{found['fit_to_bare'] - 1:+.1%}")
    notes = f"{NOTES}\n\nThe Trainer's own cost, `fit` over the bare loop in the same turn: {', '.join(costs)}."
    publish("peers_cpu", "Training speed beside other loops, 2 CPU cores", COLUMNS, rows, notes)


@pytest.mark.slow
def test_the_comparison_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers_cpu, "measure_matrix_peak", lambda _: 1e10)
    found = compare("check", 2, str(write_corpus(tmp_path)), compiled=False)
    assert set(found["times"]) == {"fit", "bare", "nano"}
    assert found["times"]["nano"]["speed"] == 1
    assert found["fit_to_bare"] > 0
    rows = tabulate("check", False, found)
    assert [len(row) for row in rows] == [len(COLUMNS)] * 3
    step = found["times"]["fit"]["p10"]
    assert rows[0][5] == pytest.approx(4 * 16 / step)
