"""Choosing the next trial: take over what is lost, look at the budget, ask; all under the folder's lock.

The lock makes this exact on one machine. On several, two workers may see the last free place at once: the trial with
the higher number then finds itself beyond the budget and withdraws before it is started.

Then the trial spec, which the supervisor writes for the trial's process: how to build the run, and with what.
"""

from __future__ import annotations

import random
import re
from dataclasses import asdict
from datetime import datetime
from typing import Any

from optuna.trial import FrozenTrial, Trial, TrialState

from gpt_lightning.errors import ConfigError
from gpt_lightning.files.processes import ProcessIdentity
from gpt_lightning.parsing.suggest import did_you_mean, join_names
from gpt_lightning.tuning.spec.causes import DIVERGED
from gpt_lightning.tuning.spec.parameters import same
from gpt_lightning.tuning.spec.reading_parameters import is_active
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.spec.trial_arguments import complete_values, shares_steps, trial_arguments
from gpt_lightning.tuning.study import entries as names
from gpt_lightning.tuning.study.board_tab import session_values
from gpt_lightning.tuning.study.entries import Entry, chosen, held_points, list_entries, point_key, point_of
from gpt_lightning.tuning.study.sweep import ALLOWED, STOP, Sweep
from gpt_lightning.tuning.workers.leases import Lease, StaleTrialReaper, set_facts
from gpt_lightning.tuning.workers.slots import Slot

_NUMBERS = re.compile(r"\d[\d.,e+-]*")


def claim(sweep: Sweep, reaper: StaleTrialReaper, lease: Lease) -> FrozenTrial | None:
    """The next trial, RUNNING and leased, with all its values; None when there is nothing to do now."""
    with sweep.folder.locked():
        reaper.reap()
        while True:
            entries = sweep.entries()
            waiting = [entry for entry in entries if entry.last.state == TrialState.WAITING]
            if reason_to_end(sweep) is not None:
                # The budget does not count repetitions; a person who said stop meant them too.
                waiting = [] if stopped(sweep) else [entry for entry in waiting if entry.repeats is not None]
                if not waiting:
                    return None
            elif not waiting and places_left(sweep, entries) == 0:
                return None
            trial = _ask(sweep, lease)
            if trial is not None:
                return trial


def places_left(sweep: Sweep, entries: list[Entry]) -> int | None:
    """New trials that the budget still allows; None = any number."""
    mine, limits = [entry for entry in entries if entry.repeats is None], []
    if sweep.spec.budget.trials is not None:
        limits.append(sweep.spec.budget.trials - len(mine))
    if sweep.grid is not None:
        undecided = sum(not entry.ended and not point_of(sweep.spec, entry) for entry in mine)
        limits.append(sweep.grid.count_free(held_points(sweep.spec, mine)) - undecided)
    return max(0, min(limits)) if limits else None


def stopped(sweep: Sweep) -> str | None:
    """What ``sweep stop`` has left in the study."""
    stop = sweep.store(lambda: sweep.study.user_attrs.get(STOP), "reading the study")
    return str(stop) if stop else None


def reason_to_end(sweep: Sweep) -> str | None:
    """Why no further trial is started although places may be left; None = go on."""
    stop = stopped(sweep)
    if stop is not None:
        return stop
    budget, entries = sweep.spec.budget, sweep.entries()
    failure = same_failure(sweep, entries)
    if failure is not None:
        return failure
    begun = [entry.attempts[0].datetime_start for entry in entries]
    first = min((each for each in begun if each is not None), default=None)
    if budget.hours is not None and first is not None:
        hours = (datetime.now() - first).total_seconds() / 3600
        if hours >= budget.hours:
            return f"{hours:.2f} hours have passed since the first trial began (budget.hours)"
    ranked, sign = names.rank(sweep.spec, entries), sweep.spec.metrics[0].sign
    if budget.target is not None and ranked and sign * ranked[0].last.values[0] <= sign * budget.target:
        return f"the target {budget.target:g} is reached"
    since = _trials_since_best(entries, ranked)
    if budget.no_improvement is not None and since is not None and since >= budget.no_improvement:
        return f"{since} trials in a row brought no improvement"
    return None


