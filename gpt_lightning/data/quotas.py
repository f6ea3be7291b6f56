"""Whose turn it is: how many of the first n samples of a mixture belong to each source, as a pure function of n.

The samples are dealt in blocks of 4096. What a source has at the end of a block is its share of all samples so far,
rounded: the sources, sorted by share, divide the line from 0 to n at the rounded sums of their shares, so that each is
at most one sample off. Sources so small (less than two samples a block) that the differences of these borders could
shrink are rounded on their own, to half a sample, and the largest source makes up for it: at most half a sample, and
half a sample more for each of them. Within a block a permutation decides, so there a source may be ahead or behind by
what chance allows (tens of samples of 4096).

Counting with rounded shares instead of drawing keeps tiny sources alive and needs no state: any block is found at
once. Shares are integers, multiples of 2^-48, so that every machine agrees.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

BLOCK = 4096
"""Samples dealt together."""
_UNIT = 1 << 48


class Quota:
    """Fixed shares of a line of samples.

    Args:
        weights: Relative shares, at least one above 0.
    """

    def __init__(self, weights: Sequence[float]) -> None:
        total = sum(weights)
        self.units = [round(weight / total * _UNIT) for weight in weights]
        order = sorted(range(len(weights)), key=lambda source: self.units[source])
        self._small = [source for source in order[:-1] if self.units[source] * BLOCK < 2 * _UNIT]
        self._large = order[len(self._small) :]
        # The last border is n itself, which leaves the rounding of all shares to the largest source.
        self._borders = list(accumulate(self.units[source] for source in self._large[:-1]))

    def counts(self, samples: int) -> list[int]:
        """Samples of each source among the first ``samples``: what is dealt at the ends of blocks.

        They sum to ``samples``, and are off their shares by at most 1/2 for a small source, 1 for a large one, and
        (1 + number of small ones) / 2 for the largest; besides n 2^-48 that the shares are rounded to.
        """
        counts = [0] * len(self.units)
        for source in self._small:
            counts[source] = _round(self.units[source] * samples)
        borders = [_round(border * samples) for border in self._borders]
        for source, start, end in zip(self._large, [0, *borders], [*borders, samples], strict=True):
            counts[source] = end - start
        counts[self._large[-1]] -= sum(counts[source] for source in self._small)
        return counts

    def longest(self, source: int, limit: int) -> int | None:
        """Samples after which ``source`` has its ``limit``, never more; None = no number of samples gives it that."""
        if source == self._large[-1]:
            # What it may have to make up for.
            limit = max(0, limit - sum(self.units[small] > 0 for small in self._small))
        return limit * _UNIT // self.units[source] if self.units[source] else None


def _round(value: int) -> int:
    return (value + _UNIT // 2) // _UNIT


@dataclass(frozen=True)
class Phase:
    """A stretch of training with the same shares.

    Attributes:
        first: Number of its first sample.
        length: Samples; None = without end.
        quota: Shares.
        before: Samples of each source before this phase.
    """

    first: int
    length: int | None
    quota: Quota
    before: list[int]

    def block(self, number: int) -> tuple[list[int], list[int]]:
        """What each source has had when a block begins, and what it gets in the block (the last one is shorter)."""
        start = number * BLOCK
        end = start + BLOCK if self.length is None else min(start + BLOCK, self.length)
        had, has = self.quota.counts(start), self.quota.counts(end)
        dealt = [max(0, after - before) for before, after in zip(had, has, strict=True)]
        # Only in a short last block can rounding take a sample back, which then was dealt to others.
        dealt[dealt.index(max(dealt))] -= sum(dealt) - (end - start)
        return [one + two for one, two in zip(self.before, had, strict=True)], dealt

    def after(self) -> list[int]:
        """Samples of each source when the phase ends."""
        assert self.length is not None
        if self.length == 0:
            return self.before
        had, dealt = self.block((self.length - 1) // BLOCK)
        return [one + two for one, two in zip(had, dealt, strict=True)]


def plan_phases(changes: Sequence[tuple[int, Sequence[float]]], limits: Sequence[int | None]) -> list[Phase]:
    """Phases from changes of the weights and from sources that are used up.

    Args:
        changes: First sample and relative shares; the first one from sample 0 on.
        limits: Samples that each source has to give; None = any number.

    Returns:
        Phases one behind the other, at least one. The last one has no end, unless all sources are used up there.
    """
    phases: list[Phase] = []
    phase = Phase(0, 0, Quota([1.0] * len(limits)), [0] * len(limits))
    first, had = 0, [0] * len(limits)
    used_up: set[int] = set()
    for number, (_, weights) in enumerate(changes):
        change = changes[number + 1][0] if number + 1 < len(changes) else None
        while change is None or first < change:
            left = [0.0 if source in used_up else weight for source, weight in enumerate(weights)]
            if not any(left):
                return phases or [phase]
            quota = Quota(left)
            ends = {
                source: quota.longest(source, limit - had[source])
                for source, limit in enumerate(limits)
                if limit is not None
            }
            length = min([end for end in ends.values() if end is not None], default=None)
            if change is not None and (length is None or first + length >= change):
                length = change - first
            phase = Phase(first, length, quota, had)
            if length != 0:
                phases.append(phase)
            if length is None:
                return phases
            used_up |= {source for source, end in ends.items() if end is not None and end <= length}
            first, had = first + length, phase.after()
    return phases or [phase]
