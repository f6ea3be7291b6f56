"""What of checkpoints needs no torch: their names and their manifests.

Lists of runs and checks of checksums answer at once because of that; ``folder`` writes and reads the tensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from pathlib import Path
from typing import Any

from gpt_lightning.errors import CheckpointError
from gpt_lightning.files.processes import own_mark

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


def discard(path: Path) -> None:
    """Delete a checkpoint: renamed out of sight first, so that no moment shows half of it under its name."""
    trash = path.with_name(f".trash-{path.name}@{own_mark()}")
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


def local_path(path: Path | str) -> Path:
    """A path on this machine; addresses with a scheme are refused, since they would be loaded unverified."""
    if "://" in str(path):
        raise CheckpointError(
            "Checkpoints are read from local disks only", got=str(path), fix="Download it first, then pass its folder."
        )
    return Path(path)
