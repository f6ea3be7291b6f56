"""A version of a model: a checkpoint under the name of its content, with what must be known of it."""

from __future__ import annotations

import getpass
import hashlib
import json
import os
import shutil
import socket
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpt_lightning._version import __version__
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR, locate
from gpt_lightning.checkpoints.durable import verify_checkpoint
from gpt_lightning.checkpoints.registered import ID_DIGITS, VERSIONS_DIR, find_version, list_versions
from gpt_lightning.errors import CheckpointError, MachineError
from gpt_lightning.files.atomic import fsync_folder, link_or_copy, write_json_durably
from gpt_lightning.files.processes import own_mark, owner_is_gone
from gpt_lightning.files.sealing import seal, unseal

RECORD_FILE = "version.json"
BASE_DIR = "base"
_TIME = "%Y-%m-%dT%H:%M:%SZ"


@dataclass(frozen=True)
class Version:
    """What is known of a version.

    Attributes:
        id: The first digits of ``digest``; its folder's name.
        digest: SHA-256 of all names and contents of its files.
        files: Path inside the folder -> SHA-256.
        added: When, UTC.
        added_by: Who.
        source: What it was made of, as that was called.
        step: Optimizer steps behind it.
        card: What the checkpoint tells of itself: architecture, configuration, data, validation.
        parent: The version that its training began with.
        data: Fingerprint -> description of what it was trained on.
        note: What somebody wants said about it.
        program: Version of gpt_lightning that added it.
    """

    id: str
    digest: str
    files: Mapping[str, str]
    added: str
    added_by: str
    source: str
    step: int
    card: Mapping[str, Any] = field(default_factory=dict)
    parent: str | None = None
    data: Mapping[str, str] = field(default_factory=dict)
    note: str = ""
    program: str = __version__


def find_user() -> str:
    """Who runs this process, and where."""
    try:
        return f"{getpass.getuser()}@{socket.gethostname()}"
    except (OSError, KeyError):  # a container's user without a name
        return f"unknown@{socket.gethostname()}"


def now() -> str:
    """The time, UTC."""
    return time.strftime(_TIME, time.gmtime())


def add_version(
    folder: Path,
    run: Path | str,
    *,
    prefer: str = "best",
    parent: str | None = None,
    data: Mapping[str, str] | None = None,
    note: str = "",
    who: str | None = None,
) -> Version:
    """Register a checkpoint; what is there already is returned as it is.

    Args:
        folder: Of the registered model; made where it is missing.
        run: Run folder or checkpoint folder; an adapter comes with its base.
        prefer: Which checkpoint of a run folder: best or last.
        parent: The version that training began with: an alias or a version.
        data: Fingerprint -> description of further data, beside those that the checkpoint names.
        note: What is to be said about it.
        who: Who adds it; None = the user of this process.

    Raises:
        CheckpointError: The checkpoint is missing or damaged, or there is no such parent.
        MachineError: The disk refuses.
    """
    checkpoint = locate(run, prefer=prefer)
    manifest = verify_checkpoint(checkpoint)
    card = manifest["facts"]
    sources = {f"{CHECKPOINTS_DIR}/{checkpoint.name}/{name}": path for name, path in _walk(checkpoint)}
    sources |= {f"{BASE_DIR}/{name}": path for name, path in _walk(checkpoint.parent.parent / BASE_DIR)}
    if "base" in card and not any(name.startswith(f"{BASE_DIR}/") for name in sources):
        raise CheckpointError(
            f"{checkpoint} holds an adapter, and its base does not lie beside it",
            allowed=f"the folder {checkpoint.parent.parent / BASE_DIR}",
            fix="Register the run's own folder.",
        )
    files = {name: _hash_file(path) for name, path in sorted(sources.items())}
    digest = _hash_names(files)
    known = {} if card.get("data_fingerprint") is None else {str(card["data_fingerprint"]): _name_source(card)}
    version = Version(
        id=digest[:ID_DIGITS],
        digest=digest,
        files=files,
        added=now(),
        added_by=who or find_user(),
        source=str(run),
        step=int(manifest["step"]),
        card=card,
        parent=None if parent is None else find_version(folder, parent),
        data={**known, **(data or {})},
        note=note,
    )
    if version.id in list_versions(folder):
        return read_version(folder, version.id)
    try:
        _place(folder / VERSIONS_DIR, version, sources)
    except OSError as error:
        raise MachineError(f"Version {version.id} cannot be written into {folder} ({error.strerror})") from error
    return read_version(folder, version.id)


def _place(versions: Path, version: Version, sources: Mapping[str, Path]) -> None:
    versions.mkdir(parents=True, exist_ok=True)
    for path in versions.glob(".adding-*"):
        if owner_is_gone(path.name):
            shutil.rmtree(path, ignore_errors=True)
    temporary = versions / f".adding-{version.id}@{own_mark()}"
    try:
        for name, source in sources.items():
            target = temporary / name
            target.parent.mkdir(parents=True, exist_ok=True)
            link_or_copy(source, target)
        write_json_durably(temporary / RECORD_FILE, seal(asdict(version)))
        for place in (temporary, *(path for path in temporary.rglob("*") if path.is_dir())):
            fsync_folder(place)
        if not (versions / version.id).exists():  # nor has another process added it meanwhile
            os.rename(temporary, versions / version.id)
            fsync_folder(versions)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def read_version(folder: Path, wanted: str) -> Version:
    """The record of a version.

    Args:
        folder: Of the registered model.
        wanted: An alias, or the beginning of a version.

    Raises:
        CheckpointError: There is none, or its record is damaged.
    """
    file = folder / VERSIONS_DIR / find_version(folder, wanted) / RECORD_FILE
    try:
        return Version(**unseal(json.loads(file.read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(f"{file} is damaged ({error})", fix="Add the version again from its run.") from error


def read_versions(folder: Path) -> list[Version]:
    """All of them, oldest first."""
    return sorted(
        (read_version(folder, each) for each in list_versions(folder)), key=lambda each: (each.added, each.id)
    )


def verify_version(folder: Path, version: Version) -> None:
    """Compare every file with its checksum.

    Raises:
        CheckpointError: One is missing or differs.
    """
    place = folder / VERSIONS_DIR / version.id
    for name, digest in version.files.items():
        if not (place / name).is_file() or _hash_file(place / name) != digest:
            raise CheckpointError(
                f"{place / name} is missing or damaged: version {version.id} must not be used",
                fix="Add it again from its run, into a new folder, and copy the file.",
            )


def using_data(folder: Path, fingerprints: Sequence[str]) -> list[Version]:
    """Versions that were trained on any of some data sets, or began with one that was."""
    versions = read_versions(folder)
    found = {each.id for each in versions if not set(fingerprints).isdisjoint(each.data)}
    while more := {each.id for each in versions if each.parent in found} - found:
        found |= more
    return [each for each in versions if each.id in found]


def _walk(place: Path) -> list[tuple[str, Path]]:
    found = [path for path in place.rglob("*") if path.is_file()] if place.is_dir() else []
    return sorted((path.relative_to(place).as_posix(), path) for path in found)


def _hash_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _hash_names(files: Mapping[str, str]) -> str:
    return hashlib.sha256("".join(f"{digest}  {name}\n" for name, digest in sorted(files.items())).encode()).hexdigest()


def _name_source(card: Mapping[str, Any]) -> str:
    data = (card.get("config") or {}).get("data") or {}
    if data.get("mixture"):
        return f"mixture of {', '.join(data['mixture']['sources'])}"
    return str(data.get("store") or data.get("source") or "the store of its run")
