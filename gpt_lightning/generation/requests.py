"""What is asked of the engine, and what it answers: plain records."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.sampling import Sampling

FinishReason = Literal["stop", "length", "cancelled"]
"""``stop``: end of text, a stop token or a stop string; ``length``: ``max_tokens`` or the model's positions."""


Pooling = Literal["mean", "last"]
"""Which hidden states of a text stand for it."""


@dataclass(frozen=True)
class Request:
    """A prompt and how to continue it.

    Args:
        prompt: Token ids, at least one.
        max_tokens: Most tokens to write, 0 or more.
        sampling: How each token is chosen.
        seed: Fixes the draws; the same request with the same seed gives the same text.
        n: Number of continuations; they differ in their draws.
        stop: Strings that end the text; neither they nor what follows is part of it. Needs an engine with a
            tokenizer.
        stop_ids: Tokens that end the text and are not part of it. None = all that the tokenizer's model ends a
            text at (``end_ids``), if the engine has one.
        logprobs: Report log-probabilities of the chosen tokens, and so many likeliest ones beside each. They are the
            model's own, before bias, penalties and temperature. None = do not.
        prompt_logprobs: The same for the prompt's tokens but the first, which nothing comes before. None = do not.
        embed: Report the prompt's hidden states after the final norm: their mean, or the last one. None = do not.
        draft_tokens: Propose up to so many tokens a step, copied from behind an earlier occurrence of the last ones
            (prompt lookup). The text stays the same; it may come faster. 0 = do not.
        slide: What happens when the model's positions are used up: True = the last half of the context is encoded
            anew and writing goes on (a longer prompt is read from its last positions); False = the text ends there,
            and a prompt that leaves no room is refused.
        adapter: Name of the adapter to write with, among those of the model; "" = none, the base alone. None = the
            one the model has in use.

    Raises:
        ConfigError: A count is out of range.
        DataError: The prompt has no token.
    """

    prompt: Sequence[int]
    max_tokens: int = 200
    sampling: Sampling = field(default_factory=Sampling)
    seed: int = 0
    n: int = 1
    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...] | None = None
    logprobs: int | None = None
    prompt_logprobs: int | None = None
    embed: Pooling | None = None
    draft_tokens: int = 0
    slide: bool = True
    adapter: str | None = None

    def __post_init__(self) -> None:
        for name, least in (("max_tokens", 0), ("n", 1), ("draft_tokens", 0), ("logprobs", 0), ("prompt_logprobs", 0)):
            value = getattr(self, name)
            if value is not None and value < least:
                wrong = "is negative" if least == 0 else "is not positive"
                raise ConfigError(f"{name} {wrong}", got=value, allowed=f"{least} or more")
        if "" in self.stop:
            raise ConfigError("a stop string is empty", got=self.stop, allowed="strings of one character or more")
        if not len(self.prompt):
            raise DataError("the prompt has no token", got=list(self.prompt), fix="Begin with the end-of-text token.")

    @property
    def reports_prompt(self) -> bool:
        """Whether something is to be told of the prompt itself, which then must be read whole."""
        return self.embed is not None or self.prompt_logprobs is not None


@dataclass(frozen=True)
class TokenLogprob:
    """Natural logarithms of the model's own probabilities at one place of a text.

    Attributes:
        token: The id that was chosen.
        logprob: Its log-probability.
        top: The likeliest ids with theirs, likeliest first.
    """

    token: int
    logprob: float
    top: tuple[tuple[int, float], ...] = ()


@dataclass(frozen=True)
class Completion:
    """A finished text.

    Attributes:
        ids: Tokens written, without the one that ended the text; with a stop string, up to the token that completed
            it.
        text: Their text up to the stop string; empty without a tokenizer.
        finish_reason: Why it ended.
        logprobs: One entry per id, where they were asked for.
        stopped_by: The stop string that ended it.
        prompt_logprobs: One entry per token of the prompt that was read, the first excepted, where they were asked for.
        embedding: Of the prompt, as it was asked for.
    """

    ids: tuple[int, ...]
    text: str
    finish_reason: FinishReason
    logprobs: tuple[TokenLogprob, ...] | None = None
    stopped_by: str | None = None
    prompt_logprobs: tuple[TokenLogprob, ...] | None = None
    embedding: tuple[float, ...] | None = None


@dataclass(frozen=True)
class Event:
    """News of one continuation.

    Attributes:
        ticket: Which request, as ``submit`` numbered it.
        sample: Which of its ``n`` continuations.
        ids: Tokens written since the last event.
        text: Whole characters that have become certain; a beginning of a stop string is held back.
        completion: The whole, in the last event of a continuation.
        logprobs: One entry per id, where they were asked for.
    """

    ticket: int
    sample: int
    ids: tuple[int, ...]
    text: str
    completion: Completion | None = None
    logprobs: tuple[TokenLogprob, ...] = ()
