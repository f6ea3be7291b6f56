"""``metrics.jsonl``: read, and cut back to the step from which a run goes on. Without Lightning, for lists of runs.

A run's folder: found or made, locked, and explained.

    runs/quickstart-1/
        config.yaml       fully resolved: every default, and what was taken from the data
        manifest.json     versions, git state, host, seed, command, data fingerprint, how it ended; one entry per start
        metrics.jsonl     every logged number
        events.out.*      the same for TensorBoard
        samples.jsonl     what the model wrote at the end: step, prompt, text
        checkpoints/      see the checkpoints room
        run.lock          held while a process trains here

Only the process of global rank 0 writes; the lock (``files.locks``) is gone when its holder dies.
"""

from __future__ import annotations

import functools
import json
import platform
import socket
import subprocess
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

from gpt_lightning._version import __version__
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.errors import FolderInUseError, RunFolderError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.files.locks import FileLock, LockHeld, is_locked
from gpt_lightning.files.sealing import seal, unseal

METRICS_FILE = "metrics.jsonl"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``; what is no whole line, cut off by a kill or a full disk, is left out."""
    path = folder / METRICS_FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [record for line in text.splitlines() if (record := _read_line(line)) is not None]


def _read_line(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def cut_metrics(folder: Path, last_step: int, source: Path | None = None) -> None:
    """Keep only the lines up to ``last_step``; with ``source``, those of another run folder (a branch)."""
    write_metrics(folder, [record for record in read_metrics(source or folder) if record["step"] <= last_step])


def write_metrics(folder: Path, records: list[dict[str, Any]]) -> None:
    """Replace a run's ``metrics.jsonl``."""
    write_text_durably(folder / METRICS_FILE, "".join(json.dumps(record) + "\n" for record in records))


RUNS = Path("runs")
CONFIG_FILE, MANIFEST_FILE, LOCK_FILE = "config.yaml", "manifest.json", "run.lock"
SAMPLES_FILE, ALERTS_FILE = "samples.jsonl", "alerts.jsonl"
_TIME = "%Y-%m-%dT%H:%M:%S%z"
_PACKAGES = ("torch", "lightning", "torchmetrics", "tensorboard", "jsonargparse", "tiktoken", "rustbpe", "numpy")


def list_runs(name: str) -> list[Path]:
    """Numbered folders ``runs/NAME-N`` of a name, oldest first."""
    numbered = []
    for path in RUNS.iterdir() if RUNS.is_dir() else ():
        stem, dash, digits = path.name.rpartition("-")
        if dash and stem == name and digits.isdecimal() and path.is_dir():
            numbered.append((int(digits), path))
    return [path for _, path in sorted(numbered)]


def make_folder(folder: Path) -> None:
    """Create a run folder where there is none.

    Raises:
        RunFolderError: The place cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _not_writable(folder, error) from error


def _not_writable(folder: Path, error: OSError) -> RunFolderError:
    return RunFolderError(
        f"The run folder {folder} cannot be written ({error.strerror})", fix="Name another: --run.dir FOLDER."
    )


def make_numbered(name: str) -> Path:
    """Create the next ``runs/NAME-N``; safe when several processes start at once.

    Raises:
        RunFolderError: The place cannot be written.
    """
    make_folder(RUNS)
    number = int(list_runs(name)[-1].name.rpartition("-")[2]) if list_runs(name) else 0
    while True:
        number += 1
        path = RUNS / f"{name}-{number}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        except OSError as error:
            raise _not_writable(path, error) from error
        return path


def holds_run(folder: Path) -> bool:
    """Whether a run has started here before."""
    marks = (folder / name for name in (CONFIG_FILE, MANIFEST_FILE))
    return any(mark.exists() for mark in marks) or bool(list_checkpoints(folder / CHECKPOINTS_DIR))


class RunLock:
    """One training process per run folder.

    Raises:
        FolderInUseError: Another process trains here (named by host, process id and start time).
        RunFolderError: The folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._lock = FileLock(folder / LOCK_FILE, beats=True)

    def acquire(self) -> None:
        """Take the lock or say who holds it."""
        make_folder(self._folder)
        try:
            self._lock.acquire(wait=False)
        except OSError as error:
            raise _not_writable(self._folder, error) from error
        except LockHeld as held:
            raise FolderInUseError(
                f"{self._folder} is in use by {held}",
                fix="Wait for it, stop it, or train elsewhere with --run.dir NEW_FOLDER.",
            ) from held

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        self._lock.release()


def is_in_use(folder: Path) -> bool:
    """Whether a process trains in this folder now; asking leaves no trace."""
    return is_locked(folder / LOCK_FILE)


def write_manifest(folder: Path, *, command: list[str], seed: int, facts: dict[str, Any]) -> None:
    """Add this start to ``manifest.json``.

    Args:
        folder: The run folder.
        command: The command line.
        seed: The run's seed.
        facts: More plain data: data fingerprint, parameter count, resumed step.
    """
    starts = read_starts(folder)
    starts.append(
        {
            "time": time.strftime(_TIME),
            "command": command,
            "seed": seed,
            "host": socket.gethostname(),
            "python": platform.python_version(),
            "platform": platform.platform(),
            "gpt_lightning": __version__,
            "packages": {name: installed_version(name) for name in _PACKAGES},
            "git": _git_state(),
            **facts,
            "end": None,  # as long as it runs, and for ever when it is killed
        }
    )
    _write_starts(folder, starts)


def read_starts(folder: Path) -> list[dict[str, Any]]:
    """The entries of ``manifest.json``, one for each start, oldest first.

    Raises:
        RunFolderError: It is damaged.
    """
    path = folder / MANIFEST_FILE
    if not path.exists():
        return []
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        unseal(manifest)
        return [dict(start) for start in manifest["starts"]]
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunFolderError(
            f"{path} is damaged ({error}), and nobody knows how this run began",
            fix="Restore it; or move it away, and the run goes on from its checkpoints.",
        ) from error


def _write_starts(folder: Path, starts: list[dict[str, Any]]) -> None:
    write_text_durably(folder / MANIFEST_FILE, json.dumps(seal({"starts": starts}), indent=1) + "\n")


def write_end(folder: Path, end: dict[str, Any]) -> None:
    """Complete the last start in ``manifest.json`` with how it ended; see ``training.ending``."""
    starts = read_starts(folder)
    starts[-1]["end"] = {"time": time.strftime(_TIME), **end}
    _write_starts(folder, starts)


@functools.cache
def installed_version(package: str) -> str | None:
    """The version of an installed distribution; None where there is none. Looked up once: it takes milliseconds."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git_state() -> dict[str, Any] | None:
    """Commit of the working folder and whether files differ from it; None outside a repository."""

    def ask(*arguments: str) -> str:
        result = subprocess.run(["git", *arguments], capture_output=True, text=True, timeout=10, check=True)
        return result.stdout.strip()

    try:
        return {"commit": ask("rev-parse", "HEAD"), "changed": bool(ask("status", "--porcelain", "-uno"))}
    except (OSError, subprocess.SubprocessError):
        return None


def command_line() -> list[str]:
    """This process's command as typed, without the path of the program."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
