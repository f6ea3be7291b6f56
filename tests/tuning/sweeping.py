"""Tiny sweeps inside the test's process; their trials are real ones, forked from a warm server."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.tuning.launch.creating import begin
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.study.study import open_study
from gpt_lightning.tuning.study.sweep import Sweep, open_sweep
from gpt_lightning.tuning.study.sweep_folder import sweep_folder_of
from gpt_lightning.tuning.trial.mailbox import Result, write_trial_spec
from gpt_lightning.tuning.workers.claiming import claim, compose_trial_spec, enqueue_points
from gpt_lightning.tuning.workers.leases import Lease, StaleTrialReaper, tell
from gpt_lightning.tuning.workers.slots import Slot
from gpt_lightning.tuning.workers.worker import work
from tests.training.forked import TEXT

BASE: dict[str, Any] = {
    "model": {"config": {"n_layer": 1, "n_head": 2, "n_embd": 8, "dropout": 0.1}, "optimizer": {"lr": 1e-2}},
    "data": {"source": "corpus.txt", "tokenizer": "bytes", "block_size": 16, "batch_size": 4, "val_fraction": 0.1},
    "trainer": {"accelerator": "cpu", "devices": 1, "max_steps": 6, "log_every_n_steps": 1},
    "run": {"validate_every": 2, "save_every": 1, "sample_tokens": 0, "keep_checkpoints": 3},
    "monitor": {"details": False, "mfu": False},  # twice the time of such a run
}
SPACE: dict[str, Any] = {
    "model.optimizer.lr": {"distribution": "log_grid", "min": 1e-3, "max": 3.2e-2, "per_octave": 1},
    "model.schedule": {"values": ["WSD", "Cosine"]},
    "model.schedule.decay": {"when": {"model.schedule": "WSD"}, "values": ["20%", "40%"]},
}


def write_sweep(place: Path, content: Mapping[str, Any], name: str = "s") -> Path:
    """A sweep file, its base and the corpus in ``place``."""
    (place / "corpus.txt").write_text(TEXT, encoding="utf-8")
    (place / "base.yaml").write_text(dump_yaml(BASE), encoding="utf-8")
    file = place / f"{name}.yaml"
    file.write_text(dump_yaml({"base": "base.yaml", "parameters": SPACE, **content}), encoding="utf-8")
    return file


def make_sweep(place: Path, content: Mapping[str, Any], name: str = "s") -> Sweep:
    """Begin a sweep, on a storage that costs little unless another is named; the working folder is ``place``."""
    spec = read_spec(write_sweep(place, {"storage": "journal", **content}, name))
    return begin(spec, sweep_folder_of(name))[0]


def bare_sweep(place: Path, content: Mapping[str, Any], name: str = "s") -> Sweep:
    """A sweep whose settings nobody checked, on a storage that costs little: for whatever needs no training."""
    spec = read_spec(write_sweep(place, {"storage": "journal", **content}, name))
    folder = sweep_folder_of(name)
    with folder.locked():
        folder.prepare(spec)
    open_study(spec, folder)
    sweep = open_sweep(folder)
    with folder.locked():
        enqueue_points(sweep)
    return sweep


def again(sweep: Sweep) -> Sweep:
    """The same sweep as another process would open it."""
    return open_sweep(sweep.folder)


def train_all(
    sweep: Sweep, asked_to_stop: Callable[[], bool] = lambda: False, most: int | None = None
) -> dict[str, int]:
    """Work with one thread, so that sums come out alike."""
    return work(sweep, Slot(threads=1), asked_to_stop=asked_to_stop, most=most)


def pretend(
    sweep: Sweep,
    count: int,
    value: Callable[[Mapping[str, Any]], float] | None = None,
    *,
    on_disk: bool = False,
) -> list[dict[str, Any]]:
    """Claim ``count`` trials and tell made-up results without training; the values that were chosen.

    A trial whose value is NaN has diverged. With ``on_disk`` their folders hold what a supervisor leaves there.
    """
    measure = value or (lambda values: abs(math.log10(values["model.optimizer.lr"]) + 2))
    found, reaper, lease = [], StaleTrialReaper(sweep), Lease()
    for _ in range(count):
        trial = claim(sweep, reaper, lease)
        assert trial is not None
        values = dict(trial.user_attrs["config"])
        found.append(values)
        seed = trial.user_attrs.get("seed", sweep.spec.seed)
        value_now = measure(values)
        result = Result("complete", value=value_now, number=trial.number, seconds=1.0, seed=seed)
        if math.isnan(value_now):
            result = replace(result, state="diverged", value=None)
        if on_disk:
            folder = sweep.folder.trial(trial.user_attrs["first"])
            folder.mkdir(parents=True, exist_ok=True)
            write_trial_spec(folder, compose_trial_spec(sweep, trial, Slot(), lease.owner, "start"))
            result.write(folder)
        tell(sweep, trial.number, result)
    return found
