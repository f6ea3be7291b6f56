"""Changes of aliases: a chain that only grows, and the one rename that puts its newest link into force."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.registered import ALIASES_FILE, Aliases, find_version, read_aliases
from gpt_lightning.errors import CheckpointError, ConfigError, DataError, MachineError
from gpt_lightning.files.atomic import fsync_file, fsync_folder, write_json_durably
from gpt_lightning.files.locks import FileLock
from gpt_lightning.files.processes import owner_is_gone
from gpt_lightning.files.sealing import seal
from gpt_lightning.registry.gates import read_report
from gpt_lightning.registry.versions import now, read_version, verify_version

HISTORY_FILE, LOCK_FILE = "history.jsonl", "registry.lock"
PRODUCTION = "production"


@dataclass(frozen=True)
class Change:
    """One move of an alias.

    Attributes:
        action: promote or rollback.
        alias: Which.
        before: The version that it stood for; None = it is new.
        version: The one it stands for from then on.
        time: When, UTC.
        who: Who did it.
        why: The reason.
        gate: SHA-256 of the gate's report; None = there was none.
        forced: Whether it was done without a passed gate.
        previous: The change before this one, of any alias.
        id: SHA-256 of all of that.
    """

    action: str
    alias: str
    before: str | None
    version: str
    time: str
    who: str
    why: str
    gate: str | None = None
    forced: bool = False
    previous: str | None = None
    id: str = ""

    def signed(self) -> Change:
        """The same with its id."""
        content = {name: value for name, value in asdict(self).items() if name != "id"}
        return replace(self, id=hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest())


def read_history(folder: Path, alias: str | None = None) -> list[Change]:
    """The changes in force, oldest first; of one alias, or of all.

    Raises:
        DataError: The chain is broken.
        CheckpointError: ``aliases.json`` is damaged.
    """
    wanted, known = read_aliases(folder).head, _read_lines(folder / HISTORY_FILE)
    chain: list[Change] = []
    while wanted is not None:
        change = known.get(wanted)
        if change is None:
            raise DataError(
                f"{folder / HISTORY_FILE} is damaged: change {wanted[:12]} is missing or was altered",
                fix="Restore the file from a copy; what the aliases stand for now is not affected.",
            )
        chain.append(change)
        wanted = change.previous
    return [change for change in reversed(chain) if alias in (None, change.alias)]


def _read_lines(file: Path) -> dict[str, Change]:
    """What can be read of the file, by id; a line cut by a kill, or altered by somebody, is nobody's."""
    found: dict[str, Change] = {}
    for line in file.read_text(encoding="utf-8", errors="replace").splitlines() if file.is_file() else ():
        try:
            change = Change(**json.loads(line))
        except (ValueError, TypeError):
            continue
        if change.signed().id == change.id:
            found[change.id] = change
    return found


def served(changes: Sequence[Change]) -> list[str]:
    """Versions that an alias can be rolled back through, the one in force last: a rollback takes what it undoes away.

    Args:
        changes: Of one alias, oldest first.
    """
    stack: list[str] = []
    for change in changes:
        if change.action == "rollback":
            while stack and stack[-1] != change.version:
                stack.pop()
        if not stack or stack[-1] != change.version:
            stack.append(change.version)
    return stack


