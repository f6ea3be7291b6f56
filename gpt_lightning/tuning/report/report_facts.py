"""What a report shows, as plain records; ``report_reading`` fills them from a study and its trial folders.

A *trial* here is what a person means by it: one set of parameters trained to one end. In the study each attempt at it
is a trial of its own; they share the folder, which is named by the first attempt's number.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Objective:
    """What is optimized.

    Attributes:
        name: A logged metric.
        goal: minimize or maximize.
    """

    name: str
    goal: str = "minimize"

    @property
    def sign(self) -> float:
        """Times this, lower is better."""
        return -1.0 if self.goal == "maximize" else 1.0


@dataclass(frozen=True)
class Attempt:
    """One start of a trial.

    Attributes:
        number: Its number in the study.
        state: complete, pruned, failed, running or waiting.
        start: Seconds since the epoch; None = not started.
        end: The same; None = not ended.
        reason: Why it ended, unless complete.
    """

    number: int
    state: str
    start: float | None = None
    end: float | None = None
    reason: str = ""


@dataclass(frozen=True)
class Point:
    """A report.

    Attributes:
        step: Optimizer steps done.
        tokens: Training positions done.
        metrics: Latest values by name.
    """

    step: int
    tokens: int
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class TrialFacts:
    """A trial.

    Attributes:
        number: Of its first attempt.
        state: Of its last attempt; stopped = ended by a signal, to be gone on with.
        parameters: Setting -> value, as in its configuration.
        values: One for each objective; None while there are none.
        attempts: Oldest first.
        points: Its reports, oldest first.
        rates: (tokens, learning rate of the matrices), oldest first.
        metrics: Last value of every logged metric.
        constraints: Name -> how far beyond the limit, <= 0 = kept.
        folder: Its run folder; None = it has none.
        seed: Its seed.
        steps: Optimizer steps that it stands at.
        executed_steps: Of these and of lost attempts, computed.
        reused_steps: Taken from other trials.
        tokens: Training positions that it stands at.
        seconds: Wall time over all attempts.
        devices: Devices that it held.
        repeats: Number of the trial that it repeats with another seed; None = none.
        worker: Machine and process that work on it; empty when none does.
        total_tokens: Training positions of the whole run; 0 = not known yet.
    """

    number: int
    state: str
    parameters: Mapping[str, Any] = field(default_factory=dict)
    values: tuple[float, ...] | None = None
    attempts: tuple[Attempt, ...] = ()
    points: tuple[Point, ...] = ()
    rates: tuple[tuple[float, float], ...] = ()
    metrics: Mapping[str, float] = field(default_factory=dict)
    constraints: Mapping[str, float] = field(default_factory=dict)
    folder: Path | None = None
    seed: int | None = None
    steps: int = 0
    executed_steps: int = 0
    reused_steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    devices: int = 1
    repeats: int | None = None
    worker: str = ""
    total_tokens: int = 0

    @property
    def feasible(self) -> bool:
        """Whether it keeps all limits."""
        return all(excess <= 0 for excess in self.constraints.values())

    @property
    def counts(self) -> bool:
        """Whether it can be the best: complete, with finite values, within the limits, no repetition."""
        finite = self.values is not None and all(math.isfinite(value) for value in self.values)
        return self.state == "complete" and finite and self.feasible and self.repeats is None

    @property
    def reason(self) -> str:
        """Why its last attempt ended."""
        return self.attempts[-1].reason if self.attempts else ""


@dataclass(frozen=True)
class StudyFacts:
    """A sweep.

    Attributes:
        name: Of the study.
        objectives: At least one.
        trials: By number.
        logarithmic: Settings that are searched in ratios.
        base: Setting -> value in the base configuration, for those that the best trial changes.
        best_settings: Setting -> value in the best trial's configuration, where it differs from the base.
        description: For people.
        source: Where it was read from.
        planned_trials: The budget; None = no limit.
        environment: Name -> value: versions, host, commit.
        importances: For each objective's name, setting -> share.
        problems: What could not be read or computed, a sentence each.
        notes: What to do next, a sentence each.
    """

    name: str
    objectives: tuple[Objective, ...]
    trials: tuple[TrialFacts, ...]
    logarithmic: frozenset[str] = frozenset()
    base: Mapping[str, Any] = field(default_factory=dict)
    best_settings: Mapping[str, Any] = field(default_factory=dict)
    description: str = ""
    source: str = ""
    planned_trials: int | None = None
    environment: Mapping[str, Any] = field(default_factory=dict)
    importances: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @cached_property
    def ranked(self) -> list[TrialFacts]:
        """Trials that can be the best, best first: by the first objective, or the front before the rest."""
        able = [trial for trial in self.trials if trial.counts]
        front = {trial.number for trial in pareto_front(able, self.objectives)}
        return sorted(able, key=lambda trial: (trial.number not in front, oriented(trial, self.objectives)))

    @property
    def best(self) -> TrialFacts | None:
        """The first of them."""
        return next(iter(self.ranked), None)


def oriented(trial: TrialFacts, objectives: Sequence[Objective]) -> tuple[float, ...]:
    """Values of a trial, lower is better."""
    return tuple(each.sign * value for each, value in zip(objectives, trial.values or (), strict=False))


def pareto_front(trials: Sequence[TrialFacts], objectives: Sequence[Objective]) -> list[TrialFacts]:
    """Trials that no other one beats: as good in everything, and better in something; in the order of objective 1.

    With one objective these are the best trials.
    """
    values = {trial.number: oriented(trial, objectives) for trial in trials}

    def beaten(mine: tuple[float, ...]) -> bool:
        return any(other != mine and all(a <= b for a, b in zip(other, mine, strict=True)) for other in values.values())

    return sorted((each for each in trials if not beaten(values[each.number])), key=lambda each: values[each.number])


def repetitions(study: StudyFacts) -> list[tuple[TrialFacts, list[TrialFacts]]]:
    """Trials that were repeated, with their complete repetitions, best trial first."""
    repeated: dict[int, list[TrialFacts]] = {}
    for trial in study.trials:
        if trial.repeats is not None and trial.state == "complete" and trial.values is not None:
            repeated.setdefault(trial.repeats, []).append(trial)
    return [(trial, repeated[trial.number]) for trial in study.ranked if trial.number in repeated]
