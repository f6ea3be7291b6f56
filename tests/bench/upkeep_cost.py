"""What a logged point and a checkpoint cost: steps with and without them, taking turns in one run. Prints JSON."""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import add_callbacks
from tests.bench.publish import SEED
from tests.bench.trainer_cost import SIZES

LOG_EVERY, SAVE_EVERY = 2, 9


class StepClock(Callback):
    """Seconds from the end of each step's update to the same point of the next, by what lay between."""

    def __init__(self) -> None:
        self.wall: dict[str, list[float]] = {"plain": [], "logged": [], "saved": []}
        self.cpu: dict[str, list[float]] = {"plain": [], "logged": [], "saved": []}
        self._left = (0.0, 0.0)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Runs before our own callbacks, so their work for step k falls between k and k + 1."""
        wall, cpu, done = time.perf_counter(), time.process_time(), trainer.global_step - 1
        kinds = [name for name, every in (("logged", LOG_EVERY), ("saved", SAVE_EVERY)) if done % every == 0]
        if done > SAVE_EVERY and len(kinds) < 2:
            kind = kinds[0] if kinds else "plain"
            self.wall[kind].append(wall - self._left[0])
            self.cpu[kind].append(cpu - self._left[1])
        self._left = (time.perf_counter(), time.process_time())


def measure_upkeep(size: str, steps: int, source: str) -> dict[str, Any]:
    """Medians in milliseconds, and the size of a checkpoint."""
    cadence = {"trainer.max_steps": steps, "trainer.log_every_n_steps": LOG_EVERY, "run.save_every": SAVE_EVERY}
    rest = {
        "trainer.limit_val_batches": 1,
        "run.validate_every": "100%",
        "seed_everything": SEED,
        "model.schedule.warmup": "5%",
    }
    clock = StepClock()
    with tempfile.TemporaryDirectory() as folder:
        where = {"data.source": source, "run.dir": str(Path(folder) / "run")}
        run = build("configs/shakespeare_char.yaml", SIZES[size], cadence, rest, where)
        add_callbacks(run.trainer, clock)
        result = run.fit()
        newest = max((result.folder / "checkpoints").glob("step-*"))
        size_bytes = sum(file.stat().st_size for file in newest.rglob("*") if file.is_file())
    medians = {
        clock_name: {kind: 1000 * statistics.median(values) for kind, values in times.items()}
        for clock_name, times in (("wall", clock.wall), ("cpu", clock.cpu))
    }
    return medians | {"checkpoint_bytes": size_bytes}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("size", choices=SIZES)
    parser.add_argument("steps", type=int)
    parser.add_argument("source")
    chosen = parser.parse_args()
    sys.stdout.write(json.dumps(measure_upkeep(chosen.size, chosen.steps, chosen.source)) + "\n")