def promote(folder: Path, version: str, alias: str, *, who: str, why: str = "", force: bool = False) -> Change | None:
    """Let an alias stand for a version, from one moment to the next.

    The first version of an alias replaces nothing and needs no gate.

    Args:
        folder: Of the registered model.
        version: The beginning of a version, or an alias.
        alias: Which alias.
        who: Who does it.
        why: The reason.
        force: Without a passed gate; then with a reason.

    Returns:
        The change; None where the alias stands for the version already.

    Raises:
        ConfigError: The alias cannot be a name, or force has no reason.
        CheckpointError: There is no such version, or it is damaged.
        DataError: The gate was not passed.
        MachineError: The disk refuses.
    """
    _check_alias(alias)
    if force and not why.strip():
        raise ConfigError("A forced promotion needs a reason, which stays in the history", fix="Add --why TEXT.")
    found = read_version(folder, version)
    verify_version(folder, found)
    with FileLock(folder / LOCK_FILE):
        aliases = read_aliases(folder)
        before = aliases.versions.get(alias)
        if before == found.id:
            return None
        report = None if before is None else read_report(folder, found.id, before)
        passed = before is None or (report is not None and report.passed)
        if not passed and not force:
            failed = [] if report is None else [check.name for check in report.checks if not check.passed]
            raise DataError(
                f"Version {found.id} has not passed the gate against {before}, which is {alias} now",
                got=f"failed: {', '.join(failed)}" if failed else "no report",
                fix=f"Run gpt-lightning models gate {folder.name} {found.id}, or add --force true --why TEXT.",
            )
        reason = why or ("the first version" if before is None else "the gate was passed")
        change = Change(
            "promote",
            alias,
            before,
            found.id,
            now(),
            who,
            reason,
            None if report is None else report.sha256,
            not passed,
        )
        return _put_into_force(folder, aliases, change)


def rollback(folder: Path, alias: str, *, who: str, why: str, to: str | None = None) -> Change:
    """Let an alias stand for the version before, or for an earlier one.

    Args:
        folder: Of the registered model.
        alias: Which alias.
        who: Who does it.
        why: The reason.
        to: The beginning of an earlier version of the alias; None = the one before.

    Raises:
        CheckpointError: The alias never stood for such a version, or that is damaged.
        DataError: The history is broken.
        MachineError: The disk refuses.
    """
    with FileLock(folder / LOCK_FILE):
        aliases = read_aliases(folder)
        stack = served(read_history(folder, alias))
        wanted = None if to is None else find_version(folder, to)
        earlier = [each for each in stack[:-1] if wanted in (None, each)]
        if not earlier:
            raise CheckpointError(
                f"{alias} of {folder.name} cannot be rolled back",
                got="the version before" if to is None else to,
                allowed=", ".join(stack[:-1]) or "it has stood for no other version",
                fix=f"See gpt-lightning models history {folder.name}.",
            )
        found = read_version(folder, earlier[-1])
        verify_version(folder, found)
        return _put_into_force(folder, aliases, Change("rollback", alias, stack[-1], found.id, now(), who, why))


def _check_alias(alias: str) -> None:
    is_name = alias.replace("-", "").replace("_", "").isalnum() and alias.isascii() and alias[:1].isalpha()
    if not is_name or all(sign in "0123456789abcdef" for sign in alias):
        raise ConfigError(
            "An alias is a word that cannot be taken for a version",
            got=alias,
            allowed="letters, digits, - and _, such as production",
        )


def _put_into_force(folder: Path, aliases: Aliases, change: Change) -> Change:
    """Write the change, then let ``aliases.json`` name it: the rename in it is the moment that counts."""
    change = replace(change, previous=aliases.head).signed()
    versions = {**aliases.versions, change.alias: change.version}
    try:
        _sweep(folder)
        _append(folder / HISTORY_FILE, asdict(change))
        write_json_durably(folder / ALIASES_FILE, seal({"aliases": versions, "head": change.id}))
    except OSError as error:
        raise MachineError(
            f"The aliases of {folder} could not be written ({error.strerror})",
            fix=f"See what holds now: gpt-lightning models history {folder.name}.",
        ) from error
    return change


def _append(file: Path, content: dict[str, Any]) -> None:
    is_new = not file.exists()
    with file.open("ab+") as opened:
        if opened.tell():
            opened.seek(-1, os.SEEK_END)
            if opened.read(1) != b"\n":  # a line that a kill cut short
                opened.write(b"\n")
        opened.write((json.dumps(content, ensure_ascii=False) + "\n").encode("utf-8"))
        fsync_file(opened)
    if is_new:
        fsync_folder(file.parent)


def _sweep(folder: Path) -> None:
    """Delete what killed writers left."""
    for path in folder.glob(f".{ALIASES_FILE}@*"):
        if owner_is_gone(path.name):
            path.unlink(missing_ok=True)
