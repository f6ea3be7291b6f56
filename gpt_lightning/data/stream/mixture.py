"""Whose turn it is: how many of the first n samples of a mixture belong to each source, as a pure function of n.

The samples are dealt in blocks of 4096. What a source has at the end of a block is its share of all samples so far,
rounded: the sources, sorted by share, divide the line from 0 to n at the rounded sums of their shares, so that each is
at most one sample off. Sources so small (less than two samples a block) that the differences of these borders could
shrink are rounded on their own, to half a sample, and the largest source makes up for it: at most half a sample, and
half a sample more for each of them. Within a block a permutation decides, so there a source may be ahead or behind by
what chance allows (tens of samples of 4096).

Counting with rounded shares instead of drawing keeps tiny sources alive and needs no state: any block is found at
once. Shares are integers, multiples of 2^-48, so that every machine agrees.

``data.mixture``: which corpora are trained on together, and in which proportions.

    data:
      tokenizer: gpt2
      mixture:
        sources:
          wiki: {source: "wiki/*.jsonl", weight: 3}
          code: {source: "code/**/*.py", weight: 1, max_epochs: 4}
        schedule:
          - {from_tokens: 1_000_000_000, weights: {code: 3}}

Weights are shares of the windows, whatever the sizes of the corpora; ``temperature`` brings the sizes in. All sources
have the same tokenizer. Each is validated on its own (``val/loss/wiki``), and ``val/loss`` is their mean by tokens.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from itertools import accumulate
from typing import Any

from gpt_lightning.errors import ConfigError

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


MAX_SOURCES = 64
"""More would not fit the promise of ``quotas`` that no source is ever owed a sample back."""


@dataclass(frozen=True)
class MixtureSource:
    """One corpus of a mixture.

    Args:
        source: Its text, like data.source; null where a store is named.
        store: Its store, like data.store; null = found or made in the cache.
        weight: Share of the training windows, relative to the other sources.
        max_epochs: Passes over it after which its share goes to the others; null = as often as its weight asks.
    """

    source: str | list[str] | None = None
    store: str | None = None
    weight: float = 1.0
    max_epochs: float | None = None


@dataclass(frozen=True)
class WeightChange:
    """New weights from some point of training on.

    Args:
        from_tokens: Training tokens after which they hold.
        weights: New weight by source; sources not named keep theirs.
    """

    from_tokens: int
    weights: dict[str, float]


@dataclass(frozen=True)
class Mixture:
    """Several corpora in deterministic proportions.

    Args:
        sources: By name; the names appear in val/loss/NAME.
        temperature: Multiply each weight by tokens ** (1 / temperature), so that 1 is proportional to the sizes and
            larger values are flatter; null = the weights alone.
        schedule: Changes of the weights during training.

    Raises:
        ConfigError: A weight, name or number is out of range.
    """

    sources: dict[str, MixtureSource]
    temperature: float | None = None
    schedule: list[WeightChange] = field(default_factory=list)

    def __post_init__(self) -> None:
        if not 1 <= len(self.sources) <= MAX_SOURCES:
            raise ConfigError(
                "data.mixture.sources has the wrong size",
                got=len(self.sources),
                allowed=f"1 to {MAX_SOURCES} sources",
                fix="A source may be a list of files: join those that belong together.",
            )
        for name, source in self.sources.items():
            _check_source(name, source)
        if self.temperature is not None and not self.temperature > 0:
            raise ConfigError(
                "data.mixture.temperature is out of range",
                got=self.temperature,
                allowed="> 0, or null",
                fix="1 mixes in proportion to the sizes.",
            )
        _check_weights("data.mixture.sources", {name: source.weight for name, source in self.sources.items()})
        self._check_schedule()

    def _check_schedule(self) -> None:
        before = 0
        for number, change in enumerate(self.schedule):
            where = f"data.mixture.schedule[{number}]"
            unknown = sorted(set(change.weights) - set(self.sources))
            if unknown:
                raise ConfigError(
                    f"{where} names a source that is not there",
                    got=unknown[0],
                    allowed=", ".join(self.sources),
                    fix="Correct the name.",
                )
            if change.from_tokens <= before:
                raise ConfigError(
                    f"{where}.from_tokens must grow from change to change",
                    got=change.from_tokens,
                    allowed=f"> {before}",
                    fix="Sort the schedule; weights from the start on belong to the sources.",
                )
            before = change.from_tokens
            _check_weights(where, self.weights(before))

    def weights(self, tokens: int) -> dict[str, float]:
        """Weights by source after so many training tokens, as written (sizes not counted)."""
        weights = {name: float(source.weight) for name, source in self.sources.items()}
        for change in self.schedule:
            if change.from_tokens <= tokens:
                weights |= {name: float(weight) for name, weight in change.weights.items()}
        return weights

    def shares(self, tokens: int, sizes: Mapping[str, int]) -> list[float]:
        """Relative shares of the windows after so many training tokens, in the order of ``sources``.

        Args:
            tokens: Training tokens done.
            sizes: Tokens of each source.
        """
        power = 0.0 if self.temperature is None else 1 / self.temperature
        largest = max(sizes.values())  # relative sizes: a power of a huge one may overflow
        return [weight * (sizes[name] / largest) ** power for name, weight in self.weights(tokens).items()]

    def describe(self) -> dict[str, Any]:
        """Plain values without places: what decides the order of samples."""
        places = ("source", "store")
        plain = asdict(self)
        plain["sources"] = {
            name: {key: value for key, value in source.items() if key not in places}
            for name, source in plain["sources"].items()
        }
        return plain


def _check_source(name: str, source: MixtureSource) -> None:
    where = f"data.mixture.sources.{name}"
    if not re.fullmatch(r"[A-Za-z0-9_-]+", name):
        raise ConfigError(
            "A source of data.mixture has a name that cannot be part of a metric's name",
            got=name,
            allowed="letters, digits, _ and -",
            fix="Rename it.",
        )
    if source.source is None and source.store is None:
        raise ConfigError(f"{where} names no text", fix=f"Set {where}.source, or {where}.store.")
    if source.max_epochs is not None and not source.max_epochs > 0:
        raise ConfigError(
            f"{where}.max_epochs is a number of passes", got=source.max_epochs, allowed="> 0, or null", fix="Write 4."
        )


def _check_weights(where: str, weights: Mapping[str, float]) -> None:
    for name, weight in weights.items():
        if not 0 <= weight < float("inf"):
            raise ConfigError(
                f"{where}: the weight of {name} is out of range", got=weight, allowed=">= 0", fix="Write 1.0."
            )
    if not any(weights.values()):
        raise ConfigError(f"{where}: all weights are 0", got=dict(weights), allowed="one above 0", fix="Raise one.")
