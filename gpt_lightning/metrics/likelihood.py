"""How likely a model finds texts: perplexity and bits per byte of documents, and of single words to guess."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float

from gpt_lightning.metrics.scores import Score, divide


@dataclass(frozen=True)
class Likelihood:
    """A text that was scored.

    Attributes:
        nats: Negative log-probability of the text.
        num_tokens: Tokens it is made of.
        num_bytes: UTF-8 bytes.
        num_units: What published numbers divide by: words of a corpus, characters, or 1 for a word to guess.
        is_greedy: Whether the model's likeliest tokens are the text.
    """

    nats: float
    num_tokens: int
    num_bytes: int
    num_units: int = 1
    is_greedy: bool = False


class Perplexity(Score[Likelihood]):
    """Loss per token, perplexity per token and bits per byte."""

    size = 3
    lower_is_better = ("loss", "perplexity", "bits_per_byte")

    def measure(self, outcome: Likelihood) -> Sequence[float]:
        """Nats, tokens, bytes."""
        return [outcome.nats, float(outcome.num_tokens), float(outcome.num_bytes)]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``loss`` (nats per token), ``perplexity`` (its exponential), ``bits_per_byte``."""
        loss = divide(sums[0], sums[1])
        return {
            "loss": loss,
            "perplexity": _exp(loss),
            "bits_per_byte": divide(sums[0] / math.log(2), sums[2]),
        }


class UnitPerplexity(Score[Likelihood]):
    """Perplexity and bits per unit of a published benchmark: a word, a character.

    Args:
        unit: Its name, the prefix of the results.
    """

    size = 2

    def __init__(self, unit: str) -> None:
        self._unit = unit
        self.lower_is_better = (f"{unit}_perplexity", "bits_per_character")

    def measure(self, outcome: Likelihood) -> Sequence[float]:
        """Nats, units."""
        return [outcome.nats, float(outcome.num_units)]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``<unit>_perplexity`` and, of characters, ``bits_per_character``."""
        loss = divide(sums[0], sums[1])
        values = {f"{self._unit}_perplexity": _exp(loss)}
        return {**values, "bits_per_character": loss / math.log(2)} if self._unit == "character" else values


class GuessAccuracy(Score[Likelihood]):
    """Share of texts, in percent, that are what the model finds likeliest token by token."""

    size = 2

    def measure(self, outcome: Likelihood) -> Sequence[float]:
        """1 for a hit; 1."""
        return [float(outcome.is_greedy), 1.0]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``accuracy``."""
        return {"accuracy": 100 * divide(sums[0], sums[1])}


def _exp(value: float) -> float:
    """The exponential, infinite where it is too large for a float."""
    return math.exp(value) if value < 709 else value if math.isnan(value) else math.inf
