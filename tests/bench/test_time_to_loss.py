"""Time to nanoGPT's loss on tiny Shakespeare's characters, and the loss in nanoGPT's time."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.publish import corpus, measure, publish
from tests.bench.time_to_loss import CONFIGS, race
from tests.training.forked import write_corpus

SEEDS = (1337, 1, 2)
NOTES = """\
nanoGPT's recipe: 4 layers, 128 wide, block 64, batch 12, AdamW, 2000 steps of the loop in tests/bench/nano_gpt.py. The
others are configs/NAME.yaml through `build(...).fit`. One process, two threads, one after the other for every seed;
validation loss over the whole split, the last tenth of the text; evaluation is not counted."""


@pytest.mark.bench
@pytest.mark.skipif(corpus().startswith("builtin:"), reason="tiny Shakespeare is not beside the repository")
def test_time_to_loss() -> None:
    found = measure("time_to_loss", corpus(), *map(str, SEEDS))
    nano = found["nanoGPT's recipe"]
    rows = [
        (name, seed, each["seconds"], each["loss"], base["seconds"] / each["seconds"])
        for name, results in found.items()
        for seed, each, base in zip(SEEDS, results, nano, strict=True)
    ]
    columns = ("what", "seed", "training s", "val/loss", "times as fast as nanoGPT's recipe")
    publish("time_to_loss", "Time to a loss", columns, rows, NOTES)


@pytest.mark.slow
def test_the_race_runs(tmp_path: Path) -> None:
    changes = {"trainer.max_steps": 2, "model.config.n_layer": 1, "model.config.bigram_rows": 50}
    found = race(str(write_corpus(tmp_path)), [1], steps=2, **changes)
    assert set(found) == {"nanoGPT's recipe", *CONFIGS}
    # After two steps everybody is near the logarithm of the number of characters.
    assert all(2 < each["loss"] < 6 and each["seconds"] > 0 for results in found.values() for each in results)
