"""Rules that thin trials out at rungs.

    SuccessiveHalving   at rungs 1, eta, eta^2 ... only the best 1/eta go on  (ASHA, stopping form: Li et al. 2020)
    Hyperband           brackets of it that begin at later and later rungs    (Li et al. 2018)
    WandbHyperband      W&B's rule of that name                               (sweeps 0.3)

Curves, groups and what a verdict is: see ``pruning``.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Sequence

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.pruning.pruning import Curve, Pruner, check_count, peer_values


class SuccessiveHalving(Pruner):
    """ASHA: at each rung a trial goes on only if it is among the best 1/eta of those that have reached the rung.

    A trial is judged once a rung, when it gets there, against whoever was there before: early trials are favoured, and
    the order of arrival matters in this way only. With fewer than eta trials at a rung the best one goes on.

    Args:
        min_reports: The first rung, in reports, 1 or more.
        eta: Factor between rungs, and the share 1/eta that goes on; 2 or more.
    """

    def __init__(self, min_reports: int = 1, eta: int = 3) -> None:
        self._min_reports = check_count(min_reports, "min_reports")
        self._eta = check_count(eta, "eta", 2)

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
        check_count(min_reports, "min_reports")
        check_count(eta, "eta", 2)
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
        max_iter: Reports of a whole run; instead of ``min_iter``, which does not count beside it.
        s: Number of bands; needed with ``max_iter``, and null = as many as fit with ``min_iter``.
        eta: Factor between bands; the best 1/eta (and one) go on; above 1.
        strict: Compare the value at the band, instead of the best value so far.
    """

    def __init__(
        self,
        min_iter: int | None = None,
        max_iter: int | None = None,
        s: int | None = None,
        eta: float = 3,
        strict: bool = False,
    ) -> None:
        if not 1 < eta < math.inf:
            raise ConfigError("early_terminate.eta is out of range", got=eta, allowed="above 1")
        if min_iter is None and max_iter is None:
            raise ConfigError(
                "early_terminate of W&B's type hyperband takes one of min_iter and max_iter",
                got="neither",
                allowed="one; of both, max_iter counts",
            )
        if max_iter is not None and s is None:
            raise ConfigError("early_terminate.max_iter needs s", got="no s", allowed="the number of bands: s: 2")
        count = 64 if s is None else check_count(s, "s")
        if max_iter is None:
            first = check_count(min_iter or 0, "min_iter")
            self._bands = tuple(sorted({int(first * eta**k) for k in range(count)}))
        else:
            bands = {int(check_count(max_iter, "max_iter") / eta**k) for k in range(1, count + 1)}
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
