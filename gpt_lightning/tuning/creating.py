"""Beginning a sweep, going on with it, or starting anew with the trials of an old one."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import create_trial

from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.tuning import entries as names
from gpt_lightning.tuning.board_tab import declare
from gpt_lightning.tuning.checking import Checked, check_sweep
from gpt_lightning.tuning.claiming import enqueue_points
from gpt_lightning.tuning.entries import Entry
from gpt_lightning.tuning.reading import read_spec
from gpt_lightning.tuning.reading_parameters import is_active
from gpt_lightning.tuning.spec import SweepSpec
from gpt_lightning.tuning.study import describe_space, hash_space, open_study
from gpt_lightning.tuning.sweep import BASE, STOP, Sweep, open_sweep, read_frozen
from gpt_lightning.tuning.sweep_folder import SWEEP_FILE, SweepFolder, find_sweep, sweep_folder_of

log = logging.getLogger("gpt_lightning")


def read_named(path: str, changes: Sequence[str]) -> tuple[SweepSpec, SweepFolder]:
    """The sweep that a user names: a file, or the folder or name of one that was begun.

    Raises:
        ConfigError: The file is wrong, or there is nothing of that name.
    """
    file = Path(path)
    if file.is_file():
        spec = read_spec(file, changes, _copies(file))
        return spec, SweepFolder(file.parent) if file.name == SWEEP_FILE else sweep_folder_of(spec.name)
    if file.suffix in (".yaml", ".yml"):
        raise ConfigError("The sweep file does not exist", got=path, fix="Check the path.")
    folder = find_sweep(path)
    return read_spec(folder.file, changes, _copies(folder.file)), folder


def _copies(file: Path) -> list[Path] | None:
    """For the file in a sweep's folder, the copies of its bases beside it."""
    if file.name != SWEEP_FILE or not (file.parent / "base").is_dir():
        return None
    return list(read_frozen(SweepFolder(file.parent)).base)


def begin(spec: SweepSpec, folder: SweepFolder, *, force: bool = False) -> tuple[Sweep, Checked]:
    """Check, create what is not there, and open. Any number of processes may do so at once.

    Args:
        spec: The sweep, as the user named it.
        folder: Its folder.
        force: Go on although the space is another one.

    Raises:
        ConfigError: A trial would fail.
        RunFolderError: The study holds results of another space.
    """
    checked = check_sweep(spec)
    if folder.file.exists() and not force:
        before = read_frozen(folder)
        if hash_space(describe_space(before)) != hash_space(describe_space(spec)):
            open_study(spec, folder)  # says what differs
    with folder.locked():
        if force:
            for copy in folder.bases(spec):
                copy.unlink(missing_ok=True)
        folder.prepare(spec)
        declare(spec, folder.trials)
    study = open_study(spec, folder, accept_change=force)
    study.set_user_attr(BASE, checked.facts())
    sweep = open_sweep(folder)
    with folder.locked():
        enqueue_points(sweep)
    return sweep, checked


def allow(sweep: Sweep) -> None:
    """Take back what ``sweep stop`` said."""
    sweep.store(lambda: sweep.study.set_user_attr(STOP, None), "writing to the study")


def fork(spec: SweepSpec) -> tuple[SweepSpec, SweepFolder]:
    """A sweep of the same file under the next free name, with the finished trials of the old one that fit its space.

    Raises:
        RunFolderError: There is no old one, or it measures something else.
    """
    old = open_sweep(find_sweep(spec.name))
    number = 2
    while sweep_folder_of(f"{spec.name}-{number}").path.exists():
        number += 1
    name = f"{spec.name}-{number}"
    new = replace(spec, name=name, raw={**spec.raw, "name": name})
    if [each.name for each in old.spec.metrics] != [each.name for each in new.metrics] or [
        path.read_bytes() for path in old.spec.base
    ] != [path.read_bytes() for path in new.base]:
        raise RunFolderError(
            f"Sweep {spec.name} has another metric or base, so none of its trials can be taken over",
            fix=f"Begin a sweep of another name: --set name={name}.",
        )
    sweep, _ = begin(new, sweep_folder_of(name))
    taken = [entry for entry in old.entries() if entry.state == "complete" and _fits(new, entry)]
    for entry in taken:
        _import(sweep, entry, old.folder.trial(entry.first))
    log.info("%s: %d of %d finished trials taken over", name, len(taken), len(old.ranked()))
    return new, sweep.folder


def _fits(spec: SweepSpec, entry: Entry) -> bool:
    values: dict[str, Any] = {}
    for key, parameter in spec.parameters.items():
        if is_active(parameter, values):
            if key not in entry.values:
                return False
            try:
                parameter.encode(entry.values[key])
            except ConfigError:
                return False
            values[key] = entry.values[key]
    return set(values) == set(entry.values)


def _import(sweep: Sweep, entry: Entry, folder: Path) -> None:
    named = {key: sweep.spec.parameters[key] for key in entry.values}
    facts = {name: value for name, value in entry.last.user_attrs.items() if name not in (names.FIRST, names.RETRY_OF)}
    trial = create_trial(
        params={each.stored_name: each.encode(entry.values[key]) for key, each in named.items()},
        distributions={each.stored_name: each.distribution() for each in named.values()},
        values=entry.last.values,
        user_attrs={**json.loads(json.dumps(facts)), "folder": str(folder.resolve()), "imported": str(folder)},
    )
    sweep.store(lambda: sweep.study.add_trial(trial), "adding a trial")
