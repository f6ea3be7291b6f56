"""Who works on a trial, and what happens when nobody does any more.

A worker writes a counter into its trial and raises it now and then. Another one that sees the same counter for the
whole grace period, by its own clock, takes the trial over; no clocks of two machines are ever compared. Where the
owner is a process of this machine, its death is seen at once.

A trial that is taken over is told as failed and waits again as a copy (see ``entries``). Every step can be repeated: a
process that dies in the middle leaves marks from which the next one finishes, and of two copies that two machines make
at once the one with the lower number counts. The former owner finds its attempt finished and can tell nothing more.
"""

from __future__ import annotations

import logging
import os
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial, TrialState, create_trial

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import discard, list_checkpoints
from gpt_lightning.checkpoints.prefixes import PrefixStore
from gpt_lightning.errors import RunFolderError
from gpt_lightning.files.processes import ProcessIdentity
from gpt_lightning.training.runs.run_folder import RunLock
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study import entries as names
from gpt_lightning.tuning.study.board_tab import close_killed
from gpt_lightning.tuning.study.sweep import Sweep
from gpt_lightning.tuning.trial.mailbox import Result, Work, measure_work, read_result

log = logging.getLogger("gpt_lightning")

_KILL = 9
_NO_WORK = Work()


@dataclass
class Lease:
    """The right to work on a trial, as long as the counter moves.

    Attributes:
        owner: The worker.
        count: The counter.
    """

    owner: ProcessIdentity = field(default_factory=lambda: ProcessIdentity.of(os.getpid()))
    count: int = 0

    def next(self, child: int | None) -> dict[str, Any]:
        """The next value to write: who, how often, and the trial's process."""
        self.count += 1
        identity = None if child is None else ProcessIdentity.of(child).plain()
        return {"owner": self.owner.plain(), "n": self.count, "child": identity}


class StaleTrialReaper:
    """Finds trials that nobody works on; remembers the counters that it has seen.

    Args:
        sweep: The sweep.
    """

    def __init__(self, sweep: Sweep) -> None:
        self._sweep = sweep
        self._seen: dict[int, tuple[str, float]] = {}

    def reap(self) -> list[int]:
        """Take over what is lost; returns the numbers of the lost attempts. Call it under the folder's lock."""
        sweep, lost = self._sweep, []
        trials = sweep.store(lambda: sweep.study.get_trials(deepcopy=False), "reading the trials")
        for trial in trials:
            if trial.state == TrialState.RUNNING and self._is_lost(trial):
                self._take_over(trial)
                lost.append(trial.number)
        requeue_lost(sweep)
        return lost

    def _is_lost(self, trial: FrozenTrial) -> bool:
        lease = trial.user_attrs.get(names.LEASE)
        if lease is not None:
            owner = ProcessIdentity(**lease["owner"])
            if owner.here():
                return not owner.alive()
        now, value = time.monotonic(), repr(lease)
        before, since = self._seen.setdefault(trial.number, (value, now))
        if before != value:
            self._seen[trial.number] = (value, now)
            return False
        return now - since > self._sweep.spec.retry.grace_seconds

    def _take_over(self, trial: FrozenTrial) -> None:
        lease = trial.user_attrs.get(names.LEASE) or {}
        if lease.get("child"):
            # Its process may have outlived the worker; two of them must not write into one folder.
            ProcessIdentity(**lease["child"]).signal(_KILL)
        first = trial.user_attrs.get(names.FIRST, trial.number)
        result = read_result(self._sweep.folder.trial(first))
        if result is not None and result.number == trial.number:
            log.info("trial %d: its worker died after the result was written", first)
            conclude(self._sweep, trial, result)
            return
        log.warning("trial %d was lost by its worker", first)
        reason = "lost: its worker died or does not answer"
        folder = self._sweep.folder.trial(first)
        close_killed(folder, stopped=False, reason=reason, step=0, seconds=0.0)
        fail(self._sweep, trial, reason, died=True, work=measure_work(folder, trial.user_attrs.get(names.STARTS, 0)))


