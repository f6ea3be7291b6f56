"""Doing the steps of a finished run again, to see that reused ones were what they should have been.

How many steps a list of runs would do when they share prefixes: a simulation, before anything is trained.

Runs are started in order, each on the worker that is free first, and a step takes a unit of time. A run begins at the
longest prefix that another has stored by then, so workers that start the same thing at once both do it, as they would.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import yaml

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.checkpoints.folder import read_checkpoint
from gpt_lightning.errors import RunFolderError
from gpt_lightning.optim.schedules.lengths import Length
from gpt_lightning.parsing.strict_yaml import flatten
from gpt_lightning.training.engine.sharding import choose_strategy
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.profiling.plot_schedule import read_horizon
from gpt_lightning.training.reuse.fingerprint import RunFingerprint, is_indifferent
from gpt_lightning.training.reuse.reuse import borders_of
from gpt_lightning.training.runs.run_folder import CONFIG_FILE, holds_run, read_metrics

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
    checkpoints = list_checkpoints(folder / CHECKPOINTS_DIR)
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


@dataclass(frozen=True)
class Savings:
    """What is done and what is not.

    Attributes:
        executed_steps: Optimizer steps that are done.
        total_steps: Those of all runs, each on its own.
    """

    executed_steps: int
    total_steps: int

    @property
    def executed_share(self) -> float:
        """1 = nothing is shared."""
        return self.executed_steps / self.total_steps if self.total_steps else 1.0


def estimate_savings(
    runs: Iterable[RunFingerprint], every: Length = "5%", workers: int = 1, at: tuple[int, ...] = ()
) -> Savings:
    """Steps that ``runs`` do when they are started in this order, with a store that forgets nothing.

    Args:
        runs: What leads to the weights of each.
        every: How often a run stores its state.
        workers: How many runs are done at the same time.
        at: Further steps at which a run stores its state.
    """
    trajectories = list(runs)
    borders = [borders_of(every, at, run.horizon) for run in trajectories]
    steps = {step for each in borders for step in each}
    keys = [run.keys(steps) for run in trajectories]
    return _simulate(keys, borders, workers)


def _simulate(keys: Sequence[Mapping[int, str]], borders: Sequence[Sequence[int]], workers: int) -> Savings:
    stored: dict[str, float] = {}
    free = [0.0] * max(1, workers)
    executed = 0
    for own_keys, own_borders in zip(keys, borders, strict=True):
        worker = min(range(len(free)), key=free.__getitem__)
        start = free[worker]
        reused = max((step for step, key in own_keys.items() if stored.get(key, start + 1) <= start), default=0)
        for step in own_borders:
            time = start + max(0, step - reused)
            stored[own_keys[step]] = min(stored.get(own_keys[step], time), time)
        free[worker] = start + own_borders[-1] - reused
        executed += own_borders[-1] - reused
    return Savings(executed, sum(each[-1] for each in borders))


def sketch(args: Sequence[str]) -> RunFingerprint:
    """The trajectory of the run that ``fit`` would start with ``args``, without its data, model and devices.

    Good for comparison with other sketches only: what is left out is taken to be the same for all.

    Raises:
        ConfigError: A setting is wrong, or the length of the run depends on data.
    """
    line = TrainerCommandLine("fit", args)
    parts = line.parser.instantiate(line.config)
    horizon = read_horizon(line.config, parts.data.batch_ramp, choose_strategy(parts.trainer.strategy))
    parts.model.schedule.check(horizon)
    settings = flatten(line.config.clone().as_dict())
    facts = {key: value for key, value in settings.items() if not is_indifferent(key) and key != "config"}
    rates = {str(role): rate for role, rate in parts.model.optimizer_recipe.rates.items()}
    return RunFingerprint(facts, rates, parts.model.schedule, horizon)
