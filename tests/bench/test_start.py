"""How long commands take before they do anything, beside the packages they wait for."""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.bench.publish import ROOT, publish

PROGRAM = Path(sys.executable).with_name("gpt-lightning")
REPEATS = 5

COMMANDS: dict[str, list[str]] = {
    "python alone": [sys.executable, "-c", "pass"],
    "gpt-lightning --help": [str(PROGRAM), "--help"],
    "gpt-lightning version": [str(PROGRAM), "version"],
    "gpt-lightning prepare --help": [str(PROGRAM), "prepare", "--help"],
    "gpt-lightning generate --help": [str(PROGRAM), "generate", "--help"],
    "gpt-lightning fit --help": [str(PROGRAM), "fit", "--help"],
    "import gpt_lightning": [sys.executable, "-c", "import gpt_lightning"],
    "import gpt_lightning.data.prepare.prepare": [sys.executable, "-c", "import gpt_lightning.data.prepare.prepare"],
    "import gpt_lightning.training.fitting.build": [
        sys.executable,
        "-c",
        "import gpt_lightning.training.fitting.build",
    ],
    "import torch": [sys.executable, "-c", "import torch"],
    "import lightning.pytorch": [sys.executable, "-c", "import lightning.pytorch"],
}

NOTES = """\
Whole processes, each command 5 times, the commands taking turns; files in the page cache, compiled modules present. CPU
is user + system time, which a shared machine disturbs less than the clock."""


def run_once(command: list[str]) -> tuple[float, float]:
    """Seconds by the clock, seconds of CPU."""
    before, start = os.times(), time.perf_counter()
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    wall, after = time.perf_counter() - start, os.times()
    cpu = after.children_user + after.children_system - before.children_user - before.children_system
    return wall, cpu


@pytest.mark.bench
def test_start() -> None:
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in COMMANDS}
    for command in COMMANDS.values():
        run_once(command)
    for _ in range(REPEATS):
        for name, command in COMMANDS.items():
            times[name].append(run_once(command))
    rows: list[list[object]] = []
    for name, pairs in times.items():
        walls, cpus = zip(*pairs, strict=True)
        rows.append([f"`{name}`", statistics.median(walls), min(walls), statistics.median(cpus)])
    publish("start", "Start-up", ["command", "median s", "best s", "CPU s"], rows, NOTES)
