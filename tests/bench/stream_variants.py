"""Every way to stream one corpus: rate, first batch, resume far away, growth of memory. Prints JSON."""

from __future__ import annotations

import json
import os
import statistics
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.stream.mixed_stream import mix
from gpt_lightning.data.stream.mixture import Mixture, MixtureSource
from gpt_lightning.data.stream.packing import Concat, Document, Pack
from gpt_lightning.data.stream.stream import SampleStream, TrainStream
from gpt_lightning.training.loading.loaders import Share, TrainLoader
from tests.bench.publish import SEED

BLOCK_SIZE, BATCH_SIZE, STEPS, REPEATS = 1024, 8, 500, 5
FAR, LONG = 10**9, 10_000


def streams(store: TokenStore) -> dict[str, Callable[[], SampleStream]]:
    """By name; a mixture reads the same store three times."""

    def single(**options: Any) -> Callable[[], SampleStream]:
        return lambda: TrainStream(store.split("train"), BLOCK_SIZE, SEED, **options)

    def mixture() -> SampleStream:
        sources = {
            name: MixtureSource(name, weight=weight) for name, weight in (("a", 0.7), ("b", 0.299), ("c", 0.001))
        }
        stores = dict.fromkeys(sources, store)
        return mix(
            stores,
            Mixture(sources),
            SEED,
            BLOCK_SIZE,
            lambda each, seed: TrainStream(each.split("train"), BLOCK_SIZE, seed),
        )

    return {
        "Concat": single(packing=Concat()),
        "Concat, document_mask": single(packing=Concat(), documents=True),
        "Concat, shuffle_tokens 5M": single(packing=Concat(), shuffle_tokens=5_000_000),
        "Pack": single(packing=Pack()),
        "Pack, document_mask": single(packing=Pack(), documents=True),
        "Document, document_mask": single(packing=Document(), documents=True),
        "mixture of three": mixture,
    }


def measure(open_stream: Callable[[], SampleStream]) -> dict[str, float]:
    """Medians over several passes."""
    open_stream()  # plans are made once per machine
    first, far, rates = [], [], []
    for repeat in range(REPEATS):
        begin = time.perf_counter()
        stream = open_stream()
        done = repeat * STEPS
        batches = iter(TrainLoader(stream, Share(BATCH_SIZE), done + STEPS + 1, partial(int, done)))
        next(batches)
        running = time.perf_counter()
        tokens = sum(batch.tokens[:, 1:].numel() for batch in batches)
        end = time.perf_counter()
        first.append(running - begin)
        rates.append(tokens / (end - running))
        begin = time.perf_counter()
        next(iter(TrainLoader(stream, Share(BATCH_SIZE), FAR + 1000, lambda: FAR)))
        far.append(time.perf_counter() - begin)
    return {
        "tokens_per_second": statistics.median(rates),
        "best": max(rates),
        "first_ms": 1000 * statistics.median(first),
        "far_ms": 1000 * statistics.median(far),
    }


def anonymous_mb() -> float:
    """Memory of this process that is not mapped from files."""
    lines = Path("/proc/self/status").read_text(encoding="utf-8").splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("RssAnon")) / 1024


def main() -> None:
    """Open cold-ish and warm, then every variant."""
    settings = PrepareSettings(source="builtin:stdlib", tokenizer=os.environ.get("BENCH_TOKENIZER", "bytes"))
    store = find_or_prepare(settings)
    found = {name: measure(open_stream) for name, open_stream in streams(store).items()}
    begin = time.perf_counter()
    stream = TrainStream(TokenStore.open(store.path).split("train"), BLOCK_SIZE, SEED)
    next(iter(TrainLoader(stream, Share(BATCH_SIZE), 100, lambda: 0)))
    warm = time.perf_counter() - begin
    before = anonymous_mb()
    for _ in TrainLoader(stream, Share(BATCH_SIZE), LONG, lambda: 0):
        pass
    facts = {
        "tokens": store.split("train").num_tokens,
        "documents": store.split("train").num_documents,
        "path": str(store.path),
        "open_and_first_ms": 1000 * warm,
        "growth_mb": anonymous_mb() - before,
    }
    sys.stdout.write(json.dumps({"variants": found, "facts": facts}) + "\n")


if __name__ == "__main__":
    main()
