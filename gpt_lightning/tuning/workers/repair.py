"""Trials that a study has lost, from what lies in their folders: their letters, reports and results.

A trial that had come to its end gets it again, with its values, reports, costs and limits. One that had not waits, and
goes on from its own checkpoint. Each keeps the number that names its folder; where the study has fewer attempts than
that, empty ones are counted, so that no new trial is given the folder of an old one.

``sweep fsck``: damage that a crash can leave in a storage, and a study that is lost.

Nothing is thrown away: the torn end of a journal and a damaged database are kept beside the mended one. A study that
is gone, or does not know all trials of the folder, is filled from what the trials' own folders say (``rebuilding``).
"""

from __future__ import annotations

import json
import math
import sqlite3
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from gpt_lightning.errors import ConfigError, RunFolderError
from gpt_lightning.tuning.spec.parameters import Values
from gpt_lightning.tuning.spec.reading_parameters import is_active
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study import entries as names
from gpt_lightning.tuning.study.board_tab import shown
from gpt_lightning.tuning.study.entries import list_entries
from gpt_lightning.tuning.study.study import (
    find_study,
    join_numbers,
    journal_locked,
    open_study,
    owns,
    without_password,
)
from gpt_lightning.tuning.study.sweep import Sweep, read_frozen
from gpt_lightning.tuning.study.sweep_folder import SweepFolder
from gpt_lightning.tuning.trial.mailbox import RESULT_FILE, Mailbox, Report, Result, read_result, read_trial_spec
from gpt_lightning.tuning.workers.leases import facts_of, limits_of, requeue_lost

_STATES = {"complete": TrialState.COMPLETE, names.DIVERGED: TrialState.COMPLETE, "pruned": TrialState.PRUNED}


def add_trials(sweep: Sweep, numbers: Sequence[int]) -> None:
    """Add the trials of these folders to the study; call it under the folder's lock.

    It may be killed and done again: what was added is known then.
    """
    for number in sorted(numbers):
        _count_up(sweep, number)
        trial = _rebuild(sweep, number, sweep.folder.trial(number))
        sweep.store(lambda t=trial: sweep.study.add_trial(t), "adding a trial")  # type: ignore[misc]
    _count_up(sweep, max(numbers) + 1)
    requeue_lost(sweep)


def _count_up(sweep: Sweep, number: int) -> None:
    """Until the next attempt has at least this number."""
    trials = sweep.store(lambda: sweep.study.get_trials(deepcopy=False), "reading the trials")
    for _ in range(number - len(trials)):
        empty = create_trial(state=TrialState.FAIL, user_attrs={names.VOID: True, names.REASON: "not known any more"})
        sweep.store(lambda t=empty: sweep.study.add_trial(t), "adding a trial")  # type: ignore[misc]


def _rebuild(sweep: Sweep, number: int, folder: Path) -> FrozenTrial:
    letter, result = _letter(folder), _result(folder)
    values = _values(sweep.spec, letter)
    facts: dict[str, Any] = {names.FIRST: number, "folder": f"trials/{number:05d}", "rebuilt": True}
    if values is None:
        return create_trial(
            state=TrialState.FAIL, user_attrs={**facts, names.REASON: "its values are not those of this sweep"}
        )
    reports = _reports(sweep.spec, folder)
    facts |= {names.VALUES: values, **_repetition(sweep, values, letter, result), **reports}
    named = {key: sweep.spec.parameters[key] for key in values}
    params = {each.stored_name: each.encode(values[key]) for key, each in named.items()}
    distributions = {each.stored_name: each.distribution() for each in named.values()}
    if result is None:
        lost = {names.REASON: "lost with its study", names.REQUEUE: True}
        return create_trial(
            state=TrialState.FAIL, params=params, distributions=distributions, user_attrs={**facts, **lost}
        )
    if result.state == names.DIVERGED:
        facts[names.DIVERGED] = True
    trial = create_trial(
        state=_STATES.get(result.state, TrialState.FAIL),
        values=_objectives(sweep, result),
        params=params,
        distributions=distributions,
        user_attrs={**facts, **facts_of(result)},
        intermediate_values=_intermediate(reports.get(names.REPORTS, [])),
        constraints=limits_of(sweep.spec, result) or None,
    )
    trial.datetime_complete = datetime.fromtimestamp((folder / RESULT_FILE).stat().st_mtime)
    trial.datetime_start = trial.datetime_complete - timedelta(seconds=result.seconds)
    return trial


def _objectives(sweep: Sweep, result: Result) -> list[float] | None:
    if result.state == names.DIVERGED:
        return names.imputed(sweep.spec, result.metrics, sweep.entries())
    if result.value is None:
        return None
    return result.value if isinstance(result.value, list) else [result.value]


def _letter(folder: Path) -> dict[str, Any]:
    try:
        return read_trial_spec(folder)
    except (AssertionError, ValueError):
        return {}  # killed before it was written


def _result(folder: Path) -> Result | None:
    try:
        return read_result(folder)
    except (ValueError, TypeError):
        return None


def _values(spec: SweepSpec, letter: Mapping[str, Any]) -> dict[str, Any] | None:
    """Key -> value, if all of them are values of this sweep; else None."""
    given = letter.get("values")
    found: dict[str, Any] = {}
    for key, parameter in spec.parameters.items():
        if not is_active(parameter, found):
            continue
        try:
            value = letter["varied"][key] if given is None else given[key]
            if given is None and isinstance(parameter, Values):  # letters of old show lists and classes as text
                value = next(each for each in parameter.values if shown(parameter, each) == value)
            parameter.encode(value)
            found[key] = value
        except (KeyError, StopIteration, ConfigError):
            return None
    return found


def _repetition(sweep: Sweep, values: Mapping[str, Any], letter: Mapping[str, Any], result: Result | None) -> Any:
    """Which trial it repeats, with which seed."""
    seed = result.seed if result is not None else None
    repeats = letter.get("repeats")
    if repeats is None and "repeats" not in letter and "seed_everything" not in values:
        same = [entry for entry in sweep.entries() if entry.values == values and entry.fact("seed") != seed]
        repeats = same[0].first if same and seed is not None else None
    return {} if repeats is None else {"repeats": repeats, "seed": seed}


def _reports(spec: SweepSpec, folder: Path) -> dict[str, Any]:
    metric = spec.metrics[0].name
    latest: dict[int, Report] = {each.n: each for each in Mailbox(folder).collect() if metric in each.metrics}
    if not latest:
        return {}
    lines = [[each.n, each.step, each.tokens, _plain(each.metrics[metric]), each.shape] for each in latest.values()]
    return {names.REPORTS: sorted(lines), "total_tokens": next(iter(latest.values())).total_tokens}


def _plain(value: float) -> float | str:
    return value if math.isfinite(value) else repr(value)


def _intermediate(lines: Sequence[Sequence[Any]]) -> dict[int, float]:
    return {int(line[2]): line[3] for line in lines if isinstance(line[3], float) and line[2] < 2**31}


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
