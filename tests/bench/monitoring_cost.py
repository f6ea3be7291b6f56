"""What watching costs the quickstart, two ways, each inside one run. Prints JSON.

shares   a run as it is: CPU seconds spent in everything that looks on, over those of the whole run
turns    segments of steps with and without the callbacks and loggers that look on, taking turns in one run
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.training.build import build
from gpt_lightning.training.callbacks.insight import Insight
from gpt_lightning.training.callbacks.metrics_log import MetricsLog
from gpt_lightning.training.callbacks.status_line import StatusLine
from gpt_lightning.training.chronicle import Chronicle
from gpt_lightning.training.run import Run, add_callbacks
from gpt_lightning.training.speed import Speed

SEGMENT = 20
_HOOKS = (
    "on_train_start",
    "on_train_batch_end",
    "on_before_optimizer_step",
    "on_validation_start",
    "on_validation_batch_end",
    "on_validation_epoch_end",
    "on_validation_end",
    "on_train_end",
    "teardown",
)


class Meter:
    """CPU seconds inside functions, by name; a function inside another one counts once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._depth = 0

    def wrap(self, owner: type, name: str, label: str) -> None:
        """Measure a method of a class."""
        function: Callable[..., Any] = getattr(owner, name)

        def measured(*args: Any, **kwargs: Any) -> Any:
            start, self._depth = time.process_time(), self._depth + 1
            try:
                return function(*args, **kwargs)
            finally:
                self._depth -= 1
                if not self._depth:
                    self.seconds[label] = self.seconds.get(label, 0.0) + time.process_time() - start

        setattr(owner, name, measured)


def measure_shares(steps: int, place: Path) -> dict[str, Any]:
    """A run with everything on; CPU seconds by who spent them."""
    meter = Meter()
    for owner in (MetricsLog, Insight, StatusLine):
        for name in _HOOKS:
            if name in vars(owner):
                meter.wrap(owner, name, f"{owner.__name__}.{name}")
    meter.wrap(Chronicle, "begin", "texts at the start")
    meter.wrap(Chronicle, "show_schedule", "texts at the start")
    meter.wrap(Chronicle, "end", "the end")
    meter.wrap(Speed, "measure_peak", "matrix peak")
    run = _build(steps, place)
    start = time.process_time()
    run.fit()
    whole = time.process_time() - start
    return {"whole": whole, "watching": sum(meter.seconds.values()), "parts": meter.seconds}


class Toggle(Callback):
    """Takes those who look on away and back, every segment; the last callback, so that it sees whole steps."""

    def __init__(self) -> None:
        self.turns: dict[bool, list[float]] = {True: [], False: []}
        self._on = True
        self._start = 0.0
        self._watchers: list[Any] = []

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """At the end of a segment, change over."""
        if trainer.global_step % SEGMENT:
            return
        now = time.process_time()
        if self._start:
            self.turns[self._on].append(now - self._start)
        self._on = not self._on
        everybody: list[Callback] = vars(trainer)["callbacks"]
        if self._on:
            # A new list: the old one is being walked through.
            vars(trainer)["callbacks"] = [*self._watchers, *everybody]
        else:
            self._watchers = [each for each in everybody if isinstance(each, (MetricsLog, Insight, StatusLine))]
            vars(trainer)["callbacks"] = [each for each in everybody if each not in self._watchers]
        self._start = time.process_time()


def measure_turns(steps: int, place: Path) -> dict[str, Any]:
    """Median over neighbouring segments of the time with over the time without."""
    run = _build(steps, place, {"trainer.limit_val_batches": 0})
    toggle = Toggle()
    add_callbacks(run.trainer, toggle)
    run.fit()
    pairs = list(zip(toggle.turns[False], toggle.turns[True], strict=False))[1:]
    ratios = [on / off for off, on in pairs]
    return {
        "ratio": statistics.median(ratios),
        "pairs": len(ratios),
        "step": statistics.median(toggle.turns[False]) / SEGMENT,
    }


def _build(steps: int, place: Path, *more: dict[str, Any]) -> Run:
    settings = {"trainer.max_steps": steps, "run.dir": str(place), "run.sample_tokens": 0}
    return build("configs/quickstart.yaml", settings, *more)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["shares", "turns"])
    parser.add_argument("steps", type=int)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        kinds = {"shares": measure_shares, "turns": measure_turns}
        found = kinds[chosen.kind](chosen.steps, Path(folder) / "run")
    sys.stdout.write(json.dumps(found) + "\n")
