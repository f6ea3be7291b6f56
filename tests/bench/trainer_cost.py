"""The same model, data and optimizer stepped by ``fit``, by a plain PyTorch loop, and by a loop in nanoGPT's manner.

All three take turns inside one ``fit``: a callback runs a few steps of each rival between two steps of the Trainer, so
that whatever else the machine does disturbs all of them alike. Every loop has weights of its own. Prints JSON.
"""

from __future__ import annotations

import argparse
import json
import math
import statistics
import sys
import tempfile
import time
from abc import ABC, abstractmethod
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Learner
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.optim.clipping import clip_gradients
from gpt_lightning.optim.groups import set_learning_rates
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import Run, add_callbacks
from tests.bench.publish import SEED

SEGMENT = 6
"""Steps of one turn; the first is not counted, since it finds the caches full of another's weights."""

SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"model.config": {"n_layer": 4, "n_head": 4, "n_embd": 128}, "data": {"block_size": 64, "batch_size": 12}},
    "small": {"model.config": {"n_layer": 6, "n_head": 6, "n_embd": 384}, "data": {"block_size": 256, "batch_size": 8}},
}


class Rival(ABC):
    """A training loop over a copy of the run's model."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.model = GPT(run.module.config, torch.Generator().manual_seed(SEED))
        self.count = 0

    @abstractmethod
    def step(self) -> None:
        """One optimizer step."""


class PlainLoop(Rival):
    """Our objective, optimizer, clipping, schedule and stream, called one after the other."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        self.optimizer = run.module.optimizer_recipe.build(self.model)
        batches = iter(run.datamodule.train_dataloader())
        # The loader asks where the run stands when its first batch is taken: now, at step 0, or it would end too soon.
        self.batches = chain([next(batches)], batches)

    def step(self) -> None:
        """Learning rate, gradient, clipping, update."""
        module = self.run.module
        assert module.horizon is not None
        set_learning_rates(self.optimizer, module.schedule.factor(self.count, module.horizon))
        self.optimizer.zero_grad()
        batch = next(self.batches).number_rows()
        assert batch.samples is not None
        batch.tokens = batch.tokens.long()
        torch.autograd.backward(module.objective(Learner(self.model), batch, Draws(0, batch.samples)).loss)
        clip_gradients(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.count += 1


class NanoLoop(Rival):
    """What nanoGPT's eager CPU loop does: windows drawn one by one, unfused AdamW, the loss read each step."""

    def __init__(self, run: Run) -> None:
        super().__init__(run)
        weights = list(self.model.parameters())
        groups = [
            {"params": [weight for weight in weights if weight.dim() >= 2], "weight_decay": 0.1},
            {"params": [weight for weight in weights if weight.dim() < 2], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=1e-3, betas=(0.9, 0.99), fused=False)
        split = run.datamodule.open_store().split("train")
        self.tokens: np.ndarray[Any, Any] = split.gather(np.zeros(1, dtype=np.int64), split.num_tokens)[0]
        self.losses: list[float] = []

    def step(self) -> None:
        """Windows, learning rate, gradient, clipping, update, loss."""
        block, batch = self.run.datamodule.block_size, self.run.datamodule.batch_size
        starts = torch.randint(len(self.tokens) - block, (batch,)).tolist()
        inputs = torch.stack([torch.from_numpy(self.tokens[s : s + block].astype(np.int64)) for s in starts])
        targets = torch.stack([torch.from_numpy(self.tokens[s + 1 : s + 1 + block].astype(np.int64)) for s in starts])
        for group in self.optimizer.param_groups:
            group["lr"] = 1e-4 + 0.45e-3 * (1 + math.cos(math.pi * self.count / 2000))
        logits = self.model.logits(self.model(inputs))
        loss = F.cross_entropy(logits.view(-1, logits.shape[-1]), targets.view(-1))
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(self.model.parameters(), 1.0)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.losses.append(loss.item())
        self.count += 1


class TakeTurns(Callback):
    """Times the Trainer's own steps, end to end, and lets every rival step after each segment of them."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.rivals: dict[str, Rival] = {}
        self.wall: dict[str, list[list[float]]] = {name: [] for name in ("fit", "plain", "nano")}
        self.cpu: dict[str, list[list[float]]] = {name: [] for name in ("fit", "plain", "nano")}
        self._wall: list[float] = []
        self._cpu: list[float] = []
        self._left = (0.0, 0.0)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Now the data know their trainer."""
        self.rivals = {"plain": PlainLoop(self.run), "nano": NanoLoop(self.run)}

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """The Trainer's step began when this method was left the last time."""
        wall, cpu = time.perf_counter(), time.process_time()
        if batch_idx:
            self._wall.append(wall - self._left[0])
            self._cpu.append(cpu - self._left[1])
        if len(self._wall) == SEGMENT:
            self._keep("fit", self._wall, self._cpu)
            self._wall, self._cpu = [], []
            for name, rival in self.rivals.items():
                self._time(name, rival)
        self._left = (time.perf_counter(), time.process_time())

    def _keep(self, name: str, wall: list[float], cpu: list[float]) -> None:
        self.wall[name].append(wall[1:])
        self.cpu[name].append(cpu[1:])

    def _time(self, name: str, rival: Rival) -> None:
        walls, cpus = [], []
        for _ in range(SEGMENT):
            wall, cpu = time.perf_counter(), time.process_time()
            rival.step()
            walls.append(time.perf_counter() - wall)
            cpus.append(time.process_time() - cpu)
        self._keep(name, walls, cpus)


def summarise(segments: list[list[float]]) -> dict[str, float]:
    """Median and 10th percentile of the counted steps, milliseconds; the first turn is warm-up."""
    steps = sorted(1000 * seconds for segment in segments[1:] for seconds in segment)
    return {"median": statistics.median(steps), "p10": steps[len(steps) // 10]}


def pair(segments: list[list[float]], others: list[list[float]]) -> float:
    """Median over the turns of the ratio of two loops in the same turn."""
    ratios = [statistics.median(one) / statistics.median(two) for one, two in zip(segments, others, strict=True)]
    return statistics.median(ratios[1:])


def compare(size: str, rounds: int, source: str) -> dict[str, Any]:
    """Times of all three loops."""
    settings = {"trainer.max_steps": rounds * SEGMENT + 1, "trainer.limit_val_batches": 1, "data.source": source}
    always = {
        "run.validate_every": "100%",
        "run.save_every": "100%",
        "seed_everything": SEED,
        "model.schedule.warmup": "5%",
    }
    with tempfile.TemporaryDirectory() as folder:
        place = {"run.dir": str(Path(folder) / "run")}
        run = build("configs/shakespeare_char.yaml", SIZES[size], settings, always, place)
        turns = TakeTurns(run)
        add_callbacks(run.trainer, turns)
        run.fit()
    times = {
        name: {
            "wall": summarise(turns.wall[name]),
            "cpu": summarise(turns.cpu[name]),
            "paired": pair(turns.wall[name], turns.wall["plain"]),
        }
        for name in turns.wall
    }
    return {"times": times, "tokens": run.plan.horizon.tokens_per_step, "threads": torch.get_num_threads()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("rounds", type=int)
    parser.add_argument("source")
    chosen = parser.parse_args()
    sys.stdout.write(json.dumps(compare(chosen.size, chosen.rounds, chosen.source)) + "\n")
