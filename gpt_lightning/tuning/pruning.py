"""Which trials to stop early: curves in, a reason out. No Optuna here: its pruners need one objective and one process.

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
    SuccessiveHalving   at rungs 1, eta, eta^2 ... only the best 1/eta go on  (ASHA, stopping form: Li et al. 2020)
    Hyperband           brackets of it that begin at later and later rungs    (Li et al. 2018)
    WandbHyperband      W&B's rule of that name                               (sweeps 0.3)
"""

from __future__ import annotations

import math
import zlib
from abc import ABC, abstractmethod
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
        """Index of the first report whose number is at least ``number``; None when it is not there yet."""
        return next((place for place, own in enumerate(self.numbers) if own >= number), None)


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
        self._startup_trials = _check_count(startup_trials, "startup_trials")

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


class SuccessiveHalving(Pruner):
    """ASHA: at each rung a trial goes on only if it is among the best 1/eta of those that have reached the rung.

    A trial is judged once a rung, when it gets there, against whoever was there before: early trials are favoured, and
    the order of arrival matters in this way only. With fewer than eta trials at a rung the best one goes on.

    Args:
        min_reports: The first rung, in reports, 1 or more.
        eta: Factor between rungs, and the share 1/eta that goes on; 2 or more.
    """

    def __init__(self, min_reports: int = 1, eta: int = 3) -> None:
        self._min_reports = _check_count(min_reports, "min_reports")
        self._eta = _check_count(eta, "eta", 2)

    @property
    def once_per_rung(self) -> bool:
        """A rung is decided when it is reached."""
        return True

    def rungs(self, reports: int) -> dict[str, tuple[int, ...]]:
        """One bracket."""
        return {"": rungs_below(self._min_reports, self._eta, reports)}

    def judge(self, mine: Curve, others: Sequence[Curve]) -> str | None:
        """One decision for each rung that the last report has reached."""
        number, before = mine.numbers[-1], mine.numbers[-2] if len(mine) > 1 else 0
        value = mine.values[-1]
        for rung in rungs_below(self._min_reports, self._eta, number + 1):
            if rung <= before:
                continue
            if math.isnan(value):
                return f"not a number at rung {rung}"
            at_rung = [*(peer for peer in peer_values(mine, others, rung) if not math.isnan(peer)), value]
            passing = max(1, len(at_rung) // self._eta)
            if value > sorted(at_rung)[passing - 1]:
                return f"{value:.6g} is not among the best {passing} of {len(at_rung)} at rung {rung}"
        return None


class Hyperband(Pruner):
    """Several brackets of successive halving, from the earliest first rung to none at all.

    Which bracket a trial is in depends on its number alone, with the shares of the published method, so that a late
    bloomer has some chance whatever the first rungs say. Trials are compared within their bracket.

    Args:
        max_reports: Reports of a whole run.
        min_reports: The first rung of the first bracket.
        eta: Factor between rungs, 2 or more.
    """

    def __init__(self, max_reports: int, min_reports: int = 1, eta: int = 3) -> None:
        _check_count(min_reports, "min_reports")
        _check_count(eta, "eta", 2)
        if max_reports < min_reports:
            raise ConfigError(
                "early_terminate.max_reports is below the first rung",
                got=max_reports,
                allowed=f"at least min_reports = {min_reports}",
            )
        count = 1
        while min_reports * eta**count <= max_reports:
            count += 1
        self._brackets = [SuccessiveHalving(min_reports * eta**bracket, eta) for bracket in range(count)]
        self._shares = [math.ceil(count * eta ** (count - 1 - bracket) / (count - bracket)) for bracket in range(count)]

    @property
    def once_per_rung(self) -> bool:
        """A rung is decided when it is reached."""
        return True

    def bracket_of(self, trial: int) -> int:
        """Bracket of a trial, by its number."""
        # CRC, not the number itself: samplers that alternate would put one kind of trial into one bracket.
        place = zlib.crc32(str(trial).encode()) % sum(self._shares)
        for bracket, share in enumerate(self._shares):
            place -= share
            if place < 0:
                return bracket
        raise AssertionError("shares add up to their sum")

    def rungs(self, reports: int) -> dict[str, tuple[int, ...]]:
        """Brackets with the share of trials that each gets."""
        total = sum(self._shares)
        return {
            f"bracket {number} ({self._shares[number] / total:.0%} of the trials)": bracket.rungs(reports)[""]
            for number, bracket in enumerate(self._brackets)
        }

    def judge(self, mine: Curve, others: Sequence[Curve]) -> str | None:
        """As ``SuccessiveHalving`` among the trials of the same bracket."""
        bracket = self.bracket_of(mine.trial)
        rivals = [other for other in others if self.bracket_of(other.trial) == bracket]
        reason = self._brackets[bracket].judge(mine, rivals)
        return reason and f"{reason} of bracket {bracket}"


class WandbHyperband(Pruner):
    """What W&B calls hyperband: at every report, a trial is compared with all values at the last band it has passed.

    Bands are min_iter x eta^k, or, with ``max_iter``, max_iter / eta^k for k = 1 ... s. W&B's iterations are reports.

    Args:
        min_iter: The first band, in reports.
        max_iter: Reports of a whole run; instead of ``min_iter``.
        s: Number of bands; needed with ``max_iter``, and null = as many as fit with ``min_iter``.
        eta: Factor between bands; the best 1/eta (and one) go on; 2 or more.
        strict: Compare the value at the band, instead of the best value so far.
    """

    def __init__(
        self,
        min_iter: int | None = None,
        max_iter: int | None = None,
        s: int | None = None,
        eta: int = 3,
        strict: bool = False,
    ) -> None:
        _check_count(eta, "eta", 2)
        if (min_iter is None) == (max_iter is None):
            raise ConfigError(
                "early_terminate of W&B's type hyperband takes one of min_iter and max_iter",
                got="both" if min_iter is not None else "neither",
                allowed="one",
            )
        if max_iter is not None and s is None:
            raise ConfigError("early_terminate.max_iter needs s", got="no s", allowed="the number of bands: s: 2")
        count = 64 if s is None else _check_count(s, "s")
        if min_iter is not None:
            self._bands = tuple(_check_count(min_iter, "min_iter") * eta**k for k in range(count))
        else:
            bands = {int(_check_count(max_iter or 0, "max_iter") / eta**k) for k in range(1, count + 1)}
            self._bands = tuple(sorted(bands - {0}))
        if not self._bands:
            raise ConfigError("early_terminate.max_iter is below eta", got=max_iter, allowed=f"at least {eta}")
        self._eta, self._strict = eta, strict

    @property
    def once_per_rung(self) -> bool:
        """The rule has its own idea of when to look."""
        return True

    def rungs(self, reports: int) -> dict[str, tuple[int, ...]]:
        """One bracket."""
        return {"": tuple(band for band in self._bands if band < reports)}

    def judge(self, mine: Curve, others: Sequence[Curve]) -> str | None:
        """Judged anew at every report, because the others' values at the band become more."""
        passed = [band for band in self._bands if band <= mine.numbers[-1]]
        place = mine.place(passed[-1]) if passed else None
        if place is None:
            return None
        at_band = [mine.values[place], *peer_values(mine, others, passed[-1])]
        known = sorted(value for value in at_band if math.isfinite(value))
        best = mine.values[place] if self._strict else min(mine.values)
        if not known or best <= known[int(len(known) / self._eta)]:
            return None
        return f"{best:.6g} is behind {known[int(len(known) / self._eta)]:.6g}, needed at band {passed[-1]}"


def rungs_below(first: int, eta: int, end: int) -> tuple[int, ...]:
    """Rungs first, first x eta, first x eta^2 ... below ``end``; the end itself is no rung, nothing is left to save."""
    rungs = []
    while first < end:
        rungs.append(first)
        first *= eta
    return tuple(rungs)


def _check_count(value: int, name: str, least: int = 1) -> int:
    if value < least:
        raise ConfigError(f"early_terminate.{name} is out of range", got=value, allowed=f"{least} or more")
    return value
