"""What watching a run costs at default settings: at most 2 % of the quickstart."""

from __future__ import annotations

import pytest

from tests.bench.publish import measure, publish

STEPS = 140
NOTES = f"""\
CPU seconds, one thread, two runs of the quickstart of {STEPS} steps each in one process.

- Every step: segments of 10 steps with the callbacks that log and look on, and without them, take turns in one run
  (a point every 10 steps, no details, no validation); median of the pairs, and their quartiles.
- Moments: a run with all that is on by default. Looks at details, validations, start and end are as many in any run,
  since their cadence is a share of it (every 10 % and 20 %), so these are counted as measured.
- The quickstart, 550 steps: the moments, and 550 times what a step pays; over the CPU time of the short run and of the
  steps it is short of. Shown for the median, and for the upper quartile of what a step pays."""


@pytest.mark.bench
def test_monitoring() -> None:
    found = measure("monitoring_cost", str(STEPS), threads=1)
    turns, moments = found["steps"], found["moments"]
    low, high = turns["quartiles"]
    upper = found["watching"] + 550 * turns["step"] * (high - turns["more"])
    rows: list[list[object]] = [
        ["quickstart, 550 steps", found["whole"], found["watching"], f"{found['share']:.2%}"],
        ["the same, upper quartile", found["whole"], upper, f"{upper / found['whole']:.2%}"],
        [
            f"every step, {turns['pairs']} pairs",
            turns["step"],
            turns["step"] * turns["more"],
            f"{turns['more']:.2%} ({low:.2%} to {high:.2%})",
        ],
    ]
    rows += [[name, "", seconds, f"{seconds / found['whole']:.2%}"] for name, seconds in moments["parts"].items()]
    publish("monitoring_cost", "Watching a run", ["what", "CPU s", "of it watching", "share"], rows, NOTES)
