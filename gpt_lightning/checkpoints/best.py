"""Which checkpoint of a run is best: it follows from the checkpoints themselves.

A checkpoint's manifest says what was measured at its step, so whatever fails between a save and what comes after it,
the best one is found again, kept, and pointed to. ``best.json`` is that pointer for people and other programs; it is
believed only of checkpoints by older versions, whose manifests do not tell, and only if it is whole.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.durable import checkpoint_name, list_checkpoints, read_manifest, step_of
from gpt_lightning.errors import CheckpointError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.files.sealing import SEAL, seal, unseal

BEST_FILE = "best.json"
VALIDATION = "validation"
"""Of a checkpoint's state and of its manifest's facts: what was measured at its step."""
ALL = "the whole split"


@dataclass(frozen=True)
class Validation:
    """A validation.

    Attributes:
        step: Optimizer steps done.
        metric: What was measured; lower is better.
        value: Of the metric.
        part: What it was measured on; other parts are not compared with it.
    """

    step: int
    metric: str
    value: float
    part: str = ALL

    def facts(self) -> dict[str, Any]:
        """As plain data."""
        return asdict(self)


def read_best(shelf: Path) -> dict[str, Any] | None:
    """``{"checkpoint", "metric", "value"}`` of the best checkpoint that is there; None where nothing tells.

    Raises:
        CheckpointError: Checkpoints of an older version are there, and the pointer to the best of them is damaged.
    """
    manifests = dict(_manifests(shelf))
    measured = [(name, found["facts"][VALIDATION]) for name, found in manifests.items() if VALIDATION in found["facts"]]
    entries = [
        {"checkpoint": name, "metric": facts["metric"], "value": float(facts["value"])}
        for name, facts in measured
        if facts["part"] == measured[-1][1]["part"] and math.isfinite(facts["value"])
    ]
    if not entries or any(SEAL not in found for found in manifests.values()):
        pointer = _read_pointer(shelf / BEST_FILE)
        if pointer and pointer["checkpoint"] in manifests and pointer["checkpoint"] not in dict(measured):
            entries.append(pointer)
    return min(entries, key=lambda entry: (entry["value"], entry["checkpoint"]), default=None)


def _manifests(shelf: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """By name, oldest first; damaged checkpoints are nobody's best."""
    for path in list_checkpoints(shelf):
        try:
            yield path.name, read_manifest(path)
        except CheckpointError:
            continue


def _read_pointer(file: Path) -> dict[str, Any] | None:
    try:
        entry = json.loads(file.read_text(encoding="utf-8"))
        unseal(entry)
        name = str(entry["checkpoint"])
        if step_of(Path(name)) is None or Path(name).name != name:
            raise ValueError(f"{name} is no checkpoint of this folder")
        return {"checkpoint": name, "metric": str(entry["metric"]), "value": float(entry["value"])}
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(
            f"{file} is damaged ({error}), and so nobody knows which checkpoint is best",
            fix=f"Name one of {file.parent}, or delete the file: the newest is then taken.",
        ) from error


def write_best(shelf: Path, *, step: int, metric: str, value: float) -> None:
    """Point ``best`` at the checkpoint of ``step``."""
    entry = {"checkpoint": checkpoint_name(step), "metric": metric, "value": value}
    write_text_durably(shelf / BEST_FILE, json.dumps(seal(entry)) + "\n")


def point_to_best(shelf: Path) -> None:
    """Bring the pointer in line with the checkpoints.

    Raises:
        CheckpointError: As ``read_best``.
    """
    best = read_best(shelf)
    if best is None:
        return
    try:
        known = _read_pointer(shelf / BEST_FILE)
    except CheckpointError:
        known = None
    if best != known:
        step = step_of(Path(best["checkpoint"]))
        assert step is not None
        write_best(shelf, step=step, metric=best["metric"], value=best["value"])
