"""What of checkpoints needs no torch: their names and their manifests.

Lists of runs and checks of checksums answer at once because of that; ``folder`` writes and reads the tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.registered import find_registered
from gpt_lightning.errors import CheckpointError
from gpt_lightning.files.processes import own_mark
from gpt_lightning.files.sealing import SEAL, unseal

FORMAT = 2
"""1: everything in state.pt. 2: tensors in pieces, see ``pieces``."""
STATE_FILE = "state.pt"
MANIFEST_FILE = "manifest.json"
_PREFIX = "step-"
_ENTRIES = {"format", "step", "files", "facts", SEAL}


def checkpoint_name(step: int) -> str:
    """Folder name of the checkpoint after ``step`` optimizer steps; sorts like the number."""
    return f"{_PREFIX}{step:09d}"


def step_of(path: Path) -> int | None:
    """Optimizer step of a checkpoint folder, read from its name; None when it is not one."""
    digits = path.name.removeprefix(_PREFIX)
    return int(digits) if path.name.startswith(_PREFIX) and digits.isdigit() else None


def list_checkpoints(shelf: Path) -> list[Path]:
    """Committed checkpoints, oldest first."""
    if not shelf.is_dir():
        return []
    steps = {path: step_of(path) for path in shelf.iterdir()}
    found = {path: step for path, step in steps.items() if step is not None and path.is_dir()}
    return sorted(found, key=lambda path: found[path])


def discard(path: Path) -> None:
    """Delete a checkpoint: renamed out of sight first, so that no moment shows half of it under its name."""
    trash = path.with_name(f".trash-{path.name}@{own_mark()}")
    shutil.rmtree(trash, ignore_errors=True)
    os.rename(path, trash)
    shutil.rmtree(trash, ignore_errors=True)


def read_manifest(path: Path) -> dict[str, Any]:
    """The manifest of a checkpoint folder, checked for shape, checksum, step and format version.

    Raises:
        CheckpointError: Missing, unreadable, of another step, or written by a newer version.
    """
    file = path / MANIFEST_FILE
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
        files = manifest["files"]
        known = {name: (int(entry["bytes"]), str(entry["sha256"])) for name, entry in files.items()}
        version = int(manifest["format"])
        if version <= FORMAT:
            unseal(manifest)
            _check_sense(manifest, step_of(path))
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


def _check_sense(manifest: Mapping[str, Any], step: int | None) -> None:
    unknown = manifest.keys() - _ENTRIES
    if unknown:
        raise ValueError(f"it has an entry {min(unknown)!r}")
    if step is not None and manifest["step"] != step:
        raise ValueError(f"it is of step {manifest['step']}, and the folder of step {step}")
    outside = [name for name in manifest["files"] if Path(name).name != name]
    if outside:
        raise ValueError(f"{outside[0]!r} is not in the folder")
    if not isinstance(manifest["facts"], dict):
        raise TypeError("facts are no mapping")


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


def local_path(path: Path | str) -> Path:
    """What a user typed as a path on this machine: a path, or the name of a registered model (``chat@production``).

    Raises:
        CheckpointError: An address with a scheme, which would be loaded unverified; or an unknown name.
    """
    if "://" in str(path):
        raise CheckpointError(
            "Checkpoints are read from local disks only", got=str(path), fix="Download it first, then pass its folder."
        )
    return find_registered(path) or Path(path)
