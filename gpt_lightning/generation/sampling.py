"""Choosing the next token from logits. Pure functions, and the record that puts them together.

The order, that of Hugging Face's processors:

    bias ──> penalties ──> temperature ──> top-k ──> top-p ──> min-p ──> draw

so each of the last three sees the distribution that the ones before have left. A draw is a number between 0 and 1
that is a function of seed, sample and position alone (``draw_uniform``): the same request gives the same text whatever
else is decoded beside it, and whether or not tokens were proposed to it.
"""

from __future__ import annotations

import hashlib
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gpt_lightning.errors import CheckpointError, ConfigError

_LOWEST = 1e-6
"""Quotients of float32 logits stay finite; the distribution is that of temperature 0 long before."""
LARGEST_BIAS = 1e4
"""Divided by the lowest temperature it still is a float32, and smaller digits of the logits are not lost."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen.

    Args:
        temperature: Divides the logits; 0 = always the likeliest token, 1 = the model's own distribution.
        top_k: Draw only among so many likeliest tokens; None = all of them.
        top_p: Draw only among the likeliest tokens that together reach this probability; None (or 1) = all of
            them.
        min_p: Draw only among tokens at least so many times as likely as the likeliest one (Nguyen et al. 2024); 0
            to 1, None (or 0) = all of them.
        repetition_penalty: Positive logits of tokens that occur in the prompt or the text are divided by it, negative
            ones multiplied (Keskar et al. 2019); above 0, 1 = none.
        presence_penalty: Taken from the logits of tokens that occur in the text written so far; -2 to 2.
        frequency_penalty: The same times how often they occur.
        logit_bias: Added to the logits of some tokens, by id, -10,000 to 10,000; -100 and less rules a token out in
            practice.

    Raises:
        ConfigError: A value is out of range or not a number.
    """

    temperature: float = 1.0
    top_k: int | None = None
    top_p: float | None = None
    min_p: float | None = None
    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    logit_bias: Mapping[int, float] | None = None

    def __post_init__(self) -> None:
        _check_shape(self)
        _check_penalties(self)

    @property
    def looks_back(self) -> bool:
        """Whether the choice depends on the tokens before, beyond what the model makes of them."""
        return (self.repetition_penalty, self.presence_penalty, self.frequency_penalty) != (1.0, 0.0, 0.0)


def _check_shape(sampling: Sampling) -> None:
    temperature, top_k, top_p, min_p = sampling.temperature, sampling.top_k, sampling.top_p, sampling.min_p
    if not (temperature >= 0 and math.isfinite(temperature)):
        raise ConfigError(
            "temperature is not usable",
            got=temperature,
            allowed="0 or more, finite",
            fix="Use 0 for the likeliest token, 1 for the model's own distribution.",
        )
    if 0 < temperature < _LOWEST:
        raise ConfigError(
            "temperature is too low to divide logits by",
            got=temperature,
            allowed=f"0, or {_LOWEST} and more",
            fix="Use 0 for the likeliest token.",
        )
    if top_k is not None and top_k < 1:
        raise ConfigError("top_k is not positive", got=top_k, allowed="1 or more, or none")
    if top_p is not None and not 0.0 < top_p <= 1.0:
        raise ConfigError("top_p is not a probability", got=top_p, allowed="above 0, at most 1, or none")
    if min_p is not None and not 0.0 <= min_p <= 1.0:
        raise ConfigError("min_p is not a share of a probability", got=min_p, allowed="0 to 1, or none")


def _check_penalties(sampling: Sampling) -> None:
    if not 0.0 < sampling.repetition_penalty < math.inf:
        raise ConfigError(
            "repetition_penalty is not usable", got=sampling.repetition_penalty, allowed="above 0, finite; 1 = none"
        )
    for name in ("presence_penalty", "frequency_penalty"):
        value = getattr(sampling, name)
        if not -2.0 <= value <= 2.0:
            raise ConfigError(f"{name} is out of range", got=value, allowed="-2 to 2; 0 = none")
    for token, bias in (sampling.logit_bias or {}).items():
        if not -LARGEST_BIAS <= bias <= LARGEST_BIAS or token < 0:
            raise ConfigError(
                "logit_bias adds finite numbers to the logits of token ids",
                got={token: bias},
                allowed=f"ids of 0 and up; -{LARGEST_BIAS:g} to {LARGEST_BIAS:g}, of which 100 decides",
            )


@dataclass(frozen=True)
class History:
    """What penalties look at: how often each token occurs.

    Attributes:
        prompt: In the prompt.
        text: In what was written so far.
    """

    prompt: Counter[int]
    text: Counter[int]


def draw_uniform(seed: int, sample: int, position: int) -> float:
    """A number from [0, 1), a pure function of its arguments: BLAKE2b of them, 53 bits.

    Args:
        seed: Of the request, any whole number.
        sample: Which of the request's continuations, 0, 1, 2, ...
        position: How many tokens of it were written before.
    """
    digest = hashlib.blake2b(f"{seed} {sample} {position}".encode(), digest_size=8).digest()
    return (int.from_bytes(digest, "little") >> 11) / (1 << 53)


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


