"""Durations as people write them: steps, tokens, or a share of the run.

    500, "500", "500 steps", "2k steps"      optimizer steps
    "20M tokens", "1.5B tokens"              tokens, rounded down to whole steps but at least one
    0.05, "5%"                               share of the run, rounded down to whole steps

Rounding down keeps promises: lengths that together fit the run in exact numbers also fit in steps, and a token
budget is never overdrawn. Under a batch ramp tokens are counted from the start of the run, those of a cooldown from
its end, and those of a cadence in full batches. Arithmetic is exact (0.29 of 100 steps is 29, not 28).
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from typing import Literal

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.batch_sizes import BatchSizes

Length = int | float | str
"""A duration as typed; see the table above."""

_ALLOWED = "steps (500), tokens ('20M tokens'), a share of the run ('5%', or a number strictly between 0 and 1)"
_PATTERN = re.compile(r"(\d[\d_]*(?:\.\d+)?|\.\d+)\s*([kmb]?)\s*(%|steps?|tokens?|)", re.IGNORECASE)
_FACTORS = {"": 1, "k": 10**3, "m": 10**6, "b": 10**9}


@dataclass(frozen=True)
class Horizon:
    """How long the run is; what turns every length into steps.

    Args:
        total_steps: Optimizer steps of the whole run.
        tokens_per_step: Training positions in one global batch; with a batch ramp, in the full one.
        batch_sizes: Training positions of every step under a batch ramp; None = all alike.
    """

    total_steps: int
    tokens_per_step: int
    batch_sizes: BatchSizes | None = None

    def __post_init__(self) -> None:
        for name in ("total_steps", "tokens_per_step"):
            if getattr(self, name) < 1:
                raise ConfigError(f"{name} is not positive", got=getattr(self, name), allowed="1 or more")

    def tokens_before(self, step: int) -> int:
        """Training positions of the first ``step`` steps."""
        return step * self.tokens_per_step if self.batch_sizes is None else self.batch_sizes.before(step)


@dataclass(frozen=True)
class ParsedLength:
    """A length that was understood: an exact value and its unit."""

    value: Fraction
    unit: Literal["steps", "tokens", "share"]

    def to_steps(self, *, total_steps: int | None, tokens_per_step: int) -> int:
        """Whole optimizer steps.

        Args:
            total_steps: Steps of the run; None while that is what is asked for.
            tokens_per_step: Training positions in one global batch.

        Raises:
            ConfigError: A share of a run whose length is not known.
        """
        if self.unit == "steps":
            return int(self.value)
        if self.unit == "tokens":
            return max(math.floor(self.value / tokens_per_step), 1 if self.value else 0)
        if total_steps is None:
            raise ConfigError(
                "a share of the run cannot be the length of the run",
                got=f"{float(self.value):.4%}",
                allowed="steps (500) or tokens ('20M tokens')",
            )
        return math.floor(self.value * total_steps)

    def count_first(self, horizon: Horizon) -> int:
        """Whole steps of a stretch that begins with the run."""
        if self.unit == "tokens" and horizon.batch_sizes is not None:
            return max(horizon.batch_sizes.within(math.floor(self.value)), 1 if self.value else 0)
        return self.to_steps(total_steps=horizon.total_steps, tokens_per_step=horizon.tokens_per_step)

    def count_last(self, horizon: Horizon) -> int:
        """Whole steps of a stretch that ends with the run."""
        total = horizon.total_steps
        if self.unit == "tokens" and horizon.batch_sizes is not None:
            left = horizon.tokens_before(total) - math.floor(self.value)
            steps = total - horizon.batch_sizes.reaching(left) if left >= 0 else total + 1
            return max(steps, 1 if self.value else 0)
        return self.to_steps(total_steps=total, tokens_per_step=horizon.tokens_per_step)


def parse_length(length: Length, name: str = "length") -> ParsedLength:
    """Understand a length.

    Args:
        length: Steps, tokens or a share of the run; see the table above.
        name: The setting, for messages.

    Raises:
        ConfigError: Not a length, negative, or ambiguous (1.0, "20M").
    """
    if isinstance(length, bool) or not isinstance(length, (int, float, str)):
        raise ConfigError(f"{name} is not a length", got=length, allowed=_ALLOWED)
    if isinstance(length, str):
        return _parse_text(length, name)
    if isinstance(length, int):
        if length < 0:
            raise ConfigError(f"{name} is negative", got=length, allowed=_ALLOWED)
        return ParsedLength(Fraction(length), "steps")
    return _parse_share(length, name)


def to_steps(length: Length, horizon: Horizon, name: str = "length") -> int:
    """Whole optimizer steps of ``length`` in a run of ``horizon``; raises like ``parse_length``."""
    return parse_length(length, name).count_first(horizon)


def _parse_share(number: float, name: str) -> ParsedLength:
    if number in (0.0, 1.0):
        whole = int(number)
        raise ConfigError(
            f"{name} is ambiguous: a number with a point is a share of the run",
            got=number,
            allowed=_ALLOWED,
            fix=f"Write {whole} for {'no steps' if not whole else 'one step'}, or '{whole * 100}%'.",
        )
    if not 0.0 < number < 1.0:
        raise ConfigError(f"{name} is not a share of the run", got=number, allowed=_ALLOWED)
    return ParsedLength(Fraction(repr(number)), "share")


def _parse_text(text: str, name: str) -> ParsedLength:
    match = _PATTERN.fullmatch(text.strip())
    if match is None:
        raise ConfigError(f"{name} is not a length", got=text, allowed=_ALLOWED)
    digits, suffix, unit = match[1].replace("_", ""), match[2].lower(), match[3].lower()
    if not unit and not suffix:
        return _parse_share(float(digits), name) if "." in digits else ParsedLength(Fraction(digits), "steps")
    if not unit or (unit == "%" and suffix):
        number = match[1] + match[2]
        raise ConfigError(
            f"{name} has no unit", got=text, allowed=_ALLOWED, fix=f"Write '{number} tokens' or '{number} steps'."
        )
    value = Fraction(digits) * _FACTORS[suffix]
    if unit == "%":
        if value > 100:
            raise ConfigError(f"{name} is more than the whole run", got=text, allowed="0% to 100%")
        return ParsedLength(value / 100, "share")
    if unit.startswith("step") and value.denominator != 1:
        raise ConfigError(f"{name} is not a whole number of steps", got=text, allowed=_ALLOWED)
    return ParsedLength(value, "steps" if unit.startswith("step") else "tokens")