def fail(
    sweep: Sweep,
    trial: FrozenTrial,
    reason: str,
    *,
    died: bool,
    faults: int = 0,
    work: Work = _NO_WORK,
    seconds: float = 0.0,
) -> bool:
    """End an attempt without a result; the trial waits again unless it died too often. Its checkpoints stay.

    Args:
        sweep: The sweep.
        trial: The attempt.
        reason: Why.
        died: Whether it counts against ``retry.max``; a trial that was asked to stop does not.
        faults: Faults of the machine that the trial has met in a row.
        work: What the attempt has done.
        seconds: How long it has lasted.

    Returns:
        Whether the trial will be tried again.
    """
    before = trial.user_attrs
    deaths = int(before.get(names.DEATHS, 0)) + died
    again = deaths <= sweep.spec.retry.max
    facts = {
        names.REASON: reason if again else f"{reason} ({deaths} times)",
        names.DEATHS: deaths,
        names.FAULTS: faults,
        names.REQUEUE: again,
        "executed_steps": int(before.get("executed_steps", 0)) + work.executed_steps,
        "reused_steps": int(before.get("reused_steps", 0)) + work.reused_steps,
        "seconds": float(before.get("seconds", 0.0)) + seconds,
    }
    try:
        set_facts(sweep, trial, facts)
        told = _tell(sweep, trial.number, state=TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False
    if told and not again:
        _release_pins(sweep, trial)
    return told and again


def conclude(sweep: Sweep, trial: FrozenTrial, result: Result) -> bool:
    """Tell a result that is in the trial's folder, then delete what nobody needs; whether it was the first one told.

    Nothing is deleted before: a storage that does not answer, or a worker that dies here, must find it all once more.
    A failed trial keeps its newest checkpoint, from which ``sweep retry`` lets it go on.
    """
    told = tell(sweep, trial.number, result)
    if told and result.state != "complete":
        _release_pins(sweep, trial)
        _thin_out(_folder_of(sweep, trial), keep=1 if result.state == "failed" else 0)
    return told


def _folder_of(sweep: Sweep, trial: FrozenTrial) -> Path:
    return sweep.folder.trial(int(trial.user_attrs.get(names.FIRST, trial.number)))


def _release_pins(sweep: Sweep, trial: FrozenTrial) -> None:
    store = PrefixStore(sweep.folder.prefixes)
    store.release(store.pin_name(_folder_of(sweep, trial)))


def _thin_out(folder: Path, keep: int) -> None:
    """Delete all but the newest checkpoints, unless a process of an earlier start still writes there."""
    found = list_checkpoints(folder / CHECKPOINTS_DIR)
    lock = RunLock(folder)
    try:
        lock.acquire()
        for path in found[: len(found) - keep]:
            discard(path)
    except (OSError, RunFolderError) as problem:
        log.warning("%s: its checkpoints stay: %s", folder, problem)
    finally:
        lock.release()


def requeue_lost(sweep: Sweep) -> None:
    """Make the copies that failed attempts still wait for."""
    trials = sweep.store(lambda: sweep.study.get_trials(deepcopy=False), "reading the trials")
    followed = {trial.user_attrs.get(names.RETRY_OF) for trial in trials}
    for trial in trials:
        if trial.state == TrialState.FAIL and trial.user_attrs.get(names.REQUEUE) and trial.number not in followed:
            add_copy(sweep, trial)


def add_copy(sweep: Sweep, trial: FrozenTrial, **changes: Any) -> None:
    """Let a trial wait again with the same values."""
    facts = {name: trial.user_attrs[name] for name in names.CARRIED if name in trial.user_attrs}
    facts |= {names.FIRST: trial.user_attrs.get(names.FIRST, trial.number), names.RETRY_OF: trial.number, **changes}
    fixed = {name: value for name, value in trial.system_attrs.items() if name == "fixed_params"}
    # Whoever died while values were being chosen has chosen a part of them: chosen anew, they are those of the seed.
    chosen = names.FIRST in trial.user_attrs or "repeats" in trial.user_attrs
    copy = create_trial(
        state=TrialState.WAITING,
        params=trial.params if chosen else {},
        distributions=trial.distributions if chosen else {},
        user_attrs=facts,
        system_attrs=fixed,
    )
    sweep.store(lambda: sweep.study.add_trial(copy), "adding a trial")


def tell(sweep: Sweep, number: int, result: Result) -> bool:
    """Tell the study a result that was written down before; whether it was the first one told."""
    trial, facts = trial_numbered(sweep, number), facts_of(result)
    try:
        set_facts(sweep, trial, facts)
        handle = optuna.trial.Trial(sweep.study, trial._trial_id)
        for name, excess in limits_of(sweep.spec, result).items():
            sweep.store(lambda n=name, e=excess: handle.set_constraint(n, e), "a constraint")  # type: ignore[misc]
        if result.state == "complete":
            return _tell(sweep, number, values=result.value, state=TrialState.COMPLETE)
        if result.state == names.DIVERGED:
            values = names.imputed(sweep.spec, result.metrics, sweep.entries())
            set_facts(sweep, trial, {names.DIVERGED: True})
            return _tell(sweep, number, values=values, state=TrialState.COMPLETE)
        if result.state == "pruned":
            return _tell(sweep, number, state=TrialState.PRUNED)
        return _tell(sweep, number, state=TrialState.FAIL)
    except optuna.exceptions.UpdateFinishedTrialError:
        return False


def facts_of(result: Result) -> dict[str, Any]:
    """What the study keeps of a result besides its value."""
    facts: dict[str, Any] = {
        names.REASON: result.reason,
        names.ATTEMPTS: result.attempts,
        "executed_steps": result.executed_steps,
        "reused_steps": result.reused_steps,
        "tokens": result.tokens,
        "steps": result.steps,
        "seconds": result.seconds,
        "metrics": {name: value if value == value else "nan" for name, value in result.metrics.items()},
    }
    return facts if result.seed is None else {**facts, "seed": result.seed}


def limits_of(spec: SweepSpec, result: Result) -> dict[str, float]:
    """Constraint -> how far a trial lies beyond it: a complete one, or one that ended before training because of it."""
    if result.state == "complete":
        measured = {**result.metrics, "seconds": result.seconds, "tokens": float(result.tokens)}
    elif result.state == "pruned" and not result.steps:
        measured = dict(result.metrics)
    else:
        return {}  # what was measured by then says nothing about the whole of it
    return {each.name: each.excess(measured[each.metric]) for each in spec.constraints if each.metric in measured}


def set_facts(sweep: Sweep, trial: FrozenTrial, facts: dict[str, Any]) -> None:
    """Write user attributes of an attempt.

    Raises:
        UpdateFinishedTrialError: Another worker has taken it over.
    """
    storage = sweep.study._storage
    for name, value in facts.items():
        sweep.store(lambda n=name, v=value: storage.set_trial_user_attr(trial._trial_id, n, v), f"writing {name}")  # type: ignore[misc]


def trial_numbered(sweep: Sweep, number: int) -> FrozenTrial:
    """The attempt with a number."""
    trials = sweep.store(lambda: sweep.study.get_trials(deepcopy=False), "reading the trials")
    return next(trial for trial in trials if trial.number == number)


def _tell(sweep: Sweep, number: int, **end: Any) -> bool:
    try:
        sweep.store(lambda: sweep.study.tell(number, **end), "telling a result")
    except ValueError as problem:
        if "finished" not in str(problem):
            raise
        return False
    return True
