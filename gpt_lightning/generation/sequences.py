"""One text in the making: its tokens, its characters, and when it is done."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.generation.requests import Completion, Event, FinishReason, Request, TokenLogprob
from gpt_lightning.generation.sampling import History, draw_uniform
from gpt_lightning.generation.text import StopWatch, StreamDecoder, TextTokenizer


class RunningSequence:
    """A continuation of a request from its first token to its last.

    Args:
        ticket: Number of the request.
        request: What was asked for.
        sample: Which of its continuations.
        tokenizer: Turns tokens into text; None = there is no text.

    Attributes:
        context: Prompt and text so far, as ids.
        slot: Its place in the cache.
        held: Positions of the slot that are filled; the newest token is not there yet.
        reading: Whether the prompt is still to be read.
        slid: Whether the beginning of the context was given up.
        finish_reason: Why it is done; None while it goes on.
    """

    def __init__(self, ticket: int, request: Request, sample: int, tokenizer: TextTokenizer | None) -> None:
        self.ticket, self.request, self.sample = ticket, request, sample
        self.context = [int(token) for token in request.prompt]
        self.slot, self.held, self.slid = -1, 0, False
        self.reading = request.max_tokens > 0 or request.reports_prompt
        self.finish_reason: FinishReason | None = None if self.reading else "length"
        self._prompt_length = len(self.context)
        self._decoder = None if tokenizer is None else StreamDecoder(tokenizer)
        self._watch = StopWatch(request.stop)
        ends = () if tokenizer is None else tokenizer.end_ids
        self._stop_ids = frozenset(ends if request.stop_ids is None else request.stop_ids)
        self._text: list[str] = []
        self._logprobs: list[TokenLogprob] = []
        self._prompt_logprobs: list[TokenLogprob] = []
        self._hidden, self._hidden_rows = torch.zeros((), dtype=torch.float64), 0
        self._told_ids = self._told_pieces = 0
        looks_back = request.sampling.looks_back
        # An end token in front of a prompt is no part of its text, and must not be the less likely for it.
        said = Counter(token for token in self.context if token not in self._stop_ids)
        self._history = History(said, Counter()) if looks_back else None

    @property
    def written(self) -> int:
        """Number of tokens written."""
        return len(self.context) - self._prompt_length

    @property
    def uniform(self) -> float:
        """What the next token is drawn with."""
        sampling = self.request.sampling
        return 0.0 if sampling.temperature == 0.0 else draw_uniform(self.request.seed, self.sample, self.written)

    @property
    def history(self) -> History | None:
        """What penalties look at; None where there are none."""
        return self._history

    def add_hidden(self, hidden: Float[Tensor, "piece embed"]) -> None:
        """Hidden states of the prompt's next tokens."""
        if self.request.embed == "last":
            self._hidden, self._hidden_rows = hidden[-1].double(), 1
            return
        self._hidden = self._hidden.to(hidden.device) + hidden.double().sum(dim=0)
        self._hidden_rows += len(hidden)

    def add_prompt_logits(self, tokens: Sequence[int], logits: Float[Tensor, "piece vocab"]) -> None:
        """The prompt's next tokens, and the logits of each."""
        count = self.request.prompt_logprobs or 0
        self._prompt_logprobs += [_describe(token, row, count) for token, row in zip(tokens, logits, strict=True)]

    def share_report(self, first: RunningSequence) -> None:
        """Take over what another continuation of the request has found of the prompt."""
        self._prompt_logprobs = first._prompt_logprobs
        self._hidden, self._hidden_rows = first._hidden, first._hidden_rows

    def end_reading(self) -> bool:
        """The prompt is read; whether there is anything to be written."""
        self.reading = False
        if not self.request.max_tokens:
            self.finish_reason = "length"
        return self.finish_reason is None

    def take(self, token: int, logits: Float[Tensor, " vocab"]) -> None:
        """Go on with ``token``, chosen from ``logits``."""
        if token in self._stop_ids:
            self.finish_reason = "stop"
            return
        self.context.append(token)
        if self._history is not None:
            self._history.text[token] += 1
        if self.request.logprobs is not None:
            self._logprobs.append(_describe(token, logits, self.request.logprobs))
        if self._decoder is not None:
            self._show(self._watch.feed(self._decoder.feed(token)))
        if self._watch.found is not None:
            self.finish_reason = "stop"
        elif self.written >= self.request.max_tokens:
            self.finish_reason = "length"

    def tell(self) -> Event | None:
        """What is new since the last call; the last event carries the completion."""
        done = self.finish_reason is not None
        if done and self._decoder is not None and self._watch.found is None:
            self._show(self._watch.feed(self._decoder.flush()))
            self._show(self._watch.flush())
        ids = tuple(self.context[self._prompt_length + self._told_ids :])
        text = "".join(self._text[self._told_pieces :])
        logprobs = tuple(self._logprobs[self._told_ids :])
        self._told_ids, self._told_pieces = self._told_ids + len(ids), len(self._text)
        if not ids and not done:
            return None
        return Event(self.ticket, self.sample, ids, text, self._complete() if done else None, logprobs)

    def _show(self, piece: str) -> None:
        if piece:
            self._text.append(piece)

    def _complete(self) -> Completion:
        assert self.finish_reason is not None
        logprobs = None if self.request.logprobs is None else tuple(self._logprobs)
        ids = tuple(self.context[self._prompt_length :])
        return Completion(
            ids,
            "".join(self._text),
            self.finish_reason,
            logprobs,
            self._watch.found,
            None if self.request.prompt_logprobs is None else tuple(self._prompt_logprobs),
            tuple((self._hidden / self._hidden_rows).tolist()) if self.request.embed is not None else None,
        )


def _describe(token: int, logits: Float[Tensor, " vocab"], count: int) -> TokenLogprob:
    logs = torch.log_softmax(logits.float(), dim=-1)
    values, ids = logs.topk(min(count, len(logs)))
    top: Sequence[tuple[int, float]] = list(zip(ids.tolist(), values.tolist(), strict=True))
    return TokenLogprob(token, float(logs[token]), tuple(top))
