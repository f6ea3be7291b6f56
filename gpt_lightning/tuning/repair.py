"""``sweep fsck``: damage that a crash can leave in a storage, and a study that is lost.

Nothing is thrown away: the torn end of a journal and a damaged database are kept beside the mended one. A study that
is gone, or does not know all trials of the folder, is filled from what the trials' own folders say (``rebuilding``).
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from gpt_lightning.errors import RunFolderError
from gpt_lightning.tuning.entries import list_entries
from gpt_lightning.tuning.rebuilding import add_trials
from gpt_lightning.tuning.spec import SweepSpec
from gpt_lightning.tuning.study import find_study, join_numbers, journal_locked, open_study, owns, without_password
from gpt_lightning.tuning.sweep import Sweep, read_frozen
from gpt_lightning.tuning.sweep_folder import SweepFolder


def check_folder(folder: SweepFolder, *, mend: bool, changes: Sequence[str] = ()) -> list[str]:
    """Look at the storage of a sweep, and whether it knows the folder's trials.

    Args:
        folder: The sweep's.
        mend: Whether to mend what can be mended.
        changes: ``key=value`` of ``--set``: with another ``storage``, the study is built anew there.

    Returns:
        What was found, a line each; empty for a sound one.

    Raises:
        RunFolderError: A database has a study of that name which is another folder's.
    """
    spec = read_frozen(folder, changes)
    file = {"journal": folder.journal, "sqlite": folder.database}.get(spec.storage)
    found = []
    if file is not None and file.exists():
        found = _check_journal(file, mend) if file == folder.journal else _check_sqlite(file, mend)
    if mend or not found:
        found += _check_trials(spec, folder, file, mend)
    if mend and changes:
        with folder.locked():
            folder.prepare(spec)
    return found


def _check_trials(spec: SweepSpec, folder: SweepFolder, file: Path | None, mend: bool) -> list[str]:
    numbers, study, found = folder.numbers(), find_study(spec, folder), []
    if study is not None and not owns(study, folder):
        found.append(f"{folder.path}: the study in {without_password(spec.storage)} is of another folder")
        if mend and file is None:
            raise RunFolderError(
                f"The study {spec.name} in this database is of another folder than {folder.path}",
                got=without_password(spec.storage),
                fix=f"Build it in the folder: gpt-lightning sweep fsck {folder.path} --repair --set storage=sqlite.",
            )
        found += [_set_aside(file)] if mend and file is not None else []
        study = None
    known = {entry.first for entry in list_entries(study.get_trials(deepcopy=False))} if study is not None else set()
    unknown = sorted({*numbers} - known)
    if not unknown:
        return found
    if not mend:
        return [*found, f"{folder.path}: the study does not know {len(unknown)} trials: {join_numbers(unknown)}"]
    sweep = Sweep(spec, folder, study or open_study(spec, folder, rebuild=True))
    with folder.locked():
        add_trials(sweep, unknown)
    return [*found, f"{folder.path}: {len(unknown)} trials were added to the study: {join_numbers(unknown)}"]


def _set_aside(path: Path) -> str:
    """Rename a storage out of the way, with its log."""
    number = 1
    while path.with_name(f"{path.name}.kept-{number}").exists():
        number += 1
    for tail in ("-wal", "-shm", ""):
        part = path.with_name(f"{path.name}{tail}")
        if part.exists():
            part.rename(path.with_name(f"{path.name}.kept-{number}{tail}"))
    return f"{path} was kept as {path.name}.kept-{number}"


def _check_sqlite(path: Path, mend: bool) -> list[str]:
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as problem:
        found = [str(problem)]
    finally:
        connection.close()
    if found == ["ok"]:
        return []
    return [*(f"{path}: {line}" for line in found), *([_set_aside(path)] if mend else [])]


def _check_journal(path: Path, mend: bool) -> list[str]:
    with journal_locked(path), path.open("r+b") as file:
        content = file.read()
        sound = 0
        for line in content.splitlines(keepends=True):
            if not (line.endswith(b"\n") and _is_json(line)):
                break
            sound += len(line)
        if sound == len(content):
            return []
        rest = content[sound:]
        if mend:
            # Kept beside it: whole records may follow a torn one.
            path.with_name(f"{path.name}.cut").write_bytes(rest)
            file.truncate(sound)
    number = content[:sound].count(b"\n") + 1
    return [f"{path}: torn record in line {number}, {len(rest):,} bytes {'were cut off' if mend else 'are unreadable'}"]


def _is_json(line: bytes) -> bool:
    try:
        json.loads(line)
    except ValueError:
        return False
    return True
