"""What monitoring and saving add to a run at their default cadence."""

from __future__ import annotations

import pytest

from tests.bench.publish import corpus, measure, publish

STEPS = {"tiny": 260, "small": 74}

NOTES = """\
Steps with a logged point (TensorBoard and JSON lines), with a checkpoint (written, synced to disk, checksummed,
renamed), and with neither, taking turns in one run on one thread; the difference of medians is the cost. The shares are
for the default cadence: a point every 50 steps, ten checkpoints in a run of 2000 steps. The machine was shared."""


@pytest.mark.bench
def test_upkeep() -> None:
    rows: list[list[object]] = []
    for size, steps in STEPS.items():
        found = measure("upkeep_cost", size, str(steps), corpus(), threads=1)
        point, save = found["logged"] - found["plain"], found["saved"] - found["plain"]
        row: list[object] = [size, found["plain"], point, f"{point / 50 / found['plain']:.3%}"]
        row += [save, found["checkpoint_bytes"] / 1e6, f"{save / 200 / found['plain']:.3%}"]
        rows.append(row)
    columns = ["size", "plain step ms", "point ms", "points' share", "save ms", "checkpoint MB", "saves' share"]
    publish("upkeep_cost", "Monitoring and saving", columns, rows, NOTES)
