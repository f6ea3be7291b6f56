"""``data.mixture``: which corpora are trained on together, and in which proportions.

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
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from gpt_lightning.errors import ConfigError

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
