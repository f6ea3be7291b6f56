"""Choosing the next token from logits. Pure functions, and the record that puts them together.

The order is temperature, then top-k, then top-p: top-p sees the distribution that will be drawn from.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gpt_lightning.errors import CheckpointError, ConfigError

_LOWEST = 1e-6
"""Quotients of float32 logits stay finite; the distribution is that of temperature 0 long before."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: Divides the logits; 0 = always the likeliest token, 1 = the model's own distribution.
        top_k: Draw only among so many likeliest tokens; None = all of them.
        top_p: Draw only among the likeliest tokens that together reach this probability; None (or 1) = all of
            them.

    Raises:
        ConfigError: A value is out of range or not a number.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None

    def __post_init__(self) -> None:
        if not (self.temperature >= 0 and math.isfinite(self.temperature)):
            raise ConfigError(
                "temperature is not usable",
                got=self.temperature,
                allowed="0 or more, finite",
                fix="Use 0 for the likeliest token, 1 for the model's own distribution.",
            )
        if 0 < self.temperature < _LOWEST:
            raise ConfigError(
                "temperature is too low to divide logits by",
                got=self.temperature,
                allowed=f"0, or {_LOWEST} and more",
                fix="Use 0 for the likeliest token.",
            )
        if self.top_k is not None and self.top_k < 1:
            raise ConfigError("top_k is not positive", got=self.top_k, allowed="1 or more, or none")
        if self.top_p is not None and not 0.0 < self.top_p <= 1.0:
            raise ConfigError("top_p is not a probability", got=self.top_p, allowed="above 0, at most 1, or none")


def apply_temperature(logits: Float[Tensor, "batch vocab"], temperature: float) -> Float[Tensor, "batch vocab"]:
    """Sharpen (< 1) or flatten (> 1) the distribution; ``temperature`` is positive."""
    return logits / temperature


def keep_top_k(logits: Float[Tensor, "batch vocab"], top_k: int) -> Float[Tensor, "batch vocab"]:
    """Only the ``top_k`` largest logits stay finite; of equal ones on the border, just enough to make ``top_k``."""
    if top_k >= logits.shape[-1]:
        return logits
    values, indices = logits.topk(top_k, dim=-1)
    return torch.full_like(logits, -math.inf).scatter(-1, indices, values)


def keep_top_p(logits: Float[Tensor, "batch vocab"], top_p: float) -> Float[Tensor, "batch vocab"]:
    """Only the smallest set of likeliest tokens that reaches probability ``top_p`` stays finite (Holtzman et al. 2020).

    The token that crosses the border belongs to the set, so at least one is kept.
    """
    if top_p >= 1.0:
        return logits
    ordered, indices = logits.sort(dim=-1, descending=True, stable=True)
    probabilities = ordered.softmax(dim=-1)
    before = probabilities.cumsum(dim=-1) - probabilities
    return torch.empty_like(logits).scatter(-1, indices, ordered.masked_fill(before >= top_p, -math.inf))


def choose_tokens(
    logits: Float[Tensor, "batch vocab"], sampling: Sampling, generator: torch.Generator | None = None
) -> Int[Tensor, " batch"]:
    """One token id per row.

    Args:
        logits: Of the next token; computed with in float32.
        sampling: How to choose.
        generator: Source of the draws, on any device: a CPU generator draws the same tokens whatever device the
            model is on, as far as the logits agree. None = torch's global generator.

    Raises:
        CheckpointError: The logits are not finite.
    """
    # The largest is not finite where any is NaN or +inf; -inf is a token that is never chosen.
    if not torch.isfinite(logits.amax()):
        raise CheckpointError(
            "The model's logits are not finite, so its training diverged or its weights are damaged",
            got=logits.amax().item(),
            fix="Take an earlier checkpoint of the run, or train again with a lower --model.optimizer.lr.",
        )
    if sampling.temperature == 0.0:
        return logits.argmax(dim=-1)
    logits = apply_temperature(logits.float(), sampling.temperature)
    if sampling.top_k is not None:
        logits = keep_top_k(logits, sampling.top_k)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    probabilities = logits.softmax(dim=-1)
    if generator is not None:
        probabilities = probabilities.to(generator.device)
    return torch.multinomial(probabilities, 1, generator=generator).squeeze(-1).to(logits.device)
