"""Tokens per second that the training stream delivers, and how long the first batch takes. Prints JSON."""

from __future__ import annotations

import json
import statistics
import sys
import time

from gpt_lightning.data.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.stream import TrainStream
from gpt_lightning.training.datamodule import Share, TrainLoader
from tests.bench.publish import SEED

BLOCK_SIZE, BATCH_SIZE, STEPS, REPEATS = 1024, 8, 500, 7


def main() -> None:
    """Open, first batch, then a few hundred batches, several times."""
    settings = PrepareSettings(source="builtin:stdlib", tokenizer="bytes")
    find_or_prepare(settings)
    opening, first, rates = [], [], []
    for repeat in range(REPEATS):
        start = time.perf_counter()
        store = find_or_prepare(settings)
        opened = time.perf_counter()
        stream = TrainStream(store.split("train"), BLOCK_SIZE, SEED + repeat)
        batches = iter(TrainLoader(stream, Share(BATCH_SIZE), STEPS + 1, lambda: 0))
        next(batches)
        running = time.perf_counter()
        tokens = sum(batch.tokens.long()[:, 1:].numel() for batch in batches)
        opening.append(opened - start)
        first.append(running - opened)
        rates.append(tokens / (time.perf_counter() - running))
    found = {
        "store_tokens": store.split("train").num_tokens,
        "open_ms": 1000 * statistics.median(opening),
        "first_batch_ms": 1000 * statistics.median(first),
        "tokens_per_second": statistics.median(rates),
        "best_tokens_per_second": max(rates),
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
