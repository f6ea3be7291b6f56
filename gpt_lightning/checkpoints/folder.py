"""One checkpoint folder: durable write, verification, safe read.

The order of a write is what makes it safe: everything goes into a temporary folder beside the target (same file
system, so the rename is atomic), files are fsynced, the manifest comes last, the folder is fsynced, renamed, and the
parent is fsynced. A reader therefore sees nothing or everything, after kill -9 and after a power cut.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import pickle
import shutil
import socket
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from gpt_lightning.checkpoints.pieces import INDEX, Pieces, put
from gpt_lightning.errors import CheckpointError, TrainingError

FORMAT = 2
"""1: everything in state.pt. 2: tensors in pieces, see ``pieces``."""
STATE_FILE = "state.pt"
MANIFEST_FILE = "manifest.json"
_PREFIX = "step-"


def checkpoint_name(step: int) -> str:
    """Folder name of the checkpoint after ``step`` optimizer steps; sorts like the number."""
    return f"{_PREFIX}{step:09d}"


def step_of(path: Path) -> int | None:
    """Optimizer step of a checkpoint folder, read from its name; None when it is not one."""
    digits = path.name.removeprefix(_PREFIX)
    return int(digits) if path.name.startswith(_PREFIX) and digits.isdigit() else None


def owner_suffix() -> str:
    """``HOST-PID`` of this process, for names of temporary folders."""
    return f"{socket.gethostname()}-{os.getpid()}"


class _HashingFile:
    """Counts and hashes what ``torch.save`` streams to disk, so that the file is not read again."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.num_bytes = 0

    def write(self, data: bytes | memoryview) -> int:
        self.sha256.update(data)
        self.num_bytes += len(data)
        return self._file.write(data)

    def flush(self) -> None:
        self._file.flush()


