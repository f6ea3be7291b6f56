"""Completions as OpenAI's objects, whole or in chunks.

An answer has one id and one fingerprint for all of it. ``usage`` counts tokens exactly: those of every prompt (the
end-of-text token in front of a document included), and those written, without the token that ended a text.
"""

from __future__ import annotations

import secrets
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.generation.requests import Completion, TokenLogprob
from gpt_lightning.generation.text import StreamDecoder
from gpt_lightning.serving.calls import Call
from gpt_lightning.serving.versions import Version
from gpt_lightning.serving.worker import News

_LOWEST = -9999.0
"""What OpenAI writes for a token that is ruled out."""


def count_usage(call: Call, completions: Sequence[Completion]) -> dict[str, int]:
    """OpenAI's ``usage``; of the choices that were drawn, answered or not."""
    written = sum(len(each.ids) for each in completions)
    return {
        "prompt_tokens": call.prompt_tokens,
        "completion_tokens": written,
        "total_tokens": call.prompt_tokens + written,
    }


@dataclass(frozen=True)
class Chosen:
    """A completion that is answered; ``number`` is the choice's among all."""

    number: int
    prompt: int
    completion: Completion


def choose(call: Call, completions: Sequence[Completion]) -> list[Chosen]:
    """Of each prompt's completions the ones to answer: all, or with ``best_of`` those of the highest mean probability.

    Equally good ones keep their order.
    """
    chosen: list[Chosen] = []
    start = 0
    for number, request in enumerate(call.requests):
        found = list(completions[start : start + request.n])
        start += request.n
        if call.kept < request.n:
            found.sort(key=_mean_logprob, reverse=True)
        chosen += [Chosen(number * call.kept + n, number, each) for n, each in enumerate(found[: call.kept])]
    return chosen


def _mean_logprob(completion: Completion) -> float:
    logs = [entry.logprob for entry in completion.logprobs or ()]
    return sum(logs) / len(logs) if logs else float("-inf")


class Answer(ABC):
    """How the completions of a call are written down.

    Args:
        call: What was asked.
        version: Who answers.
        model: The name under which it was asked for.
    """

    prefix: str
    whole_object: str
    chunk_object: str

    def __init__(self, call: Call, version: Version, model: str) -> None:
        self.call, self.version, self.tokenizer = call, version, version.loaded.tokenizer
        self._head = {
            "id": f"{self.prefix}-{secrets.token_hex(12)}",
            "created": int(time.time()),
            "model": model,
            "system_fingerprint": version.fingerprint,
        }

    @property
    def id(self) -> str:
        """Of the answer, the same in all its chunks."""
        return str(self._head["id"])

    def texts(self, completions: Sequence[Completion]) -> list[str]:
        """What is answered: the text of each choice."""
        return [self.shown(each.completion) for each in choose(self.call, completions)]

    def shown(self, completion: Completion) -> str:
        """The text of a completion as it is answered."""
        return completion.text

    def whole(self, completions: Sequence[Completion]) -> dict[str, Any]:
        """The answer of a call that does not stream."""
        choices = [self.choice(each) for each in choose(self.call, completions)]
        usage = count_usage(self.call, completions)
        return {**self._head, "object": self.whole_object, "choices": choices, "usage": usage}

    def chunk(self, choices: list[dict[str, Any]], usage: dict[str, int] | None = None) -> dict[str, Any]:
        """A piece of a streamed answer."""
        body = {**self._head, "object": self.chunk_object, "choices": choices}
        # Where counts are asked for, every chunk has the key, as in OpenAI's streams.
        return {**body, "usage": usage} if self.call.include_usage else body

    def begin(self) -> Iterator[dict[str, Any]]:
        """Chunks before the first token."""
        return iter(())

    @abstractmethod
    def choice(self, chosen: Chosen) -> dict[str, Any]:
        """A whole choice."""

    @abstractmethod
    def tell(self, news: News) -> dict[str, Any] | None:
        """What is new of a choice, as a chunk; None where nothing is to be shown."""