def same_failure(sweep: Sweep, entries: list[Entry]) -> str | None:
    """What the last trials have all failed of, so that further ones would as well; None = nothing of that kind.

    Divergence is no such failure: it is what the settings are worth. Starting the sweep again allows as many more.
    """
    most = sweep.spec.budget.failures
    after = int(sweep.store(lambda: sweep.study.user_attrs.get(ALLOWED), "reading the study") or 0)
    ended = [entry for entry in entries if entry.ended and entry.last.number >= after]
    last = sorted(ended, key=lambda entry: (entry.last.datetime_complete or datetime.max, entry.first))[-(most or 1) :]
    kinds = {_NUMBERS.sub("#", str(entry.reason)) for entry in last if entry.state == "failed"}
    if most is None or len(last) < most or len(kinds) != 1 or any(entry.state != "failed" for entry in last):
        return None
    if kinds.pop().startswith(DIVERGED.word):
        return None
    return f"{most} trials in a row have failed of the same: {last[-1].reason}"


def _trials_since_best(entries: list[Entry], ranked: list[Entry]) -> int | None:
    if not ranked:
        return None
    ends = [(entry.last.datetime_complete, entry.first) for entry in entries if entry.ended and entry.repeats is None]
    order = [first for _, first in sorted(ends, key=lambda end: (end[0] or datetime.max, end[1]))]
    return len(order) - 1 - order.index(ranked[0].first)


def _ask(sweep: Sweep, lease: Lease) -> FrozenTrial | None:
    trial = sweep.store(sweep.study.ask, "asking for a trial")
    facts = trial.user_attrs
    trials = sweep.store(lambda: sweep.study.get_trials(deepcopy=False), "reading the trials")
    frozen = next(each for each in trials if each.number == trial.number)
    set_facts(sweep, frozen, {names.LEASE: lease.next(None)})
    rivals = [
        each.number
        for each in trials
        if names.RETRY_OF in facts and each.user_attrs.get(names.RETRY_OF) == facts[names.RETRY_OF]
    ]
    before = [entry for entry in list_entries(trials) if entry.first < trial.number and entry.repeats is None]
    is_new = not {names.FIRST, "repeats"} & set(facts) and not frozen.system_attrs.get("fixed_params")
    most = sweep.spec.budget.trials
    beyond = is_new and most is not None and len(before) >= most
    if beyond or (rivals and min(rivals) < trial.number):
        _withdraw(sweep, trial, frozen)
        return None
    _suggest(sweep, trial)
    if is_new and sweep.grid is not None and _is_held(sweep, trial):
        _withdraw(sweep, trial, frozen)
        return None
    first = facts.get(names.FIRST, trial.number)
    values = chosen(sweep.spec, trial.params)
    started: dict[str, Any] = {
        names.FIRST: first,
        names.VALUES: values,
        names.ATTEMPTS: int(facts.get(names.ATTEMPTS, 0)) + 1,
        "folder": f"trials/{first:05d}",
    }
    set_facts(sweep, frozen, started)
    return next(
        each
        for each in sweep.store(lambda: sweep.study.get_trials(deepcopy=False), "reading the trials")
        if each.number == trial.number
    )


def _withdraw(sweep: Sweep, trial: Trial, frozen: FrozenTrial) -> None:
    set_facts(sweep, frozen, {names.VOID: True, names.REASON: "withdrawn: another worker was first"})
    sweep.store(lambda: sweep.study.tell(trial, state=TrialState.FAIL), "withdrawing a trial")


def _is_held(sweep: Sweep, trial: Trial) -> bool:
    """Whether a trial that was begun before has taken the same point of the grid meanwhile."""
    before = [entry for entry in sweep.entries() if entry.first < trial.number]
    return point_key(chosen(sweep.spec, trial.params)) in held_points(sweep.spec, before)


def _suggest(sweep: Sweep, trial: Trial) -> None:
    """Every parameter that exists beside those chosen before it."""
    values: dict[str, Any] = {}
    for key, parameter in sweep.spec.parameters.items():
        if is_active(parameter, values):
            stored = sweep.store(
                lambda p=parameter: p.suggest(trial),  # type: ignore[misc]
                "choosing a value",
            )
            values[key] = parameter.decode(stored)


