"""Where a run writes and from which checkpoint it goes on: the decisions before training, by the first process alone.

    --resume never            a new folder (numbered, or run.dir, which must not hold a run yet)
    --resume auto             the newest run of this name (or run.dir) goes on from its newest valid checkpoint;
                              where there is nothing to go on from, it starts
    --resume PATH             that run goes on; with another run.dir, a branch of it starts there

The other processes of a run, on this machine and on others, are told the decision, and it is refused where they do not
see the same folder and checkpoint.

A run that was killed before its first own checkpoint begins where it began: its manifest says with which checkpoint (a
branch) or weights (--init_from).
"""

from __future__ import annotations

import hashlib
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR, Found, find_newest_valid, locate
from gpt_lightning.checkpoints.durable import MANIFEST_FILE, verify_checkpoint
from gpt_lightning.errors import CheckpointError, ConfigError, RunFolderError
from gpt_lightning.training.engine.processes import process_rank
from gpt_lightning.training.runs.run_folder import holds_run, list_runs, make_folder, make_numbered, read_starts
from gpt_lightning.training.runs.settings import RunSettings

_SEE_SECONDS = 10.0


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


def choose_start(settings: RunSettings, resume: str, name: str) -> Start:
    """Choose the folder and create it.

    Args:
        settings: ``run.*``.
        resume: never, auto, or a path.
        name: Name for a numbered folder.

    Raises:
        RunFolderError: The folder holds a run and ``resume`` is never.
        CheckpointError: A path without a usable checkpoint, or one that newer checkpoints of its run would contradict.
    """
    if resume not in ("never", "auto"):
        return _start_from_path(settings, Path(resume), resume)
    if settings.dir is not None:
        folder = Path(settings.dir)
        _check_free(folder, "auto")
    else:
        known = list_runs(name)
        folder = known[-1] if resume == "auto" and known else make_numbered(name)
    _check_free(folder, resume)
    continues = holds_run(folder)
    make_folder(folder)
    return Start(folder, continues=continues)


def check_start(settings: RunSettings, resume: str) -> None:
    """Refuse what ``choose_start`` would refuse, before minutes are spent on preparing text; nothing is created.

    Raises:
        UserError: As ``choose_start``.
    """
    if process_rank() > 0:
        return  # the first process has decided, and perhaps made the folder
    if resume in ("never", "auto"):
        if settings.dir is not None:
            _check_free(Path(settings.dir), resume)
        return
    if resume.strip():
        home = locate(resume, prefer="last").parent.parent
        folder = home if settings.dir is None else Path(settings.dir)
        if folder.resolve() != home.resolve() and holds_run(folder):
            raise RunFolderError(f"{folder} already holds a run", fix="Name a new folder for the branch.")


def _check_free(folder: Path, resume: str) -> None:
    """Refuse a folder that is a file, or that holds a run which is not to be gone on with."""
    if folder.exists() and not folder.is_dir():
        raise RunFolderError(f"run.dir {folder} is a file", fix="Name a folder: --run.dir runs/NAME.")
    if resume == "never" and holds_run(folder):
        raise RunFolderError(
            f"{folder} already holds a run",
            fix="Go on with it: --resume auto. Or start another: leave out --run.dir, or name a new folder.",
        )


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
    newest = find_newest_valid(home / CHECKPOINTS_DIR).path
    if newest is not None and newest.name > checkpoint.name:
        raise CheckpointError(
            f"{home} has gone on to {newest.name} after {checkpoint.name}",
            fix=f"Go on from the newest with --resume {home}, or branch off with --run.dir NEW_FOLDER.",
        )
    return Start(home, continues=True, checkpoint=checkpoint)


def find_checkpoint(start: Start) -> Found:
    """The checkpoint to go on from, once the folder is locked.

    Raises:
        CheckpointError: There are checkpoints, and none is valid; or what a branch began with is gone.
    """
    if start.checkpoint is not None or not start.continues:
        return Found(start.checkpoint)
    found = find_newest_valid(start.folder / CHECKPOINTS_DIR)
    if found.path is None and not found.skipped:
        return Found(_begun_with(start.folder))
    if found.path is None:
        raise CheckpointError(
            f"No checkpoint of {start.folder} can be read; the newest: {found.skipped[0]}",
            fix="Restore one from a backup, or start a new run.",
        )
    return found


