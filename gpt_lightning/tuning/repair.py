"""``sweep fsck``: damage that a crash can leave in a storage."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path

from gpt_lightning.tuning.study import journal_locked
from gpt_lightning.tuning.sweep import read_frozen
from gpt_lightning.tuning.sweep_folder import SweepFolder


def check_folder(folder: SweepFolder, *, mend: bool) -> list[str]:
    """Look at the storage in a sweep's folder.

    Args:
        folder: The sweep's.
        mend: Whether to mend what can be mended: the torn end of a journal, which makes it unreadable for everyone.

    Returns:
        What was found, a line each; empty for a sound one.
    """
    storage = read_frozen(folder).storage
    if storage == "journal":
        return _check_journal(folder.journal, mend)
    return _check_sqlite(folder.database) if storage == "sqlite" else []


def _check_sqlite(path: Path) -> list[str]:
    if not path.exists():
        return [f"{path} is missing; the trials' result.json files are still there"]
    connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=60)
    try:
        found = [row[0] for row in connection.execute("PRAGMA integrity_check")]
    except sqlite3.DatabaseError as problem:
        found = [str(problem)]
    finally:
        connection.close()
    return [] if found == ["ok"] else [f"{path}: {line}" for line in found]


def _check_journal(path: Path, mend: bool) -> list[str]:
    if not path.exists():
        return [f"{path} is missing; the trials' result.json files are still there"]
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
