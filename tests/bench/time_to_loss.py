"""Seconds of training until tiny Shakespeare's characters are predicted as well as by nanoGPT's CPU recipe.

For each seed nanoGPT's recipe (2000 steps of the loop in ``nano_gpt``) and our speedruns, one after the other in one
process; all are measured on the whole validation split with windows of 64. Evaluation is not counted. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from typing import Any

import torch
from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.stream.stream import EvaluationWindows
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import add_callbacks
from tests.bench.nano_gpt import NanoGPT, NanoLoop

BLOCK_SIZE, BATCH_SIZE = 64, 12
CONFIGS = ("speedrun_cpu", "speedrun_cpu_long")


class Stopwatch(Callback):
    """From the first batch until the last step is done."""

    seconds = 0.0

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """The first batch is read next."""
        self._begin = time.perf_counter()

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Perhaps the last one."""
        self.seconds = time.perf_counter() - self._begin


def train_ours(name: str, seed: int, source: str, **changes: Any) -> dict[str, float]:
    """Seconds and loss of a config."""
    watch = Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        settings = {"data.source": source, "seed_everything": seed, "run.dir": f"{folder}/run", "run.sample_tokens": 0}
        run = build(f"configs/{name}.yaml", settings, changes)
        assert (run.datamodule.block_size, run.datamodule.batch_size) == (BLOCK_SIZE, BATCH_SIZE)
        add_callbacks(run.trainer, watch)
        result = run.fit()
    return {"seconds": watch.seconds, "loss": float(result.metrics["val/loss"])}


def train_nano(store: TokenStore, seed: int, steps: int) -> dict[str, float]:
    """Seconds and loss of nanoGPT's recipe."""
    torch.manual_seed(seed)
    sizes = {"n_layer": 4, "n_head": 4, "n_embd": 128, "block_size": BLOCK_SIZE, "vocab_size": store.vocab_size}
    model = NanoGPT(GPTConfig(**sizes), store.vocab_size)  # type: ignore[arg-type]
    split = store.split("train")
    tokens = split.gather(split.document_ends[:1] * 0, split.num_tokens)[0]
    loop = NanoLoop(model, tokens, block_size=BLOCK_SIZE, batch_size=BATCH_SIZE, warmup=100)
    begin = time.perf_counter()
    for _ in range(steps):
        loop.step()
    seconds = time.perf_counter() - begin
    return {"seconds": seconds, "loss": evaluate(model, store)}


@torch.no_grad()
def evaluate(model: NanoGPT, store: TokenStore) -> float:
    """Mean loss over the validation split, as ``val/loss`` is."""
    total = weight = 0.0
    for rows in EvaluationWindows(store.split("val"), BLOCK_SIZE).batches(32):
        tokens = torch.from_numpy(rows.tokens).long()
        weights = torch.ones(len(tokens), BLOCK_SIZE) if rows.weights is None else torch.from_numpy(rows.weights)
        logits, _ = model(tokens[:, :-1], tokens[:, 1:].contiguous())
        losses = torch.nn.functional.cross_entropy(logits.transpose(1, 2), tokens[:, 1:], reduction="none")
        total += float((losses * weights).sum())
        weight += float(weights.sum())
    return total / weight


def race(source: str, seeds: list[int], steps: int = 2000, **changes: Any) -> dict[str, list[dict[str, float]]]:
    """All of them for every seed."""
    store = build("configs/speedrun_cpu.yaml", {"data.source": source}).datamodule.open_store()
    found: dict[str, list[dict[str, float]]] = {}
    for seed in seeds:
        found.setdefault("nanoGPT's recipe", []).append(train_nano(store, seed, steps))
        for name in CONFIGS:
            found.setdefault(name, []).append(train_ours(name, seed, source, **changes))
    return found


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("seeds", type=int, nargs="+")
    chosen = parser.parse_args()
    sys.stdout.write("\n" + json.dumps(race(chosen.source, chosen.seeds)) + "\n")