class ChatAnswer(Answer):
    """``chat.completion``."""

    prefix, whole_object, chunk_object = "chatcmpl", "chat.completion", "chat.completion.chunk"

    def __init__(self, call: Call, version: Version, model: str) -> None:
        super().__init__(call, version, model)
        self._spoken: set[int] = set()

    def shown(self, completion: Completion) -> str:
        """Without the space behind the speaker's name, with which the model begins."""
        return completion.text.lstrip()

    def choice(self, chosen: Chosen) -> dict[str, Any]:
        """As in ``Answer``."""
        completion = chosen.completion
        message: dict[str, Any] = {
            "role": "assistant",
            "content": self.shown(completion),
            "refusal": None,
            "annotations": [],
        }
        logprobs = self._logprobs(completion.logprobs or ()) if self.call.logprobs else None
        return {
            "index": chosen.number,
            "message": message,
            "logprobs": logprobs,
            "finish_reason": completion.finish_reason,
        }

    def begin(self) -> Iterator[dict[str, Any]]:
        """The role of every choice."""
        for number in range(self.call.num_texts):
            delta = {"role": "assistant", "content": "", "refusal": None}
            yield self.chunk([{"index": number, "delta": delta, "logprobs": None, "finish_reason": None}])

    def tell(self, news: News) -> dict[str, Any] | None:
        """As in ``Answer``."""
        event, number = news.event, news.choice
        shown = event.text if number in self._spoken else event.text.lstrip()
        if shown:
            self._spoken.add(number)
        reason = None if event.completion is None else event.completion.finish_reason
        logprobs = self._logprobs(event.logprobs) if self.call.logprobs else None
        if not shown and reason is None and not event.logprobs:
            return None
        delta = {"content": shown} if shown or reason is None else {}
        return self.chunk([{"index": number, "delta": delta, "logprobs": logprobs, "finish_reason": reason}])

    def _logprobs(self, entries: Sequence[TokenLogprob]) -> dict[str, Any]:
        content = [
            {
                **self._describe(entry.token, entry.logprob),
                "top_logprobs": [self._describe(token, value) for token, value in entry.top],
            }
            for entry in entries
        ]
        return {"content": content, "refusal": None}

    def _describe(self, token: int, logprob: float) -> dict[str, Any]:
        piece = self.tokenizer.decode_bytes([token])
        text = piece.decode("utf-8", errors="replace")
        return {"token": text, "logprob": max(logprob, _LOWEST), "bytes": list(piece)}


class TextAnswer(Answer):
    """``text_completion``."""

    prefix, whole_object, chunk_object = "cmpl", "text_completion", "text_completion"

    def __init__(self, call: Call, version: Version, model: str) -> None:
        super().__init__(call, version, model)
        self._places: dict[int, TextPlaces] = {}

    def choice(self, chosen: Chosen) -> dict[str, Any]:
        """As in ``Answer``."""
        completion, request = chosen.completion, self.call.requests[chosen.prompt]
        echo = None if self.call.echo is None else self.call.echo[chosen.prompt]
        text = completion.text if echo is None else echo.text + completion.text
        logprobs = None
        if self.call.logprobs:
            places = TextPlaces(self.tokenizer)
            shown = [] if echo is None else list(request.prompt[:1])[echo.hidden :]
            entries = [*(completion.prompt_logprobs or ()), *(completion.logprobs or ())]
            logprobs = places.describe(entries, begins=shown)
        return {
            "index": chosen.number,
            "text": text,
            "logprobs": logprobs,
            "finish_reason": completion.finish_reason,
        }

    def begin(self) -> Iterator[dict[str, Any]]:
        """The prompts, where they are to be echoed."""
        for number in range(self.call.num_texts if self.call.echo is not None else 0):
            assert self.call.echo is not None
            yield self._piece(number, self.call.echo[number // self.call.kept].text, None, None)

    def tell(self, news: News) -> dict[str, Any] | None:
        """As in ``Answer``."""
        event = news.event
        reason = None if event.completion is None else event.completion.finish_reason
        if not event.text and reason is None and not event.logprobs:
            return None
        places = self._places.setdefault(news.choice, TextPlaces(self.tokenizer))
        logprobs = places.describe(event.logprobs) if self.call.logprobs else None
        return self._piece(news.choice, event.text, logprobs, reason)

    def _piece(self, number: int, text: str, logprobs: dict[str, Any] | None, reason: str | None) -> dict[str, Any]:
        return self.chunk([{"index": number, "text": text, "logprobs": logprobs, "finish_reason": reason}])


class TextPlaces:
    """Log-probabilities in the older shape: four lists, tokens as strings, with the place of each in the text."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer, self._decoder, self._place = tokenizer, StreamDecoder(tokenizer), 0

    def describe(self, entries: Sequence[TokenLogprob], begins: Sequence[int] = ()) -> dict[str, Any]:
        """The next tokens; in front of them those of ``begins``, which have no log-probability."""
        tokens = [*begins, *(entry.token for entry in entries)]
        unknown = [None] * len(begins)
        return {
            "tokens": [self._name(token) for token in tokens],
            "token_logprobs": [*unknown, *(max(entry.logprob, _LOWEST) for entry in entries)],
            "top_logprobs": [*unknown, *(self._top(entry) for entry in entries)],
            "text_offset": [self._go_on(token) for token in tokens],
        }

    def _go_on(self, token: int) -> int:
        place, self._place = self._place, self._place + len(self._decoder.feed(token))
        return place

    def _top(self, entry: TokenLogprob) -> dict[str, float]:
        # Two ids may be written alike; the likelier one keeps the name. The chosen token is always there.
        found: dict[str, float] = {}
        for token, value in (*entry.top, (entry.token, entry.logprob)):
            found.setdefault(self._name(token), max(value, _LOWEST))
        return found

    def _name(self, token: int) -> str:
        """A token's text, or OpenAI's way of writing bytes that are not whole characters."""
        piece = self._tokenizer.decode_bytes([token])
        try:
            return piece.decode("utf-8")
        except UnicodeDecodeError:
            return "bytes:" + "".join(f"\\x{byte:02x}" for byte in piece)