def began_with(folder: Path) -> Mapping[str, str]:
    """What a run began with, by its manifest: a checkpoint of another run, weights; empty = nothing, or not told."""
    for start in reversed(read_starts(folder)):
        if start.get("began_with"):
            return dict(start["began_with"])
        source = Path(start.get("resumed_from") or "")  # versions before noted only this
        if source.parent.name == CHECKPOINTS_DIR and source.parent.parent.resolve() != folder.resolve():
            return {"checkpoint": str(source)}
    return {}


def home_of(checkpoint: Path | None, *, unless: Path) -> Path | None:
    """The run folder of a checkpoint that is not one of the run ``unless``."""
    home = None if checkpoint is None else checkpoint.parent.parent
    return None if home is None or home.resolve() == unless.resolve() else home


def check_same_beginning(folder: Path, known: Mapping[str, str], found: Mapping[str, str]) -> Mapping[str, str]:
    """What a run begins with that has no checkpoint yet.

    Args:
        folder: Of the run.
        known: What it began with before.
        found: What it would begin with now.

    Raises:
        CheckpointError: Other weights than before.
    """
    if known.get("sha256", found["sha256"]) != found["sha256"]:
        raise CheckpointError(
            f"{folder} began with the weights of {known['weights']}, and these are others",
            got=found["weights"],
            fix="Start another run.",
        )
    return found


def _begun_with(folder: Path) -> Path | None:
    source = began_with(folder).get("checkpoint")
    if source is None:
        return None
    try:
        verify_checkpoint(Path(source))
    except CheckpointError as error:
        raise CheckpointError(
            f"{folder} began as a branch of {source} and has no checkpoint of its own yet; {error}",
            fix="Start another branch, with --resume PATH and a new --run.dir.",
        ) from error
    return Path(source)


@dataclass(frozen=True)
class Decision:
    """What the first process tells the others.

    Attributes:
        folder: The run folder.
        checkpoint: What training goes on from, absolute; None = nothing.
        weights: What the run began with where that was not typed again, absolute; None = nothing.
        fingerprint: Of the checkpoint's manifest.
    """

    folder: Path
    checkpoint: Path | None
    weights: Path | None = None
    fingerprint: str = ""

    @classmethod
    def of(cls, folder: Path, checkpoint: Path | None, weights: Path | None) -> Decision:
        """As this process sees it."""
        return cls(folder, checkpoint and checkpoint.resolve(), weights, _fingerprint(checkpoint))

    def resolve(self) -> Decision:
        """For processes that may work in another folder."""
        return replace(self, folder=self.folder.resolve())

    def compare(self) -> str | None:
        """What of it this process does not see; a network disk gets some time to show what is new."""
        end = time.monotonic() + _SEE_SECONDS
        while True:
            seen = self.folder.is_dir() and _fingerprint(self.checkpoint) == self.fingerprint
            if seen or time.monotonic() > end:
                break
            time.sleep(0.2)
        if seen:
            return None
        what = self.checkpoint if self.folder.is_dir() else self.folder
        return f"on {socket.gethostname()} there is not the same {what}"


def _fingerprint(checkpoint: Path | None) -> str:
    try:
        return "" if checkpoint is None else hashlib.sha256((checkpoint / MANIFEST_FILE).read_bytes()).hexdigest()
    except OSError:
        return "not there"


def check_same_view(problems: Sequence[str | None]) -> None:
    """Refuse to train where a process does not see what the first one sees.

    Args:
        problems: What each process said, see ``Decision.compare``.

    Raises:
        RunFolderError: One does not.
    """
    found = sorted({problem for problem in problems if problem is not None})
    if found:
        raise RunFolderError(
            f"The processes of this run do not see the same files: {'; '.join(found)}",
            fix="Give them one disk: --run.dir on a file system that every machine has mounted.",
        )
