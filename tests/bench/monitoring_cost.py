"""What watching costs the quickstart, in two runs of one process. Prints JSON, in CPU seconds.

turns  segments of steps with and without the callbacks that look on, taking turns in one run: a check of the other,
       which also holds what Lightning spends on calling them; it scatters more than there is to see
spent  a run as it is: seconds inside everything that looks on. What is called at every step is counted up to the
       quickstart's 550 steps; looks at details, validations, start and end are as many in a short run as in a long one,
       since their cadence is a share of it
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

from gpt_lightning.training.callbacks.metrics_log import MetricsLog, Speed
from gpt_lightning.training.callbacks.status_line import StatusLine
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import Run, add_callbacks
from gpt_lightning.training.fitting.run_summary import RunSummary
from gpt_lightning.training.watch.diagnostics import Diagnostics

SEGMENT = 10
TURNS = 500
FULL = 550
_EVERY_STEP = ("MetricsLog.on_train_batch_end", "StatusLine.on_train_batch_end")
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


def measure_spent(steps: int, place: Path) -> dict[str, Any]:
    """A run with everything on; CPU seconds by who spent them, as they are and in the quickstart."""
    meter = Meter()
    for owner in (MetricsLog, Diagnostics, StatusLine):
        for name in _HOOKS:
            if name in vars(owner):
                meter.wrap(owner, name, f"{owner.__name__}.{name}")
    meter.wrap(RunSummary, "begin", "texts at the start")
    meter.wrap(RunSummary, "show_schedule", "texts at the start")
    meter.wrap(RunSummary, "end", "the end")
    meter.wrap(Speed, "measure_peak", "matrix peak")
    run = _build(steps, place)
    start = time.process_time()
    run.fit()
    whole = time.process_time() - start
    parts = {name: spent * (FULL / steps if name in _EVERY_STEP else 1) for name, spent in meter.seconds.items()}
    return {"short": whole, "short_watching": sum(meter.seconds.values()), "parts": parts}


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
            self._watchers = [each for each in everybody if isinstance(each, (MetricsLog, Diagnostics, StatusLine))]
            vars(trainer)["callbacks"] = [each for each in everybody if each not in self._watchers]
        self._start = time.process_time()


def measure_turns(steps: int, place: Path) -> dict[str, Any]:
    """Seconds of a step without watchers, and how much of it neighbouring segments with them took more."""
    run = _build(steps, place, {"trainer.limit_val_batches": 0, "monitor.details_every": None})
    toggle = Toggle()
    add_callbacks(run.trainer, toggle)
    run.fit()
    pairs = list(zip(toggle.turns[False], toggle.turns[True], strict=False))[1:]
    more = sorted(on / off - 1 for off, on in pairs)
    quartiles = statistics.quantiles(more, n=4)
    return {
        "pairs": len(pairs),
        "step": statistics.median(toggle.turns[False]) / SEGMENT,
        "more": quartiles[1],
        "quartiles": [quartiles[0], quartiles[2]],
    }


def measure_all(steps: int, place: Path) -> dict[str, Any]:
    """Both, and what follows for the quickstart's own length."""
    turns, spent = measure_turns(TURNS, place / "turns"), measure_spent(steps, place / "spent")
    watching = sum(spent["parts"].values())
    whole = spent["short"] - spent["short_watching"] + (FULL - steps) * turns["step"] + watching
    return {"turns": turns, "spent": spent, "watching": watching, "whole": whole, "share": watching / whole}


def _build(steps: int, place: Path, *more: dict[str, Any]) -> Run:
    settings = {"trainer.max_steps": steps, "run.dir": str(place), "run.sample_tokens": 0}
    return build("configs/quickstart.yaml", settings, *more)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("steps", type=int)
    with tempfile.TemporaryDirectory() as folder:
        found = measure_all(parser.parse_args().steps, Path(folder))
    sys.stdout.write(json.dumps(found) + "\n")
