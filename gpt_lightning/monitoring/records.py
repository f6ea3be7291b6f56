"""Run folders as records: read once, then asked."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.best import read_best
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints, step_of
from gpt_lightning.errors import RunFolderError, UserError
from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.parsing.suggest import did_you_mean
from gpt_lightning.training.runs.run_folder import (
    CONFIG_FILE,
    MANIFEST_FILE,
    METRICS_FILE,
    RUNS,
    is_in_use,
    read_metrics,
)

STATES = ("running", "stale", "finished", "stopped", "failed", "crashed", "unknown")
_LEAST_SILENCE, _USUAL_GAPS = 600.0, 10.0
"""A run that trains is stale after ten times its usual distance between two lines, and ten minutes at least."""


@dataclass(frozen=True)
class Status:
    """Where a run stands: one of ``STATES``, and a line that says why."""

    state: str
    reason: str = ""


def judge(starts: Sequence[dict[str, Any]], *, locked: bool, silent_seconds: float, usual_gap: float = 0.0) -> Status:
    """The status of a run.

    Args:
        starts: Of its manifest.
        locked: Whether a process holds its lock.
        silent_seconds: Since its last sign of life.
        usual_gap: Seconds between two signs of life.
    """
    if locked:
        limit = max(_LEAST_SILENCE, _USUAL_GAPS * usual_gap)
        if silent_seconds > limit:
            return Status("stale", f"trains, but has written nothing for {silent_seconds / 60:.0f} minutes")
        return Status("running")
    if not starts or "end" not in starts[-1]:
        return Status("unknown", "started by a version that did not record how runs end")
    end = starts[-1]["end"]
    if end is None:
        return Status("crashed", "ended without a word: killed, out of memory, or the machine went down")
    return Status(end["state"], end["reason"])


@dataclass(frozen=True)
class Best:
    """The lowest validation loss and the step where it was measured."""

    value: float
    step: int


class RunRecord:
    """What a run folder says; each file is read when it is first needed.

    Args:
        folder: The run folder.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """The folder as one would type it."""
        return self.folder.name if self.folder.parent == RUNS else str(self.folder)

    @cached_property
    def starts(self) -> list[dict[str, Any]]:
        """Starts of the manifest, oldest first."""
        try:
            return list(json.loads((self.folder / MANIFEST_FILE).read_text(encoding="utf-8"))["starts"])
        except (OSError, ValueError, KeyError, TypeError):
            return []

    @property
    def loss_unit(self) -> str:
        """What its loss is counted in."""
        told: str = (self.starts[-1] if self.starts else {}).get("loss_unit", "nats per token")
        return told

    @cached_property
    def metrics(self) -> list[dict[str, Any]]:
        """Lines of metrics.jsonl."""
        return read_metrics(self.folder)

    @cached_property
    def config(self) -> dict[str, Any]:
        """The resolved configuration; empty where it cannot be read."""
        try:
            content = read_yaml(self.folder / CONFIG_FILE)
        except (OSError, UserError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    @cached_property
    def status(self) -> Status:
        """Where it stands now."""
        gaps = [b["time"] - a["time"] for a, b in pairwise(self.metrics[-20:])]
        return judge(
            self.starts,
            locked=is_in_use(self.folder),
            silent_seconds=time.time() - self.last_sign,
            usual_gap=max(gaps, default=0.0),
        )

    @property
    def last_sign(self) -> float:
        """When it was last heard of, seconds since 1970."""
        signs = [float(self.metrics[-1]["time"])] if self.metrics else []
        for start in self.starts[-1:]:
            signs += [parse_time(start["time"])] + ([parse_time(start["end"]["time"])] if start.get("end") else [])
        return max(signs, default=os.path.getmtime(self.folder))

    @property
    def step(self) -> int:
        """Optimizer steps done, as far as was written down."""
        end = (self.starts[-1].get("end") or {}) if self.starts else {}
        return max(int(self.metrics[-1]["step"]) if self.metrics else 0, int(end.get("step", 0)))

    @property
    def total_steps(self) -> int | None:
        """Steps of the whole run; None = not known."""
        for start in reversed(self.starts):
            total = start.get("total_steps") or (start.get("end") or {}).get("total_steps")
            if total:
                return int(total)
        steps = (self.config.get("trainer") or {}).get("max_steps")
        return steps if isinstance(steps, int) and steps > 0 else None

    @property
    def tokens(self) -> int | None:
        """Training tokens consumed."""
        value = self.last("data/tokens")
        return None if value is None else int(value)

    @property
    def seconds(self) -> float:
        """Time that all its starts took together; of a start without an end, up to its last line of metrics."""
        total = 0.0
        for number, start in enumerate(self.starts):
            if start.get("end"):
                total += float(start["end"]["seconds"])
                continue
            begin = parse_time(start["time"])
            later = parse_time(self.starts[number + 1]["time"]) if number + 1 < len(self.starts) else math.inf
            signs = [line["time"] for line in self.metrics if begin <= line["time"] <= later]
            total += max(0.0, max(signs, default=begin) - begin)
        return total

    @cached_property
    def best(self) -> Best | None:
        """Lowest validation loss; None before the first validation."""
        steps, values = self.curve("val/loss")
        pairs = [(value, step) for step, value in zip(steps, values, strict=True) if math.isfinite(value)]
        return Best(*min(pairs)) if pairs else None

    def curve(self, metric: str) -> tuple[list[int], list[float]]:
        """Steps and values of a metric."""
        lines = [line for line in self.metrics if metric in line]
        return [int(line["step"]) for line in lines], [float(line[metric]) for line in lines]

    def last(self, metric: str) -> float | None:
        """Newest value of a metric."""
        return next((float(line[metric]) for line in reversed(self.metrics) if metric in line), None)

    @property
    def metric_names(self) -> list[str]:
        """Everything that was logged, in the order of its first line."""
        return list(dict.fromkeys(name for line in self.metrics for name in line if name not in ("step", "time")))

    @property
    def config_files(self) -> list[str]:
        """The --config files of its first start."""
        words = self.starts[0]["command"] if self.starts else []
        files = [word.partition("=")[2] for word in words if word.startswith(("--config=", "-c="))]
        return files + [after for word, after in pairwise(words) if word in ("--config", "-c")]

    @cached_property
    def checkpoints(self) -> list[tuple[int, Path, int]]:
        """Step, path and bytes of each checkpoint, oldest first."""
        found = []
        for path in list_checkpoints(self.folder / CHECKPOINTS_DIR):
            size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
            found.append((step_of(path) or 0, path, size))
        return found

    @property
    def best_checkpoint(self) -> str | None:
        """Name of the best checkpoint; None where nobody knows it."""
        try:
            best = read_best(self.folder / CHECKPOINTS_DIR)
        except UserError:
            return None
        return str(best["checkpoint"]) if best else None


def parse_time(text: str) -> float:
    """Seconds since 1970 of a time in the manifest."""
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%S%z").timestamp()


def is_run(folder: Path) -> bool:
    """Whether a run has written here."""
    return (folder / CONFIG_FILE).is_file() or (folder / METRICS_FILE).is_file()


def find_runs(places: Iterable[Path]) -> list[Path]:
    """Run folders among ``places``, and in those of them that are folders of runs; of a sweep, its trials.

    Raises:
        RunFolderError: A place is not there.
    """
    found: dict[Path, None] = {}
    for place in places:
        if is_run(place):
            found[place] = None
            continue
        if not place.is_dir():
            raise _no_such_run(str(place))
        trials = place / "trials"
        for child in sorted((trials if trials.is_dir() else place).iterdir(), key=_by_number):
            if is_run(child):
                found[child] = None
    return list(found)


def _by_number(path: Path) -> tuple[str, int, str]:
    stem, _, digits = path.name.rpartition("-")
    return (stem, int(digits), path.name) if digits.isdigit() else (path.name, 0, path.name)


def open_run(typed: str) -> RunRecord:
    """The run that was typed: its folder, or its name in ``runs/``.

    Raises:
        RunFolderError: There is none, with names that look alike.
    """
    for folder in (Path(typed), RUNS / typed):
        if is_run(folder):
            return RunRecord(folder)
    raise _no_such_run(typed)


def open_runs(typed: Sequence[str], least: int = 1) -> list[RunRecord]:
    """Several runs as they were typed; a folder of runs stands for all of them.

    Raises:
        RunFolderError: One is not there, or there are fewer than ``least``.
    """
    records: list[RunRecord] = []
    for word in typed:
        folders = [folder for folder in (Path(word), RUNS / word) if folder.is_dir() and not is_run(folder)]
        several = [RunRecord(folder) for folder in find_runs(folders)]
        records += several or [open_run(word)]
    if len(records) < least:
        raise RunFolderError(
            "too few runs", got=list(typed), allowed=f"{least} or more", fix="See gpt-lightning runs list."
        )
    return records


def _no_such_run(typed: str) -> RunFolderError:
    known = [path.name for path in RUNS.iterdir() if is_run(path)] if RUNS.is_dir() else []
    advice = did_you_mean(Path(typed).name, known, f"{RUNS}/")
    return RunFolderError("There is no run", got=typed, fix=advice or "See gpt-lightning runs list.")
