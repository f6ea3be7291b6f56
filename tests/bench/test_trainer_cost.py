"""What the Trainer costs beside a plain loop over the same objects, and beside a loop in nanoGPT's manner."""

from __future__ import annotations

import pytest

from tests.bench.publish import corpus, measure, publish

ROUNDS = {"tiny": 60, "small": 8}
"""Turns per size; each gives five counted steps to every loop."""

NAMES = {"fit": "build(...).fit", "plain": "plain PyTorch loop", "nano": "nanoGPT-like loop"}

NOTES = """\
tiny: 4 layers, 128 wide, block 64, batch 12 (nanoGPT's CPU recipe). small: 6 layers, 384 wide, block 256, batch 8.
The three loops take turns of 6 steps inside one `fit` (the first of each turn is not counted), so that other work on
the machine disturbs all alike; the machine was shared, so read the ratios, not the milliseconds. A step of `fit` is
everything between the end of one step and the end of the next: loading, hooks, our callbacks, logging as by default.
"turn / plain" is the median over the turns of the ratio of medians within one turn. CPU ms is the process's own time
on one thread, which waits for nobody; with two threads the same cost in ms weighs up to twice as much."""


@pytest.mark.bench
def test_trainer_beside_plain_loops() -> None:
    rows: list[list[object]] = []
    for size, rounds in ROUNDS.items():
        for threads in (1, 2):
            found = measure("trainer_cost", size, str(rounds), corpus(), threads=threads)
            base = found["times"]["plain"]
            for name, shown in NAMES.items():
                wall, cpu = found["times"][name]["wall"], found["times"][name]["cpu"]
                row: list[object] = [size, threads, shown, wall["median"], wall["p10"]]
                row += [found["tokens"] / wall["p10"] * 1000, cpu["p10"] if threads == 1 else "-"]
                row += [found["times"][name]["paired"], wall["p10"] / base["wall"]["p10"]]
                row += [cpu["p10"] / base["cpu"]["p10"] if threads == 1 else "-"]
                rows.append(row)
    columns = ["size", "threads", "loop", "median ms", "p10 ms", "tokens/s (p10)", "CPU ms (p10)"]
    columns += ["turn / plain", "p10 / plain", "CPU p10 / plain"]
    publish("trainer_cost", "The Trainer beside plain loops", columns, rows, NOTES)
