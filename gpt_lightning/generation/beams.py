"""Beam search: the likeliest texts that a search over a few beginnings at a time finds, instead of draws.

The rules are those of Hugging Face's ``generate`` with ``early_stopping=False``, so that results can be compared: of
the best candidates the unfinished ones go on; finished ones are ranked by their log-probability
over length ** length_penalty, the token that ended them included; and the search ends when no running text, at its
present length, would rank above the worst finished one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.engine import check_request
from gpt_lightning.generation.requests import FinishReason, Request
from gpt_lightning.generation.sampling import check_logits
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.slots import SlotCache

_LARGEST_PENALTY = 10.0


@dataclass(frozen=True)
class Beam:
    """A text that the search found.

    Attributes:
        ids: Its tokens, without the one that ended it.
        score: Sum of the natural log-probabilities, ending token included, over length ** length_penalty.
        finish_reason: ``stop`` at a stop token, ``length`` at ``max_tokens`` or the model's last position.
    """

    ids: tuple[int, ...]
    score: float
    finish_reason: FinishReason


@torch.inference_mode()
def search_beams(
    model: GPT,
    prompt: Sequence[int],
    *,
    beams: int,
    max_tokens: int,
    length_penalty: float = 1.0,
    stop_ids: Sequence[int] = (),
) -> list[Beam]:
    """The best texts, best first.

    Args:
        model: The decoder, in evaluation mode.
        prompt: Token ids; must leave a position.
        beams: Texts followed at once, and most texts returned.
        max_tokens: Most tokens of a text, 1 or more.
        length_penalty: -10 to 10; 0 ranks by the whole log-probability, which favours short texts, 1 by the mean per
            token.
        stop_ids: Tokens that end a text.

    Raises:
        ConfigError: A count is not positive, or the penalty out of range.
        CheckpointError: The model's logits are not finite.
        DataError: The prompt is empty, too long or has unknown ids.
    """
    if beams < 1 or max_tokens < 1:
        raise ConfigError(
            "beams and max_tokens are counts", got={"beams": beams, "max_tokens": max_tokens}, allowed=">= 1"
        )
    check_length_penalty(length_penalty)
    check_request(Request(prompt, slide=False), model, model.block_size, None)
    ids = [int(token) for token in prompt]
    # The last token needs no position: nothing is read behind it.
    longest = min(max_tokens, model.block_size - len(ids) + 1)
    cache = SlotCache(model.config.n_layer, beams, min(model.block_size, len(ids) + longest))
    device = model.token_embedding.weight.device
    hidden: Tensor = model(torch.tensor([ids], device=device), cache.sequence(0), opens=model.reads_openly())
    search = _Search(beams, longest, length_penalty, frozenset(stop_ids))
    parents, tokens = search.extend(model.logits(hidden[:, -1]))
    before = [ids[-1]] * len(parents)
    while not search.done:
        held = len(ids) + search.length - 1
        cache.reorder(torch.tensor(parents, device=device), held)
        rows = cache.rows(range(len(tokens)), [held] * len(tokens), device)
        hidden = model.advance(torch.tensor(tokens, device=device), torch.tensor(before, device=device), rows)
        last = tokens
        parents, tokens = search.extend(model.logits(hidden))
        before = [last[parent] for parent in parents]
    return search.finished


def check_length_penalty(length_penalty: float) -> None:
    """Refuse a power of the length that no score survives.

    Raises:
        ConfigError: It is out of range.
    """
    if not -_LARGEST_PENALTY <= length_penalty <= _LARGEST_PENALTY:
        raise ConfigError(
            "length_penalty is out of range",
            got=length_penalty,
            allowed=f"-{_LARGEST_PENALTY:g} to {_LARGEST_PENALTY:g}; 0 = whole log-probability, 1 = mean per token",
        )


class _Search:
    """The bookkeeping: what runs and what is finished."""

    def __init__(self, beams: int, longest: int, length_penalty: float, stop_ids: frozenset[int]) -> None:
        self._beams, self._longest, self._stop_ids = beams, longest, stop_ids
        self._penalty = length_penalty
        self._running: list[tuple[float, tuple[int, ...]]] = [(0.0, ())]
        self.length = 0
        self.finished: list[Beam] = []
        self.done = False

    def extend(self, logits: Float[Tensor, "beams vocab"]) -> tuple[list[int], list[int]]:
        """Take one more token; returns for every running text which one it goes on from, and its new token."""
        check_logits(logits)
        scores = torch.tensor([score for score, _ in self._running], device=logits.device)
        sums = logits.float().log_softmax(dim=-1) + scores[:, None]
        # So many that enough remain to go on from, whichever of them end.
        candidates = self._beams * max(2, 1 + len(self._stop_ids))
        values, places = sums.flatten().topk(min(candidates, sums.numel()))
        self.length += 1
        parents: list[int] = []
        tokens: list[int] = []
        running: list[tuple[float, tuple[int, ...]]] = []
        for rank, (score, place) in enumerate(zip(values.tolist(), places.tolist(), strict=True)):
            parent, token = divmod(place, logits.shape[-1])
            text = self._running[parent][1]
            if token in self._stop_ids or self.length == self._longest:
                if rank < self._beams:
                    self._finish(text, token, score)
            elif len(running) < self._beams:
                parents.append(parent)
                tokens.append(token)
                running.append((score, (*text, token)))
        self._running = running
        full = len(self.finished) == self._beams
        self.done = not running or (full and self._rank(running[0][0]) <= self.finished[-1].score)
        return parents, tokens

    def _rank(self, score: float) -> float:
        return float(score / self.length**self._penalty)

    def _finish(self, text: tuple[int, ...], token: int, score: float) -> None:
        stopped = token in self._stop_ids
        beam = Beam(text if stopped else (*text, token), self._rank(score), "stop" if stopped else "length")
        self.finished = sorted([*self.finished, beam], key=lambda each: -each.score)[: self._beams]
