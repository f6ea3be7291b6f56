"""Trials that a study has lost, from what lies in their folders: their letters, reports and results.

A trial that had come to its end gets it again, with its values, reports, costs and limits. One that had not waits, and
goes on from its own checkpoint. Each keeps the number that names its folder; where the study has fewer attempts than
that, empty ones are counted, so that no new trial is given the folder of an old one.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from optuna.trial import FrozenTrial, TrialState, create_trial

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning import entries as names
from gpt_lightning.tuning.board_tab import shown
from gpt_lightning.tuning.leases import facts_of, limits_of, requeue_lost
from gpt_lightning.tuning.mailbox import RESULT_FILE, Mailbox, Report, Result, read_letter, read_result
from gpt_lightning.tuning.parameters import Values
from gpt_lightning.tuning.reading_parameters import is_active
from gpt_lightning.tuning.spec import SweepSpec
from gpt_lightning.tuning.sweep import Sweep

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
        constraints=limits_of(sweep.spec, result) if result.state == "complete" else None,
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
        return read_letter(folder)
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
