"""The folder of a run's checkpoints: newest valid one, best pointer, rotation, sweeping."""

from __future__ import annotations

import shutil
import time
from dataclasses import dataclass, field
from pathlib import Path

from gpt_lightning.checkpoints.best import BEST_FILE, read_best
from gpt_lightning.checkpoints.durable import discard, list_checkpoints, local_path, step_of, verify_checkpoint
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.files.processes import owner_is_gone

CHECKPOINTS_DIR = "checkpoints"
_SILENT_SECONDS = 3600.0
"""No checkpoint is written so slowly: a process of another machine that touched nothing for so long is gone."""


@dataclass(frozen=True)
class Found:
    """Result of looking for a checkpoint: its path (None: there is none) and what was passed over, with the reason."""

    path: Path | None
    skipped: list[str] = field(default_factory=list)


def _step(path: Path) -> int:
    step = step_of(path)
    assert step is not None
    return step


def find_newest_valid(shelf: Path) -> Found:
    """The newest checkpoint whose checksums hold; damaged ones are passed over and named."""
    skipped = []
    for path in reversed(list_checkpoints(shelf)):
        try:
            verify_checkpoint(path)
        except CheckpointError as error:
            skipped.append(str(error))
        else:
            return Found(path, skipped)
    return Found(None, skipped)


def rotate(shelf: Path, *, keep_last: int) -> None:
    """Delete all but the ``keep_last`` (>= 1) newest checkpoints and the best one; none where nobody knows the best.

    Raises:
        CheckpointError: As ``read_best``.
    """
    best = read_best(shelf)
    keep = {best["checkpoint"]} if best else set()
    for path in list_checkpoints(shelf)[:-keep_last]:
        if path.name not in keep:
            discard(path)


def discard_after(shelf: Path, step: int) -> None:
    """Delete checkpoints beyond ``step``: a run that goes on from there will write them anew."""
    for path in list_checkpoints(shelf):
        if _step(path) > step:
            discard(path)


def sweep(shelf: Path) -> None:
    """Remove leftovers of writers that no longer run, those of other machines when they have been silent for long."""
    if not shelf.is_dir():
        return
    for path in shelf.iterdir():
        if path.name.startswith((".writing-", ".trash-", f".{BEST_FILE}@", f".{BEST_FILE}-")) and _is_left_over(path):
            shutil.rmtree(path, ignore_errors=True) if path.is_dir() else path.unlink(missing_ok=True)


def _is_left_over(path: Path) -> bool:
    gone = owner_is_gone(path.name)
    if gone is not None:
        return gone
    try:
        touched = max(each.stat().st_mtime for each in [path, *path.rglob("*")])
    except FileNotFoundError:
        return False  # somebody works there
    return time.time() - touched > _SILENT_SECONDS


def check_prefer(prefer: str) -> None:
    """Refuse anything but "best" and "last".

    Raises:
        ConfigError: It is something else.
    """
    if prefer not in ("best", "last"):
        raise ConfigError("prefer names a checkpoint of the run", got=prefer, allowed="best, last", fix="Use best.")


def locate(path: Path | str, *, prefer: str = "best") -> Path:
    """Turn what a user typed into one checkpoint folder.

    Args:
        path: A checkpoint folder, the folder of a run, or its ``checkpoints`` folder.
        prefer: ``"best"`` or ``"last"``: which one of a run; without a best pointer it is the newest valid one.

    Raises:
        ConfigError: ``prefer`` is neither.
        CheckpointError: Nothing there, with what was found instead.
    """
    check_prefer(prefer)
    folder = local_path(path)
    if step_of(folder) is not None:
        return folder
    if folder.is_file():
        raise CheckpointError(
            f"{folder} is a file, and weights alone do not tell their architecture and tokenizer",
            allowed="a run folder or a checkpoint folder",
            fix=f"Name the run itself, or train on with gpt-lightning fit --init_from {folder}.",
        )
    if (folder / "config.json").is_file() and not (folder / CHECKPOINTS_DIR).exists():
        raise CheckpointError(
            f"{folder} is a model of another library, which this command does not read as it is",
            fix=f"Import it first: gpt-lightning import {folder} --out runs/{folder.resolve().name}.",
        )
    shelf = folder if folder.name == CHECKPOINTS_DIR else folder / CHECKPOINTS_DIR
    best = read_best(shelf) if prefer == "best" else None
    if best:
        return shelf / str(best["checkpoint"])
    found = find_newest_valid(shelf)
    if found.path is None:
        reason = f"; {found.skipped[0]}" if found.skipped else ""
        known = sorted(str(run.parent) for run in Path("runs").glob(f"*/{CHECKPOINTS_DIR}"))[-5:]
        fix = (
            f"Runs here: {', '.join(known)}."
            if known
            else "Train one: gpt-lightning fit --config configs/quickstart.yaml."
        )
        raise CheckpointError(f"No usable checkpoint in {folder}{reason}", fix=fix)
    return found.path
