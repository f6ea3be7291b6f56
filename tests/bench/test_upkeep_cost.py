"""What monitoring and saving add to a run at their default cadence."""

from __future__ import annotations

import pytest

from tests.bench.publish import corpus, measure, publish

STEPS = {"tiny": 260, "small": 74}

NOTES = """\
Steps with a logged point (TensorBoard and JSON lines), with a checkpoint (written, synced to disk, checksummed,
renamed), and with neither, taking turns in one run on one thread; the difference of medians is the cost. The shares are
of CPU time, for the default cadence: a point every 50 steps, ten checkpoints in a run of 2000 steps. The machine was
shared: the clock also counts the others' work."""


@pytest.mark.bench
def test_upkeep() -> None:
    rows: list[list[object]] = []
    for size, steps in STEPS.items():
        found = measure("upkeep_cost", size, str(steps), corpus(), threads=1)
        wall, cpu = found["wall"], found["cpu"]
        point, save = cpu["logged"] - cpu["plain"], cpu["saved"] - cpu["plain"]
        row: list[object] = [size, cpu["plain"], point, f"{point / 50 / cpu['plain']:.3%}"]
        row += [save, wall["saved"] - wall["plain"], f"{save / 200 / cpu['plain']:.3%}"]
        rows.append([*row, found["checkpoint_bytes"] / 1e6])
    columns = ["size", "step CPU ms", "point CPU ms", "points' share", "save CPU ms", "save clock ms"]
    columns += ["saves' share", "checkpoint MB"]
    publish("upkeep_cost", "Monitoring and saving", columns, rows, NOTES)
