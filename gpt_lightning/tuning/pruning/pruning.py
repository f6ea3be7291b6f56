"""Which trials to stop early: curves in, a reason out.

Not Optuna's pruners, though they decide the same on the same curves (tests): they know no groups and no patience, give
no reason, take one objective, and ASHA's keeps its rungs as attributes of the trial, which one begun anew would lose.

A curve is what a trial has reported so far; the supervisor of a trial asks ``judge`` after every report. Three rules
hold for all of them:

* Values are oriented: lower is better. Who maximizes passes negated values.
* Curves are compared at equal report numbers, and only where their groups are equal. With ``group_by: shape`` the
  group is the history of the learning rate (``shape_key``), with ``none`` it is the same for all.
* Nothing is remembered between calls: the same curves give the same verdict, in any process.

    NoPruner            never stops
    PercentilePruner    the best value so far is behind a percentile of the finished trials at this report
    MedianPruner        the same with the median                             (Golovin et al. 2017; Optuna's rule)
    ThresholdPruner     the value has left a range

    in ``halving``      SuccessiveHalving (ASHA), Hyperband, WandbHyperband
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from gpt_lightning.errors import ConfigError


@dataclass(frozen=True)
class Curve:
    """What one trial has reported; sequences run in parallel, a report each, oldest first.

    Attributes:
        trial: Number of the trial.
        numbers: Report numbers, rising, from 1: how many intervals of ``report_every`` were done.
        groups: What a report may be compared with: reports of the same group.
        steps: Optimizer steps done.
        tokens: Training positions done.
        values: The metric, lower is better; may hold NaN and infinities.
        total_tokens: Training positions of the whole run.
        finished: Whether the trial came to its planned end.
    """

    trial: int
    numbers: tuple[int, ...]
    groups: tuple[str, ...]
    steps: tuple[int, ...]
    tokens: tuple[int, ...]
    values: tuple[float, ...]
    total_tokens: int
    finished: bool

    def __len__(self) -> int:
        return len(self.numbers)

    def first(self, count: int) -> Curve:
        """The curve as it was after ``count`` reports."""
        cut = {name: getattr(self, name)[:count] for name in ("numbers", "groups", "steps", "tokens", "values")}
        return replace(self, **cut, finished=self.finished and count >= len(self))

    def place(self, number: int) -> int | None:
        """Index of the first report whose number is at least ``number``; None when it is not there.

        A trial that took its beginning over from another one may have no early reports: its first value is not one of
        an earlier report.
        """
        if not self.numbers or number < self.numbers[0]:
            return None
        place = bisect_left(self.numbers, number)
        return place if place < len(self.numbers) else None


def peer_values(mine: Curve, others: Sequence[Curve], number: int) -> list[float]:
    """Values at report ``number`` of the curves whose group there is that of ``mine`` there."""
    place = mine.place(number)
    found = []
    for other in others:
        there = other.place(number)
        if place is not None and there is not None and other.groups[there] == mine.groups[place]:
            found.append(other.values[there])
    return found


class Pruner(ABC):
    """A rule for stopping."""

    @abstractmethod
    def judge(self, mine: Curve, others: Sequence[Curve]) -> str | None:
        """Whether the trial should stop after its last report.

        Args:
            mine: The trial in question; at least one report.
            others: All other trials of the study, running and stopped ones too.

        Returns:
            The reason to stop, one line without a full stop; None to go on.
        """

    @property
    def compares(self) -> bool:
        """Whether raw values of different trials are compared."""
        return True

    @property
    def once_per_rung(self) -> bool:
        """Whether a trial is judged at rungs only, so that waiting for a second verdict makes no sense."""
        return False

    def rungs(self, reports: int) -> dict[str, tuple[int, ...]]:
        """Report numbers at which trials are thinned out, for each bracket by name; empty for rules without rungs.

        Args:
            reports: Reports of a whole run.
        """
        return {}


class NoPruner(Pruner):
    """Every trial runs to its end, unless it diverges."""

    def judge(self, mine: Curve, others: Sequence[Curve]) -> str | None:
        """Always None."""
        return None

    @property
    def compares(self) -> bool:
        """Nothing is compared."""
        return False


class PercentilePruner(Pruner):
    """Stop when the best value so far is behind a percentile of the finished trials' values at the same report.

    Args:
        percentile: Share of trials that may go on, in percent, above 0 and below 100.
        startup_trials: Finished trials of the same group to have before any is stopped, 1 or more.
    """

    def __init__(self, percentile: float = 25.0, startup_trials: int = 4) -> None:
        if not 0.0 < percentile < 100.0:
            raise ConfigError(
                "early_terminate.percentile is out of range", got=percentile, allowed="above 0 and below 100"
            )
        self._percentile = percentile
        self._startup_trials = check_count(startup_trials, "startup_trials")

    def judge(self, mine: Curve, others: Sequence[Curve]) -> str | None:
        """Stopping needs ``startup_trials`` finished peers; the best of a group at a report is never stopped there."""
        peers = peer_values(mine, [other for other in others if other.finished], mine.numbers[-1])
        known = [value for value in peers if not math.isnan(value)]
        if len(peers) < self._startup_trials or not known:
            return None
        best = min((value for value in mine.values if not math.isnan(value)), default=math.nan)
        bar = float(np.percentile(known, self._percentile))
        if best <= bar:
            return None
        return f"best so far {best:.6g} is behind {bar:.6g}, the {self._bar_name()} of {len(known)} finished trials"

    def _bar_name(self) -> str:
        return f"{self._percentile:g}th percentile"


class MedianPruner(PercentilePruner):
    """Stop when the best value so far is behind the median of the finished trials' values at the same report.

    Args:
        startup_trials: Finished trials of the same group to have before any is stopped, 1 or more.
    """

    def __init__(self, startup_trials: int = 4) -> None:
        super().__init__(50.0, startup_trials)

    def _bar_name(self) -> str:
        return "median"


class ThresholdPruner(Pruner):
    """Stop when a value leaves a range. For a metric that is maximized the builder swaps and negates the limits.

    Args:
        upper: Largest value allowed; null = no limit.
        lower: Smallest value allowed; null = no limit.
    """

    def __init__(self, upper: float | None = None, lower: float | None = None) -> None:
        if upper is None and lower is None:
            raise ConfigError(
                "early_terminate of type threshold has no limit", got="neither", allowed="upper, lower or both"
            )
        if upper is not None and lower is not None and lower > upper:
            raise ConfigError(
                "early_terminate.lower is above early_terminate.upper", got=f"{lower:g} > {upper:g}", allowed="below"
            )
        self.upper = math.inf if upper is None else upper
        self.lower = -math.inf if lower is None else lower

    def negated(self) -> ThresholdPruner:
        """The same range for negated values."""
        return ThresholdPruner(upper=-self.lower, lower=-self.upper)

    def judge(self, mine: Curve, others: Sequence[Curve]) -> str | None:
        """NaN is outside every range."""
        value = mine.values[-1]
        if self.lower <= value <= self.upper:
            return None
        return f"{value:.6g} is outside of {self.lower:g} to {self.upper:g}"

    @property
    def compares(self) -> bool:
        """A trial is compared with fixed numbers only."""
        return False


def check_count(value: int, name: str, least: int = 1) -> int:
    """``value`` if it is at least ``least``; else a ``ConfigError`` about ``early_terminate.NAME``."""
    if value < least:
        raise ConfigError(f"early_terminate.{name} is out of range", got=value, allowed=f"{least} or more")
    return value
