"""Beginning a sweep, going on with it, or starting anew with the trials of an old one."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from optuna.trial import create_trial

from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.parsing.shipped import suggest_shipped
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.spec.reading_parameters import is_active
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study import entries as names
from gpt_lightning.tuning.study.best import trial_folder
from gpt_lightning.tuning.study.board_tab import declare
from gpt_lightning.tuning.study.checking import Checked, check_sweep
from gpt_lightning.tuning.study.entries import Entry
from gpt_lightning.tuning.study.study import describe_space, hash_space, load_study, open_study, without_password
from gpt_lightning.tuning.study.sweep import ALLOWED, BASE, FAULT, STOP, Sweep, open_sweep, read_frozen
from gpt_lightning.tuning.study.sweep_folder import SWEEP_FILE, SweepFolder, find_sweep, sweep_folder_of
from gpt_lightning.tuning.workers.claiming import enqueue_points
from gpt_lightning.tuning.workers.slots import check_reach

log = logging.getLogger("gpt_lightning")

FORKED = "gpt_lightning:forked"
"""Attribute of a study that has all trials of the sweep it was forked from."""
KNOWN = ("complete", names.DIVERGED, "pruned")
"""States of trials that a fork takes over."""


def read_named(path: str, changes: Sequence[str]) -> tuple[SweepSpec, SweepFolder]:
    """The sweep that a user names: a file, or the folder or name of one that was begun.

    Raises:
        ConfigError: The file is wrong, or there is nothing of that name.
    """
    file = Path(path)
    if file.is_file() and not (file.name == SWEEP_FILE and SweepFolder(file.parent).is_begun):
        spec = read_spec(file, changes)
        return spec, sweep_folder_of(spec.name)
    if not file.exists() and file.suffix in (".yaml", ".yml"):
        raise ConfigError("The sweep file does not exist", got=path, fix=suggest_shipped(path) or "Check the path.")
    folder = find_sweep(path)
    return read_frozen(folder, changes), folder


def begin(
    spec: SweepSpec, folder: SweepFolder, *, force: bool = False, forked_from: str = "", prefixes: str = ""
) -> tuple[Sweep, Checked]:
    """Check, create what is not there, and open. Any number of processes may do so at once.

    Args:
        spec: The sweep, as the user named it.
        folder: Its folder.
        force: Go on although the space is another one.
        forked_from: Folder of the sweep whose trials are taken over.
        prefixes: Store of shared checkpoints of another sweep.

    Raises:
        ConfigError: A trial would fail.
        RunFolderError: The study holds results of another space, or is not that of the folder's trials.
    """
    check_reach(spec, folder)
    checked = check_sweep(spec)
    if folder.is_begun:
        before = read_frozen(folder)
        _check_storage(before, spec, folder)
        if folder.numbers():
            Sweep(spec, folder, load_study(spec, folder)).check_folder()
        if not force and hash_space(describe_space(before)) != hash_space(describe_space(spec)):
            open_study(spec, folder)  # says what differs
    with folder.locked():
        folder.prepare(spec, forked_from=forked_from, prefixes=prefixes, replace=force)
        declare(spec, folder.trials)
    study = open_study(spec, folder, accept_change=force)
    study.set_user_attr(BASE, checked.facts())
    sweep = open_sweep(folder)
    complete(sweep)
    return sweep, checked


def _check_storage(before: SweepSpec, spec: SweepSpec, folder: SweepFolder) -> None:
    """Another storage has another study, which would know nothing of the trials in the folder."""
    old, new = without_password(before.storage), without_password(spec.storage)
    if old == new:
        return
    raise RunFolderError(
        f"Sweep {before.name} keeps its results in storage {old}",
        got=new,
        fix=f"Leave storage as it is. Move it: gpt-lightning sweep fsck {folder.path} --repair "
        f"--set storage={new}. Or begin anew with the trials that fit: --fork.",
    )


def complete(sweep: Sweep) -> None:
    """Add what is to be there before the sampler chooses: trials of the forked sweep, and given points.

    Nothing is added twice, so whoever was killed in between is followed by the next start.
    """
    if BASE not in sweep.study.user_attrs:  # a study that was built anew
        sweep.study.set_user_attr(BASE, check_sweep(sweep.spec).facts())
    with sweep.folder.locked():
        old = sweep.folder.mark().get("forked_from")
        if old and not _is_taken_over(sweep):
            _take_over(sweep, open_sweep(SweepFolder(Path(old))))
            sweep.store(lambda: sweep.study.set_user_attr(FORKED, old), "writing to the study")
        enqueue_points(sweep)


def _is_taken_over(sweep: Sweep) -> bool:
    return bool(sweep.store(lambda: sweep.study.user_attrs.get(FORKED), "reading the study"))


def allow(sweep: Sweep) -> None:
    """Take back what ``sweep stop`` or a fault of the machine said."""
    for name in (STOP, FAULT):
        sweep.store(lambda name=name: sweep.study.set_user_attr(name, None), "writing to the study")  # type: ignore[misc]
    number = len(sweep.store(lambda: sweep.study.get_trials(deepcopy=False), "reading the trials"))
    sweep.store(lambda: sweep.study.set_user_attr(ALLOWED, number), "writing to the study")


def fork(spec: SweepSpec) -> tuple[SweepSpec, SweepFolder]:
    """A sweep of the same file under the next free name, with the finished trials of the old one that fit its space.

    A fork that was killed before it had all of them is gone on with.

    Raises:
        RunFolderError: There is no old one, or it measures something else.
    """
    old = open_sweep(find_sweep(spec.name))
    if [each.name for each in old.spec.metrics] != [each.name for each in spec.metrics] or [
        path.read_bytes() for path in old.spec.base
    ] != [path.read_bytes() for path in spec.base]:
        raise RunFolderError(
            f"Sweep {spec.name} has another metric or base, so none of its trials can be taken over",
            fix="Begin a sweep of another name: --set name=OTHER.",
        )
    sweep, _ = begin_after(old, spec, take_over=True)
    return sweep.spec, sweep.folder


def begin_after(old: Sweep, spec: SweepSpec, *, take_over: bool) -> tuple[Sweep, Checked]:
    """Begin a sweep under the next free name after that of an old one, whose shared checkpoints it uses.

    Args:
        old: Stays as it is.
        spec: The new one, whose name is not used.
        take_over: Whether it begins with the ended trials of the old one that fit its space.
    """
    source = str(old.folder.path.resolve())
    stem = re.sub(r"-\d+$", "", old.spec.name) if old.folder.mark().get("prefixes") else old.spec.name
    number = 2
    while _is_used(sweep_folder_of(f"{stem}-{number}"), source if take_over else ""):
        number += 1
    name = f"{stem}-{number}"
    new = replace(spec, name=name, raw={**spec.raw, "name": name})
    store = str(old.folder.prefixes.resolve())
    sweep, checked = begin(new, sweep_folder_of(name), forked_from=source if take_over else "", prefixes=store)
    if take_over:
        taken = sum(bool(entry.fact("imported")) for entry in sweep.entries())
        ended = sum(entry.state in KNOWN and entry.repeats is None for entry in old.entries())
        log.info("%s: %d of %d ended trials taken over", name, taken, ended)
    return sweep, checked


def _is_used(folder: SweepFolder, source: str) -> bool:
    """Whether a name is taken; not by a fork of the same sweep that was killed while it began."""
    if not folder.path.exists():
        return False
    if not source or folder.mark().get("forked_from") != source or folder.numbers():
        return True
    return folder.is_begun and _is_taken_over_in(folder)


def _is_taken_over_in(folder: SweepFolder) -> bool:
    try:
        return _is_taken_over(open_sweep(folder))
    except RunFolderError:
        return False  # it has no study yet


def _take_over(sweep: Sweep, old: Sweep) -> None:
    folders = {entry.first: str(trial_folder(old, entry)) for entry in old.entries()}
    for entry in old.entries():
        there = {each.fact("imported"): each.first for each in sweep.entries()}
        # A repetition is one of the trial that is taken over, which has another number here.
        repeats = None if entry.repeats is None else there.get(folders[entry.repeats])
        wanted = entry.state in KNOWN and (entry.repeats is None or repeats is not None)
        if wanted and folders[entry.first] not in there and _fits(sweep.spec, entry):
            _import(sweep, entry, folders[entry.first], repeats)


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


def _import(sweep: Sweep, entry: Entry, folder: str, repeats: int | None) -> None:
    named = {key: sweep.spec.parameters[key] for key in entry.values}
    facts = {name: value for name, value in entry.last.user_attrs.items() if name not in (names.FIRST, names.RETRY_OF)}
    trial = create_trial(
        params={each.stored_name: each.encode(entry.values[key]) for key, each in named.items()},
        distributions={each.stored_name: each.distribution() for each in named.values()},
        state=entry.last.state,
        values=entry.last.values,
        constraints=entry.last.constraints or None,
        user_attrs={**json.loads(json.dumps(facts)), "folder": folder, "imported": folder, "repeats": repeats},
    )
    sweep.store(lambda: sweep.study.add_trial(trial), "adding a trial")