def fsync_folder(path: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_text_durably(path: Path, text: str) -> None:
    """Replace a small file atomically: temporary file beside it, fsync, rename, fsync of the folder."""
    temporary = path.with_name(f".{path.name}-{owner_suffix()}")
    with temporary.open("w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    os.replace(temporary, path)
    fsync_folder(path.parent)


def write_checkpoint(
    shelf: Path, *, step: int, state: Mapping[str, Any], facts: Mapping[str, Any] | None = None
) -> Path:
    """Write ``shelf/step-NNN`` so that it is complete or invisible.

    Args:
        shelf: Folder that holds the checkpoints of a run; created when missing.
        step: Optimizer steps done.
        state: Plain data and tensors; must load with ``weights_only=True``.
        facts: JSON values stored in the manifest, readable without touching the tensors.

    Returns:
        Path of the committed folder. An existing checkpoint of that step is replaced.

    Raises:
        TrainingError: The disk is full or refuses the write; earlier checkpoints are untouched.
    """
    with storing(shelf, step):
        temporary = begin_checkpoint(shelf, step)
        return commit_checkpoint(temporary, step=step, state=state, facts=facts)


@contextmanager
def storing(shelf: Path, step: int) -> Iterator[None]:
    """Turn what goes wrong while a checkpoint is written into one line, and leave nothing of it behind.

    Raises:
        TrainingError: The disk is full or refuses the write; earlier checkpoints are untouched.
    """
    name = checkpoint_name(step)
    try:
        yield
    except OSError as error:
        shutil.rmtree(_temporary(shelf, step), ignore_errors=True)
        raise _storage_error(shelf, name, error) from error
    except RuntimeError as error:
        # torch's zip writer turns a failing write into a RuntimeError; the cause is the OSError behind it.
        cause = error.__context__ if isinstance(error.__context__, OSError) else None
        shutil.rmtree(_temporary(shelf, step), ignore_errors=True)
        raise _storage_error(shelf, name, cause or error) from error


def _temporary(shelf: Path, step: int) -> Path:
    return shelf / f".writing-{checkpoint_name(step)}-{owner_suffix()}"


def begin_checkpoint(shelf: Path, step: int) -> Path:
    """An empty folder that nobody takes for a checkpoint, for files to be written into before it is committed."""
    temporary = _temporary(shelf, step)
    shelf.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir()
    return temporary


def commit_checkpoint(
    temporary: Path,
    *,
    step: int,
    state: Mapping[str, Any],
    facts: Mapping[str, Any] | None = None,
    files: Mapping[str, Mapping[str, Any]] | None = None,
) -> Path:
    """Write state and manifest into a folder that was begun, and give it its name.

    Args:
        temporary: From ``begin_checkpoint``.
        step: Optimizer steps done.
        state: As in ``write_checkpoint``.
        facts: As in ``write_checkpoint``.
        files: Entries (``write_tensors``) of files that are in the folder already.

    Returns:
        Path of the committed folder.
    """
    entries = {**(files or {}), STATE_FILE: write_tensors(temporary / STATE_FILE, state)}
    # Versions that know no pieces must not take state.pt for the whole.
    manifest = {"format": FORMAT if files else 1, "step": step, "files": entries, "facts": dict(facts or {})}
    with (temporary / MANIFEST_FILE).open("w", encoding="utf-8") as text:
        text.write(json.dumps(manifest, indent=1, sort_keys=True) + "\n")
        text.flush()
        os.fsync(text.fileno())
    fsync_folder(temporary)
    target = temporary.parent / checkpoint_name(step)
    if target.exists():
        discard(target)
    os.rename(temporary, target)
    fsync_folder(target.parent)
    return target


def write_tensors(path: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """``torch.save`` to disk, durably; its size and SHA-256 as an entry of the manifest."""
    with path.open("wb") as raw:
        file = _HashingFile(raw)
        torch.save(dict(content), file)  # type: ignore[arg-type]
        raw.flush()
        os.fsync(raw.fileno())
    return {"bytes": file.num_bytes, "sha256": file.sha256.hexdigest()}


def _storage_error(shelf: Path, name: str, error: BaseException) -> TrainingError:
    free = shutil.disk_usage(shelf).free if shelf.exists() else 0
    full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
    what = "the disk is full" if full else str(error)
    return TrainingError(
        f"Could not save checkpoint {name} in {shelf}: {what}; {free / 1e6:.1f} MB are free",
        fix="Earlier checkpoints are intact: make room, then continue with --resume auto.",
    )


def discard(path: Path) -> None:
    """Delete a checkpoint: renamed out of sight first, so that no moment shows half of it under its name."""
    trash = path.with_name(f".trash-{path.name}-{owner_suffix()}")
    shutil.rmtree(trash, ignore_errors=True)
    os.rename(path, trash)
    shutil.rmtree(trash, ignore_errors=True)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint folder, checked for shape and format version.

    Raises:
        CheckpointError: Missing, unreadable, or written by a newer version.
    """
    file = path / MANIFEST_FILE
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        files = manifest["files"]
        known = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in files.items()}
        version = int(manifest["format"])
    except FileNotFoundError as error:
        fix = "Pass a run folder or a folder named step-NNN." if path.is_dir() else _list_nearby(path)
        raise CheckpointError(f"{path} is not a checkpoint (no {MANIFEST_FILE})", fix=fix) from error
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise CheckpointError(f"{file} is damaged ({error})", fix="Use an older checkpoint of the run.") from error
    if version > FORMAT or STATE_FILE not in known:
        raise CheckpointError(
            f"{path} has checkpoint format", got=version, allowed=f"1 to {FORMAT}", fix="Update gpt-lightning."
        )
    return dict(manifest)


def _list_nearby(path: Path) -> str:
    parent = path.parent
    while not parent.exists():
        parent = parent.parent
    names = sorted(child.name for child in parent.iterdir() if child.is_dir())[:8]
    return f"{parent} holds: {', '.join(names) or 'nothing'}."


def verify_checkpoint(path: Path) -> dict[str, Any]:
    """Compare sizes and SHA-256 of every file with the manifest; return the manifest.

    Raises:
        CheckpointError: With the file, what was expected and what was found.
    """
    manifest = read_manifest(path)
    for name, entry in manifest["files"].items():
        file = path / name
        found = file.stat().st_size if file.is_file() else None
        if found != entry["bytes"]:
            problem = "is missing" if found is None else f"has {found} bytes instead of {entry['bytes']}"
            raise CheckpointError(f"{file} {problem}", fix="Use an older checkpoint of the run.")
        if _sha256(file) != entry["sha256"]:
            raise CheckpointError(
                f"{file} is damaged: its SHA-256 differs from the manifest",
                fix="Use an older checkpoint of the run, or copy the file again.",
            )
    return manifest


def _sha256(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def read_checkpoint(path: Path | str, *, device: str | torch.device = "cpu") -> dict[str, Any]:
    """Verify a checkpoint folder, then load its state; nothing in it can run code.

    Raises:
        CheckpointError: Missing, damaged, remote, or a pickle that wants to run code.
    """
    folder = local_path(path)
    state, pieces = open_checkpoint(folder, device=device)
    if pieces is not None:
        for place, _ in pieces.outlines():
            put(state, place, pieces.read(place).to(device))
    return state


def open_checkpoint(
    folder: Path, *, device: str | torch.device = "cpu", mmap: bool = False, verify: bool = True
) -> tuple[dict[str, Any], Pieces | None]:
    """Verify a checkpoint folder, then load what is not in pieces.

    Args:
        folder: The checkpoint.
        device: Where tensors go that are not in pieces.
        mmap: Map ``state.pt`` instead of loading it; for those who need a part of every tensor. CPU only.
        verify: Whether checksums are compared; not again where another process has just done it.

    Returns:
        The state, with ``None`` in the place of tensors in pieces, and the pieces; None = the state is complete.

    Raises:
        CheckpointError: As ``read_checkpoint``.
    """
    if verify:
        verify_checkpoint(folder)
    state = _load(folder / STATE_FILE, device, mmap=mmap)
    index = state.pop(INDEX, None)
    return state, None if index is None else Pieces(folder, index)


def local_path(path: Path | str) -> Path:
    """A path on this machine; addresses with a scheme are refused, since they would be loaded unverified."""
    if "://" in str(path):
        raise CheckpointError(
            "Checkpoints are read from local disks only", got=str(path), fix="Download it first, then pass its folder."
        )
    return Path(path)


def load_plain(file: Path, *, device: str | torch.device = "cpu") -> dict[str, Any]:
    """``torch.load`` of a file that may hold only tensors and plain data; CRCs of the archive are checked first.

    Raises:
        CheckpointError: Not an archive, damaged, or it wants to run code.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            bad = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{file} is not a torch checkpoint ({error})", fix="Pass a file written by torch.save since version 1.6."
        ) from error
    if bad is not None:
        raise CheckpointError(f"{file} is damaged (bad CRC in {bad})", fix="Copy the file again.")
    return _load(file, device)


def _load(file: Path, device: str | torch.device, mmap: bool = False) -> dict[str, Any]:
    try:
        state = torch.load(file, map_location=device, weights_only=True, mmap=mmap or None)
    except pickle.UnpicklingError as error:
        raise CheckpointError(
            f"{file} was refused: loading it would run code or build objects other than tensors and plain data",
            fix="If you trust its author, re-save only its weights: torch.save(model.state_dict(), 'weights.pt').",
        ) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{file} holds no dictionary", got=type(state).__name__, fix="Save a state_dict.")
    return state