def keep_min_p(logits: Float[Tensor, "batch vocab"], min_p: float) -> Float[Tensor, "batch vocab"]:
    """Only tokens with at least ``min_p`` times the largest probability stay finite."""
    if min_p <= 0.0:
        return logits
    # A quotient of probabilities is a difference of logits.
    return logits.masked_fill(logits < logits.amax(dim=-1, keepdim=True) + math.log(min_p), -math.inf)


def penalize(logits: Float[Tensor, " vocab"], sampling: Sampling, history: History) -> Float[Tensor, " vocab"]:
    """Logits after the three penalties."""
    logits = logits.clone()
    if sampling.repetition_penalty != 1.0:
        seen = torch.tensor(list({**history.prompt, **history.text}), dtype=torch.long, device=logits.device)
        values, penalty = logits[seen], sampling.repetition_penalty
        logits[seen] = torch.where(values > 0, values / penalty, values * penalty)
    if history.text and (sampling.presence_penalty, sampling.frequency_penalty) != (0.0, 0.0):
        seen = torch.tensor(list(history.text), dtype=torch.long, device=logits.device)
        counts = torch.tensor(list(history.text.values()), dtype=logits.dtype, device=logits.device)
        logits[seen] -= sampling.presence_penalty + sampling.frequency_penalty * counts
    return logits


def adjust(
    logits: Float[Tensor, "batch vocab"], sampling: Sampling, histories: Sequence[History] | None = None
) -> Float[Tensor, "batch vocab"]:
    """Logits after bias and penalties, before temperature.

    Raises:
        ConfigError: A biased token is outside the vocabulary.
    """
    logits = logits.float()
    if sampling.logit_bias:
        tokens = torch.tensor(list(sampling.logit_bias), device=logits.device)
        if max(sampling.logit_bias) >= logits.shape[-1]:
            raise ConfigError(
                "logit_bias names a token that the model does not have",
                got=max(sampling.logit_bias),
                allowed=f"ids 0 to {logits.shape[-1] - 1}",
            )
        added = torch.tensor(list(sampling.logit_bias.values()), dtype=logits.dtype, device=logits.device)
        logits = logits.index_add(-1, tokens, added.expand(len(logits), -1))
    if sampling.looks_back and histories is not None:
        logits = torch.stack([penalize(row, sampling, each) for row, each in zip(logits, histories, strict=True)])
    return logits


def check_logits(logits: Float[Tensor, "batch vocab"]) -> None:
    """Refuse logits that say nothing.

    Raises:
        CheckpointError: One is NaN or infinite.
    """
    # The largest is not finite where any is NaN or +inf; -inf is a token that is never chosen.
    if not torch.isfinite(logits.amax()):
        raise CheckpointError(
            "The model's logits are not finite, so its training diverged or its weights are damaged",
            got=logits.amax().item(),
            fix="Take an earlier checkpoint of the run, or train again with a lower --model.optimizer.lr.",
        )


def choose_tokens(
    logits: Float[Tensor, "batch vocab"],
    sampling: Sampling,
    uniforms: Sequence[float],
    histories: Sequence[History] | None = None,
) -> list[int]:
    """One token id per row.

    Args:
        logits: Of the next token; computed with in float32, summed up in float64.
        sampling: How to choose.
        uniforms: A number from [0, 1) per row: what share of the probability lies before the token drawn, in the
            order of the ids, or with top-k likeliest first. Not looked at with temperature 0.
        histories: What was written before, per row; needed for penalties only.

    Raises:
        CheckpointError: The logits are not finite.
        ConfigError: A biased token is outside the vocabulary.
    """
    check_logits(logits)
    logits = adjust(logits, sampling, histories)
    if sampling.temperature == 0.0:
        return [int(token) for token in logits.argmax(dim=-1).tolist()]
    logits = apply_temperature(logits, sampling.temperature)
    tokens = None
    if sampling.top_k is not None and sampling.top_k < logits.shape[-1]:
        # The filters below see the same distribution in these few columns as in all of them.
        logits, tokens = logits.topk(sampling.top_k, dim=-1)
    if sampling.top_p is not None:
        logits = keep_top_p(logits, sampling.top_p)
    if sampling.min_p is not None:
        logits = keep_min_p(logits, sampling.min_p)
    columns = _invert(logits, uniforms)
    drawn = columns if tokens is None else tokens.gather(-1, columns[:, None])[:, 0]
    return [int(token) for token in drawn.tolist()]


def _invert(logits: Float[Tensor, "batch kept"], uniforms: Sequence[float]) -> Int[Tensor, " batch"]:
    """The first column at which the sum of probabilities exceeds the given share."""
    sums = logits.double().softmax(dim=-1).cumsum(dim=-1)
    total = sums[:, -1:]
    wanted = total * torch.tensor(uniforms, dtype=sums.dtype, device=sums.device)[:, None]
    # Below the last sum, whatever was rounded: behind it there may be tokens that were ruled out.
    wanted = torch.minimum(wanted, torch.nextafter(total, torch.zeros_like(total)))
    return torch.searchsorted(sums, wanted, right=True)[:, 0]
