"""A sweep over schedules on the store of prefixes: most steps are done once, and no trial notices.

Optuna's TPE asks, two processes train. ``make test-slow`` runs this; figures are in ``sweeps/NOTES.md``.
"""

from __future__ import annotations

import json
import random
import time
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.checkpoints.prefixes import PrefixStore
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.profiling.reuse_commands import compare_runs
from gpt_lightning.training.reuse.reuse import Reuse
from gpt_lightning.training.runs.run_folder import read_metrics
from tests.training.forked import run_child, start_child

STEPS, TRIALS, WORKERS = 200, 40, 2
BUDGET = 100_000_000
"""Bytes; about a third of what all entries would take."""
BASE: dict[str, Any] = {
    "model": {"config": {"n_layer": 2, "n_head": 2, "n_embd": 32}},
    "data": {"tokenizer": "bytes", "block_size": 32, "batch_size": 8, "eval_batch_size": 64},
    "trainer": {
        "accelerator": "cpu",
        "devices": 1,
        "max_steps": STEPS,
        "limit_val_batches": 10,
        "log_every_n_steps": 10,
        "gradient_clip_val": 1.0,
        "logger": False,
        "enable_progress_bar": False,
    },
    "run": {"validate_every": 40, "save_every": 50, "keep_checkpoints": 1},
}
"""On the prose that every Python carries, which 200 steps do not see twice: a corpus that is learned by heart would
reward the longest cooldown."""


def train(folder: Path, settings: dict[str, Any], store: Path | None, budget: int | None) -> None:
    """The body of a trial; leaves ``counts.json`` when it ends."""
    run = build(BASE, settings, {"run.dir": str(folder)})
    result = run.fit("auto", None if store is None else Reuse(store, budget_bytes=budget, owner=folder.name))
    counts = {"executed": result.executed_steps, "reused": result.reused_steps}
    (folder / "counts.json").write_text(json.dumps(counts), encoding="utf-8")


def suggest(trial: Any) -> dict[str, Any]:
    lr = trial.suggest_categorical("lr", [round(1e-3 * 2 ** (k / 2), 6) for k in range(9)])
    options = {
        "warmup": 10,
        "decay": f"{trial.suggest_int('cooldown', 10, 60, step=5)}%",
        "shape": trial.suggest_categorical("shape", ["Straight", "OneMinusSqrt", "HalfCosine", "Square"]),
        "final_factor": trial.suggest_categorical("floor", [0.0, 0.1]),
    }
    return {"model": {"optimizer": {"lr": lr}, "schedule": {"class_path": "WSD", "init_args": options}}}


def value_of(folder: Path) -> float:
    return float(next(line["val/loss"] for line in reversed(read_metrics(folder)) if "val/loss" in line))


def sweep(place: Path, kills: random.Random | None) -> tuple[dict[int, dict[str, Any]], int]:
    """Settings of every trial, all of which have ended, and how many processes were killed."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=7))
    settings: dict[int, dict[str, Any]] = {}
    running: dict[int, tuple[Any, Any, float]] = {}
    deaths = 0
    while len(settings) < TRIALS or running:
        while len(running) < WORKERS and len(settings) < TRIALS:
            trial = study.ask()
            settings[trial.number] = suggest(trial)
            running[trial.number] = (trial, _start(place, trial.number, settings), _death(kills))
        for number, (trial, process, death) in list(running.items()):
            if process.is_alive() and len(read_metrics(place / f"{number:05d}")) >= death:
                process.kill()
                deaths += 1
            if process.is_alive():
                continue
            process.join()
            if process.exitcode == 0:
                study.tell(trial, value_of(place / f"{number:05d}"))
                del running[number]
            else:
                assert kills is not None, (number, process.exitcode)
                running[number] = (trial, _start(place, number, settings), _death(kills))
        time.sleep(0.02)
    return settings, deaths


def _start(place: Path, number: int, settings: dict[int, dict[str, Any]]) -> Any:
    return start_child(place, train, place / f"{number:05d}", settings[number], place / "prefixes", BUDGET)


def _death(kills: random.Random | None) -> float:
    """After how many logged lines a process is killed, if ever: half of them."""
    return float("inf") if kills is None or kills.random() < 0.5 else kills.randrange(24)


def check_against_scratch(place: Path, settings: dict[int, dict[str, Any]], seed: int) -> None:
    for number in random.Random(seed).sample(sorted(settings), 5):
        scratch = place / f"scratch-{number}"
        assert run_child(place, train, scratch, settings[number], None, None, timeout=120) == 0
        assert compare_runs(place / f"{number:05d}", scratch) == [], number


@pytest.mark.slow
def test_forty_trials_do_less_than_half_of_the_steps(tmp_path: Path) -> None:
    settings, _ = sweep(tmp_path, None)
    counts = [json.loads((tmp_path / f"{number:05d}" / "counts.json").read_text()) for number in settings]
    executed = sum(count["executed"] for count in counts)
    share = executed / (TRIALS * STEPS)
    duplicates = sum(count["executed"] == 0 for count in counts)
    print(f"\n{executed} of {TRIALS * STEPS} steps ({share:.1%}), {duplicates} trials did none")
    assert share <= 0.45
    assert all(count["executed"] + count["reused"] == STEPS for count in counts)
    store = PrefixStore(tmp_path / "prefixes")
    print(f"store {store.total_bytes():,} bytes in {len(store.entries())} entries")
    assert store.total_bytes() <= BUDGET
    assert not list((tmp_path / "prefixes" / "pins").iterdir())
    check_against_scratch(tmp_path, settings, seed=1)


@pytest.mark.slow
def test_killing_at_random_changes_no_result(tmp_path: Path) -> None:
    settings, deaths = sweep(tmp_path, random.Random(3))
    print(f"\n{deaths} processes killed for {TRIALS} trials")
    assert deaths >= TRIALS // 4
    check_against_scratch(tmp_path, settings, seed=2)
    assert PrefixStore(tmp_path / "prefixes").total_bytes() <= BUDGET
