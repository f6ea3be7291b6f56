"""Where a run writes and from which checkpoint it goes on: the decisions before training, on process 0 alone.

    --resume never            a new folder (numbered, or run.dir, which must not hold a run yet)
    --resume auto             the newest run of this name (or run.dir) goes on from its newest valid checkpoint;
                              where there is nothing to go on from, it starts
    --resume PATH             that run goes on; with another run.dir, a branch of it starts there

Processes that the Trainer launches later (DDP) are told the decision by environment variables, because they parse the
same command again and would make a folder of their own.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from gpt_lightning.checkpoints.shelf import SHELF, Found, find_newest_valid, locate
from gpt_lightning.errors import CheckpointError, ConfigError, RunFolderError
from gpt_lightning.training.processes import process_rank
from gpt_lightning.training.run_folder import holds_run, list_runs, make_folder, make_numbered
from gpt_lightning.training.settings import RunSettings

_FOLDER_VARIABLE, _CHECKPOINT_VARIABLE = "GPT_LIGHTNING_RUN_FOLDER", "GPT_LIGHTNING_RUN_CHECKPOINT"


@dataclass(frozen=True)
class Start:
    """The decision.

    Attributes:
        folder: The run folder, which exists.
        continues: Whether this folder held the run before (its curves are cut back to the checkpoint).
        source: Run folder whose checkpoint is resumed when it is not this one (a branch).
        checkpoint: Checkpoint asked for by path; None = the newest valid one when ``continues``.
    """

    folder: Path
    continues: bool = False
    source: Path | None = None
    checkpoint: Path | None = None


def choose_start(settings: RunSettings, resume: str, name: str, num_nodes: int = 1) -> Start:
    """Choose the folder and create it.

    On several machines that nobody connected yet, the first decides by the same rules, and the others find its folder.

    Args:
        settings: ``run.*``.
        resume: never, auto, or a path.
        name: Name for a numbered folder.
        num_nodes: Machines that run this code before they know of each other.

    Raises:
        ConfigError: No folder is named where several machines must agree on one.
        RunFolderError: The folder holds a run and ``resume`` is never.
        CheckpointError: A path without a usable checkpoint, or one that newer checkpoints of its run would contradict.
    """
    if resume not in ("never", "auto"):
        return _start_from_path(settings, Path(resume), resume)
    if settings.dir is None and num_nodes > 1:
        raise ConfigError(
            "run.dir is not set, and every machine must agree on one folder",
            got=None,
            allowed="a path all of them see",
            fix="Add --run.dir runs/NAME, or start the processes with torchrun or srun.",
        )
    if settings.dir is not None:
        folder = Path(settings.dir)
        if folder.exists() and not folder.is_dir():
            raise RunFolderError(f"run.dir {folder} is a file", fix="Name a folder: --run.dir runs/NAME.")
    else:
        known = list_runs(name)
        folder = known[-1] if resume == "auto" and known else make_numbered(name)
    if process_rank() > 0:
        return Start(folder, continues=resume == "auto" and holds_run(folder))
    if resume == "never" and holds_run(folder):
        raise RunFolderError(
            f"{folder} already holds a run",
            fix="Go on with it: --resume auto. Or start another: leave out --run.dir, or name a new folder.",
        )
    continues = holds_run(folder)
    make_folder(folder)
    return Start(folder, continues=continues)


def _start_from_path(settings: RunSettings, path: Path, typed: str) -> Start:
    if not typed.strip():
        raise ConfigError("--resume is empty", got=typed, allowed="never, auto, or a path", fix="Say --resume auto.")
    checkpoint = locate(typed, prefer="last")
    home = checkpoint.parent.parent
    folder = Path(settings.dir) if settings.dir is not None else home
    if folder.resolve() != home.resolve():
        if holds_run(folder):
            raise RunFolderError(f"{folder} already holds a run", fix="Name a new folder for the branch.")
        make_folder(folder)
        return Start(folder, source=home, checkpoint=checkpoint)
    newest = find_newest_valid(home / SHELF).path
    if newest is not None and newest.name > checkpoint.name:
        raise CheckpointError(
            f"{home} has gone on to {newest.name} after {checkpoint.name}",
            fix=f"Go on from the newest with --resume {home}, or branch off with --run.dir NEW_FOLDER.",
        )
    return Start(home, continues=True, checkpoint=checkpoint)


def find_checkpoint(start: Start) -> Found:
    """The checkpoint to go on from, once the folder is locked.

    Raises:
        CheckpointError: There are checkpoints, and none is valid.
    """
    if start.checkpoint is not None or not start.continues:
        return Found(start.checkpoint)
    found = find_newest_valid(start.folder / SHELF)
    if found.path is None and found.skipped:
        raise CheckpointError(
            f"No checkpoint of {start.folder} can be read; the newest: {found.skipped[0]}",
            fix="Restore one from a backup, or start a new run.",
        )
    return found


def publish(folder: Path, checkpoint: Path | None) -> None:
    """Tell processes launched from here on."""
    os.environ[_FOLDER_VARIABLE] = str(folder.resolve())
    os.environ[_CHECKPOINT_VARIABLE] = str(checkpoint.resolve()) if checkpoint else ""


def retract() -> None:
    """Forget the decision: the next run of this process makes its own."""
    for variable in (_FOLDER_VARIABLE, _CHECKPOINT_VARIABLE):
        os.environ.pop(variable, None)


def published() -> tuple[Path, Path | None] | None:
    """The decision of process 0, in a process that it launched; None elsewhere."""
    folder = os.environ.get(_FOLDER_VARIABLE)
    if folder is None:
        return None
    checkpoint = os.environ.get(_CHECKPOINT_VARIABLE)
    return Path(folder), Path(checkpoint) if checkpoint else None