def enqueue_points(sweep: Sweep) -> None:
    """The points of the sweep file, to be tried first: those not there yet. Call it under the folder's lock."""
    entries = sweep.entries()
    named = [entry.attempts[0].system_attrs.get("fixed_params") for entry in entries]
    there = [_decoded(sweep.spec, fixed) for fixed in named if fixed is not None]
    # A trial from elsewhere was not given as a point, but is one that has been tried.
    others = [entry.values for entry in entries if entry.fact("imported") or entry.fact("rebuilt")]
    for point in sweep.spec.enqueue:
        fixed = {sweep.spec.parameters[key].stored_name: sweep.spec.parameters[key].encode(point[key]) for key in point}
        if (given := _decoded(sweep.spec, fixed)) in there:
            there.remove(given)
        elif tried := [each for each in others if all(key in each and same(each[key], point[key]) for key in point)]:
            others.remove(tried[0])
        else:
            sweep.store(lambda f=fixed: sweep.study.enqueue_trial(f), "adding a trial")  # type: ignore[misc]


def enqueue(sweep: Sweep, point: dict[str, Any]) -> None:
    """Let a point of a person's be tried next; values that it leaves open are chosen.

    Raises:
        ConfigError: It names what is no parameter, or a value that the parameter never has.
    """
    fixed = {}
    for key, value in point.items():
        if key not in sweep.spec.parameters:
            known, near = join_names(sweep.spec.parameters), did_you_mean(key, sweep.spec.parameters)
            raise ConfigError("no parameter of this sweep", got=key, allowed=known, fix=near)
        fixed[sweep.spec.parameters[key].stored_name] = sweep.spec.parameters[key].encode(value)
    with sweep.folder.locked():
        sweep.store(lambda: sweep.study.enqueue_trial(fixed), "adding a trial")


def _decoded(spec: SweepSpec, fixed: dict[str, Any]) -> dict[str, Any] | None:
    """A given point by its values, since an older version stored some of them with other digits."""
    try:
        return chosen(spec, fixed)
    except (StopIteration, TypeError, ValueError):
        return None  # of a space that was changed by force


_VERDICT_SECONDS = 30.0
"""Longest time that a trial waits for the answer to a report."""


def compose_trial_spec(
    sweep: Sweep, trial: FrozenTrial, slot: Slot, supervisor: ProcessIdentity, start: str
) -> dict[str, Any]:
    """The content of ``trial.json``.

    Args:
        sweep: The sweep.
        trial: A claimed attempt.
        slot: What it may use.
        supervisor: The process whose death it must notice.
        start: Mark of this start.
    """
    spec, base, chosen = sweep.spec, sweep.base, trial.user_attrs[names.VALUES]
    arguments = trial_arguments(spec, complete_values(spec, chosen, base["constants"]), base["classes"])
    seed = trial.user_attrs.get("seed")
    if seed is not None:
        arguments.append(f"--seed_everything={seed}")
    return {
        "start": start,
        "arguments": arguments,
        "environment": slot.environment(),
        "threads": slot.threads,
        "patience": _VERDICT_SECONDS,
        "reuse": _reuse(sweep, int(trial.user_attrs[names.FIRST])),
        "varied": session_values(spec, chosen),
        "values": chosen,
        "repeats": trial.user_attrs.get("repeats"),
        "limits": [asdict(each) for each in spec.constraints],
        "supervisor": supervisor.plain(),
    }


def _reuse(sweep: Sweep, number: int) -> dict[str, Any] | None:
    """How the trial shares steps with others; None = it does not."""
    spec = sweep.spec
    if not shares_steps(spec):
        return None
    return {
        "folder": str(sweep.folder.prefixes),
        "every": spec.reuse.every,
        "budget_bytes": spec.reuse.budget_bytes,
        "insist": spec.reuse.enabled == "true",
        "verify": _is_chosen(spec.reuse.verify, spec.seed, number),
    }


def _is_chosen(fraction: float, seed: int, number: int) -> bool:
    """Whether a trial is among those whose reused steps are computed once more."""
    return random.Random(f"{seed} {number}").random() < fraction
