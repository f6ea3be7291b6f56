"""What watching a run costs at default settings: at most 2 % of the quickstart."""

from __future__ import annotations

import pytest

from tests.bench.monitoring_cost import TURNS
from tests.bench.publish import measure, publish

STEPS = 100
NOTES = f"""\
CPU seconds, one thread, two runs of the quickstart in one process: {STEPS} steps as it is, {TURNS} steps in turns.

- The quickstart, 550 steps: seconds inside all that looks on, in a run with everything that is on by default. What is
  called at every step is counted 5.5 times. Looks at details, validations, start and end are counted once: their
  cadence is a share of the run (20 % both), so they are as many. The whole is the short run's time and that of the
  450 steps it is short of.
- In turns: segments of 10 steps with the callbacks that look on, and without them, alternate in one run without
  details and validations; median and quartiles over the pairs. It checks the first row for what is spent outside of
  the callbacks, within its scatter."""


@pytest.mark.bench
def test_monitoring() -> None:
    found = measure("monitoring_cost", str(STEPS), threads=1)
    turns, parts = found["turns"], found["spent"]["parts"]
    low, high = turns["quartiles"]
    rows: list[list[object]] = [
        ["quickstart, 550 steps", found["whole"], found["watching"], f"{found['share']:.2%}"],
        [
            f"a step, in turns, {turns['pairs']} pairs",
            turns["step"],
            turns["step"] * turns["more"],
            f"{turns['more']:.2%} ({low:.2%} to {high:.2%})",
        ],
    ]
    rows += [[name, "", seconds, f"{seconds / found['whole']:.2%}"] for name, seconds in parts.items()]
    publish("monitoring_cost", "Watching a run", ["what", "CPU s", "of it watching", "share"], rows, NOTES)
