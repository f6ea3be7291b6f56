"""A trial as people count it: one set of values, however often it had to be started.

Optuna cannot put a trial that failed back to waiting. A start that ended too early is therefore told as failed, and a
copy with the same values waits for the next worker: it remembers the number of the first attempt, which names the
folder, so that it goes on from its own checkpoint.

Its point is the set of values, by which two trials are the same.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from optuna.trial import FrozenTrial, TrialState

from gpt_lightning.tuning.spec.parameters import label
from gpt_lightning.tuning.spec.reading_parameters import is_active
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.trial.mailbox import Report

FIRST, RETRY_OF, VOID, REQUEUE, DEATHS, LEASE = "first", "retry_of", "void", "requeue", "deaths", "lease"
FAULTS, STARTS = "machine_faults", "starts_before"
VALUES, REPORTS, REASON, ATTEMPTS = "config", "reports", "reason", "attempts"
DIVERGED, DIFFERS = "diverged", "differs"
"""Names of user attributes; ``config`` holds the values as they went into the configuration."""

CARRIED = (FIRST, DEATHS, FAULTS, ATTEMPTS, "executed_steps", "reused_steps", "seconds", "folder", "seed", "repeats")
"""What a new attempt takes over from the one before."""

_STATES = {
    TrialState.WAITING: "waiting",
    TrialState.RUNNING: "running",
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
}


@dataclass(frozen=True)
class Entry:
    """A trial with all its attempts.

    Attributes:
        first: Number of the first attempt, and of the folder.
        attempts: In the order of their numbers, at least one.
    """

    first: int
    attempts: tuple[FrozenTrial, ...]

    @property
    def last(self) -> FrozenTrial:
        """The attempt that counts."""
        return self.attempts[-1]

    @property
    def state(self) -> str:
        """waiting, running, complete, diverged, pruned or failed; a lost attempt is waiting until its copy is."""
        if self.last.state == TrialState.FAIL and self.last.user_attrs.get(REQUEUE):
            return "waiting"
        told = _STATES[self.last.state]
        return DIVERGED if told == "complete" and self.last.user_attrs.get(DIVERGED) else told

    @property
    def ended(self) -> bool:
        """Whether it has its one result."""
        return self.state in ("complete", DIVERGED, "pruned", "failed")

    @property
    def values(self) -> dict[str, Any]:
        """Key -> value, as in the trial's configuration; empty before the first attempt was begun."""
        return dict(self.last.user_attrs.get(VALUES, {}))

    @property
    def reason(self) -> str | None:
        """Why it was pruned or failed."""
        return self.last.user_attrs.get(REASON)

    @property
    def repeats(self) -> int | None:
        """The trial that this one repeats with another seed; None for those that the sampler chose."""
        return self.last.user_attrs.get("repeats")

    def fact(self, name: str, default: Any = None) -> Any:
        """A user attribute of the last attempt."""
        return self.last.user_attrs.get(name, default)

    def reports(self, metric: str) -> list[Report]:
        """What was reported of the first metric, oldest first."""
        return [
            Report(n=n, step=step, tokens=tokens, metrics={metric: float(value)}, shape=shape)
            for n, step, tokens, value, shape in self.last.user_attrs.get(REPORTS, [])
        ]

    @property
    def total_tokens(self) -> int:
        """Training tokens of the whole run; 0 before the first report."""
        return int(self.last.user_attrs.get("total_tokens", 0))


def list_entries(trials: Sequence[FrozenTrial]) -> list[Entry]:
    """All trials by the number of their first attempt; attempts that lost a race are left out."""
    found: dict[int, list[FrozenTrial]] = {}
    for trial in sorted(trials, key=lambda each: each.number):
        if not trial.user_attrs.get(VOID):
            found.setdefault(trial.user_attrs.get(FIRST, trial.number), []).append(trial)
    return [Entry(first, tuple(attempts)) for first, attempts in sorted(found.items())]


def feasible(entry: Entry) -> bool:
    """Whether it kept all constraints."""
    return all(value <= 0 for value in entry.last.constraints.values())


def rank(spec: SweepSpec, entries: Sequence[Entry]) -> list[Entry]:
    """Complete, feasible trials of the sampler, best first by the first metric."""
    sign = spec.metrics[0].sign
    complete = [each for each in entries if each.state == "complete" and feasible(each) and each.repeats is None]
    return sorted(complete, key=lambda each: (sign * each.last.values[0], each.first))


def imputed(spec: SweepSpec, metrics: Mapping[str, float], entries: Sequence[Entry]) -> list[float]:
    """What the sampler is told of a trial that diverged, for each metric.

    Told as failed, a sampler would leave it out and propose its neighbours again; infinity is the worst for all of
    them, whatever comes later.

    Args:
        spec: The sweep.
        metrics: Last values of the trial.
        entries: All trials.
    """
    found, complete = [], [each.last.values for each in entries if each.state == "complete"]
    for place, metric in enumerate(spec.metrics):
        known = [metric.sign * values[place] for values in complete]
        if metric.impute == "latest":
            known = [metric.sign * float(metrics.get(metric.name, math.inf))]
        best = min((value for value in known if math.isfinite(value)), default=math.inf)
        found.append(metric.sign * (math.inf if metric.impute == "worst" else best))
    return found


def chosen(spec: SweepSpec, stored: Mapping[str, Any]) -> dict[str, Any]:
    """Key -> value of what Optuna stored."""
    return {
        key: each.decode(stored[each.stored_name])
        for key, each in spec.parameters.items()
        if each.stored_name in stored
    }


def point_key(values: Mapping[str, Any]) -> str:
    """Equal for equal points."""
    return json.dumps({key: label(value) for key, value in values.items()}, sort_keys=True, default=str)


def held_points(spec: SweepSpec, entries: Sequence[Entry]) -> set[str]:
    """Points that are taken: every trial has its own, however it ended, and given ones that wait as well."""
    found = (point_of(spec, entry) for entry in entries if entry.repeats is None)
    return {point_key(values) for values in found if values}


def point_of(spec: SweepSpec, entry: Entry) -> dict[str, Any]:
    """The point of a trial; empty while it has none, or when it is not one of this sweep's."""
    stored = next((each.params for each in reversed(entry.attempts) if each.params), None)
    if stored is None:
        stored = next((each.system_attrs.get("fixed_params") for each in entry.attempts), None) or {}
    values: dict[str, Any] = {}
    for key, parameter in spec.parameters.items():
        if not is_active(parameter, values):
            continue
        try:
            values[key] = parameter.decode(stored[parameter.stored_name])
        except (KeyError, StopIteration, TypeError, ValueError):
            return {}
    return values
