"""Doing the steps of a finished run again, to see that reused ones were what they should have been."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import torch
import yaml

from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.checkpoints.shelf import SHELF
from gpt_lightning.errors import RunFolderError
from gpt_lightning.training.build import build
from gpt_lightning.training.metrics_file import read_metrics
from gpt_lightning.training.run_folder import CONFIG_FILE, holds_run

CLOCKS = ("time", "perf/", "memory/")
"""Logged numbers that differ from one run to the next."""


def is_chosen(fraction: float, seed: int, number: int) -> bool:
    """Whether run ``number`` is among the ``fraction`` (0 to 1) of runs that are checked; the same on every worker."""
    return random.Random(f"{seed} {number}").random() < fraction


def compare_with_scratch(folder: Path, place: Path, init_from: str | None = None) -> list[str]:
    """Train a run again from its configuration alone, and compare.

    Args:
        folder: Run folder of a finished run.
        place: A new run folder, which stays.
        init_from: What the run was given as initial weights; None = nothing.

    Returns:
        What differs: weights, optimizer state, lines of ``metrics.jsonl`` other than clocks. Nothing = bit-identical.

    Raises:
        RunFolderError: The folder holds no run.
    """
    if not holds_run(folder):
        raise RunFolderError(f"{folder} holds no run", fix="Name the folder of a finished run.")
    args = [] if init_from is None else [f"--init_from={init_from}"]
    settings = yaml.safe_load((folder / CONFIG_FILE).read_text(encoding="utf-8"))
    # Only the stock logger writes lines of details, and only a logger of one's own may send them elsewhere once more.
    stock = settings["trainer"]["logger"] in (None, True)
    quiet = {"run.dir": str(place), "trainer.logger": str(stock).lower(), "trainer.enable_progress_bar": "false"}
    build(folder / CONFIG_FILE, quiet, args=args).fit()
    return compare_runs(folder, place)


def compare_runs(one: Path, other: Path) -> list[str]:
    """What differs between two finished runs, clocks and settings aside; nothing = bit-identical."""
    lines, other_lines = _read_lines(one), _read_lines(other)
    found = []
    for line, twin in zip(lines, other_lines, strict=False):
        names = sorted(name for name in line.keys() | twin.keys() if not _equal(line.get(name), twin.get(name)))
        if names:
            found.append(f"metrics.jsonl, step {line['step']}: {', '.join(names)}")
            break  # all that follows differs as well
    if len(lines) != len(other_lines):
        found.append(f"metrics.jsonl: {len(lines)} lines and {len(other_lines)}")
    state, twin_state = (_read_state(folder) for folder in (one, other))
    return [*found, *_differences(state, twin_state, "checkpoint")]


def _read_lines(folder: Path) -> list[dict[str, Any]]:
    return [
        {name: value for name, value in line.items() if not name.startswith(CLOCKS)} for line in read_metrics(folder)
    ]


def _read_state(folder: Path) -> dict[str, Any]:
    checkpoints = list_checkpoints(folder / SHELF)
    if not checkpoints:
        raise RunFolderError(f"{folder} has no checkpoint", fix="Name the folder of a finished run.")
    state = read_checkpoint(checkpoints[-1])
    return {name: state.get(name) for name in ("global_step", "state_dict", "optimizer_states", "ema", "skipped_steps")}


def _differences(one: Any, other: Any, place: str) -> list[str]:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        same = one.dtype == other.dtype and one.shape == other.shape and torch.equal(one, other)
        return [] if same else [place]
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        return [line for key in one for line in _differences(one[key], other[key], f"{place}.{key}")]
    if isinstance(one, (list, tuple)) and isinstance(other, (list, tuple)) and len(one) == len(other):
        pairs = enumerate(zip(one, other, strict=True))
        return [line for index, (a, b) in pairs for line in _differences(a, b, f"{place}[{index}]")]
    return [] if _equal(one, other) else [place]


def _equal(one: Any, other: Any) -> bool:
    # A diverged run logs NaN, which is not equal to itself.
    return bool(one == other) or (one != one and other != other)
