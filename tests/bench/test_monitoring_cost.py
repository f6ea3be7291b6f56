"""What watching a run costs at default settings: at most 2 % of the quickstart."""

from __future__ import annotations

import pytest

from tests.bench.publish import measure, publish

NOTES = """\
The quickstart as `make train` runs it, 550 steps, with all that is on by default: a point every 10 steps, details
every 55, samples and pictures at five validations, texts, HParams, embeddings, alerts, watchdog. `whole run` is CPU
time spent inside the callbacks, loggers and texts that look on, over the CPU time of the whole run. `steps in turns`
compares segments of 20 steps with these callbacks and without them in one run, by CPU time; without validations, it
holds what Lightning spends on calling them as well. One thread. The machine was shared."""


@pytest.mark.bench
def test_monitoring() -> None:
    shares = measure("monitoring_cost", "shares", "550", threads=1)
    turns = measure("monitoring_cost", "turns", "480", threads=1)
    more = turns["ratio"] - 1
    rows: list[list[object]] = [
        ["whole run", shares["whole"], shares["watching"], f"{shares['watching'] / shares['whole']:.2%}"],
        [f"steps in turns, {turns['pairs']} pairs", turns["step"], turns["step"] * more, f"{more:.2%}"],
    ]
    rows += [[name, "", seconds, f"{seconds / shares['whole']:.2%}"] for name, seconds in shares["parts"].items()]
    publish("monitoring_cost", "Watching a run", ["what", "CPU s", "of it watching", "share"], rows, NOTES)
