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
import zipfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import torch

from gpt_lightning.checkpoints.durable import (
    FORMAT,
    MANIFEST_FILE,
    STATE_FILE,
    checkpoint_name,
    discard,
    local_path,
    verify_checkpoint,
)
from gpt_lightning.checkpoints.old_files import check_old_file, is_old_file
from gpt_lightning.checkpoints.pieces import INDEX, Pieces, put
from gpt_lightning.errors import CheckpointError, MachineError
from gpt_lightning.files.atomic import fsync_file, fsync_folder
from gpt_lightning.files.processes import own_mark
from gpt_lightning.files.sealing import seal


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
        MachineError: The disk is full or refuses the write; earlier checkpoints are untouched.
    """
    with storing(shelf, step):
        temporary = begin_checkpoint(shelf, step)
        return commit_checkpoint(temporary, step=step, state=state, facts=facts)


@contextmanager
def storing(shelf: Path, step: int) -> Iterator[None]:
    """Turn what goes wrong while a checkpoint is written into one line, and leave nothing of it behind.

    Raises:
        MachineError: The disk is full or refuses the write; earlier checkpoints are untouched.
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
    return shelf / f".writing-{checkpoint_name(step)}@{own_mark()}"


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
        text.write(json.dumps(seal(json.loads(json.dumps(manifest))), indent=1, sort_keys=True) + "\n")
        fsync_file(text)
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
        fsync_file(raw)
    return {"bytes": file.num_bytes, "sha256": file.sha256.hexdigest()}


def _storage_error(shelf: Path, name: str, error: BaseException) -> MachineError:
    free = shutil.disk_usage(shelf).free if shelf.exists() else 0
    number = error.errno if isinstance(error, OSError) else None
    what, advice = str(error), "make room"
    if number in (errno.ENOSPC, errno.EDQUOT):
        what = "the disk is full"
    elif number == errno.EFBIG:
        what = "a file would be larger than this process may write, or than the file system takes"
        advice = "raise the limit (ulimit -f unlimited), or name another disk with --run.dir"
    return MachineError(
        f"Could not save checkpoint {name} in {shelf}: {what}; {free / 1e6:.1f} MB are free",
        fix=f"Earlier checkpoints are intact: {advice}, then continue with --resume auto.",
    )


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


def load_plain(file: Path, *, device: str | torch.device = "cpu") -> dict[str, Any]:
    """``torch.load`` of a file that may hold only tensors and plain data; CRCs of the archive are checked first.

    Raises:
        CheckpointError: Not an archive, damaged, or it wants to run code.
    """
    try:
        if is_old_file(file):
            return _load_old(file, device)
        with zipfile.ZipFile(file) as archive:
            packed = [entry.filename for entry in archive.infolist() if entry.compress_type != zipfile.ZIP_STORED]
            if packed:
                # torch never compresses; a small file that unpacks to more than memory holds would.
                raise zipfile.BadZipFile(f"{packed[0]} is compressed")
            bad = archive.testzip()
    except (OSError, zipfile.BadZipFile) as error:
        raise CheckpointError(
            f"{file} is not a torch checkpoint ({error})", fix="Pass a file written by torch.save since version 1.6."
        ) from error
    if bad is not None:
        raise CheckpointError(f"{file} is damaged (bad CRC in {bad})", fix="Copy the file again.")
    return _load(file, device)


def _load_old(file: Path, device: str | torch.device) -> dict[str, Any]:
    try:
        check_old_file(file)
        return _load(file, device)
    except pickle.UnpicklingError as error:
        raise _unsafe(file) from error
    except (ValueError, RuntimeError, EOFError) as error:
        raise CheckpointError(
            f"{file} is damaged ({str(error).splitlines()[0]})", fix="Fetch the file again."
        ) from error


def _unsafe(file: Path) -> CheckpointError:
    return CheckpointError(
        f"{file} was refused: loading it would run code or build objects other than tensors and plain data",
        fix="If you trust its author, re-save only its weights: torch.save(model.state_dict(), 'weights.pt').",
    )


def _load(file: Path, device: str | torch.device, mmap: bool = False) -> dict[str, Any]:
    try:
        state = torch.load(file, map_location=device, weights_only=True, mmap=mmap or None)
    except pickle.UnpicklingError as error:
        raise _unsafe(file) from error
    if not isinstance(state, dict):
        raise CheckpointError(f"{file} holds no dictionary", got=type(state).__name__, fix="Save a state_dict.")
    return state
