"""The engine: many requests, one model, continuous batching.

    submit ──> waiting ──> admitted: prompt read into a free slot ──> decoded with all others ──> done, slot free

``step`` admits what fits, reads prompts (``reading``: whole, or a piece per step) and brings every running text forward
by one token (by more where guesses prove right), all in one pass of the model. A slot that becomes free takes the next
request at once; nobody waits for the longest text.

A text does not depend on its company. Draws are a function of the request's seed and the position; prompts are encoded
alone; attention on a CPU runs row by row; and where the model's linear layers are packed (``packing``) their rounding
does not depend on the number of rows either, so that logits are equal bit for bit alone and in a busy batch. Elsewhere
(a GPU, a model that is not packed) logits agree up to rounding. Rows may go through different adapters of the model;
on a CPU each does so alone.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.adapters.layers import adapted_rows, adapter_names, find_switch
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.drafting import DraftCounts, Drafter, Lookup
from gpt_lightning.generation.prompt_cache import PromptCache
from gpt_lightning.generation.reading import PromptReader
from gpt_lightning.generation.requests import Completion, Event, Request
from gpt_lightning.generation.sampling import choose_tokens
from gpt_lightning.generation.sequences import RunningSequence
from gpt_lightning.generation.text import TextTokenizer
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.slots import SlotCache


class Engine:
    """Continues prompts with a model.

    The model is put into evaluation mode and must stay there, with the same weights, while requests run. An engine is
    used from one thread.

    Args:
        model: The decoder.
        tokenizer: Turns ids into text; None = ids only, and no stop strings.
        slots: Texts decoded at once, at most.
        capacity: Most tokens of a text, prompt included, before it slides or ends. None = the model's ``block_size``.
        piece_tokens: Prompts are read in pieces of so many tokens, about one per step, so that a long one does not hold
            up the others; the bits of a text depend on it, and on nothing else that is at work. None = whole.
        prompt_cache_bytes: Memory for pieces of prompts that were read, which are not read again; 0 = none. Not
            without ``piece_tokens``. Changes no bit.
        drafter: Who guesses, where a request has ``draft_tokens``; None = ``Lookup``. Changes no bit.

    Attributes:
        drafts: How guessing went so far.

    Raises:
        ConfigError: There is no slot, ``capacity`` is not within the model's positions, or a length is not positive.
    """

    def __init__(
        self,
        model: GPT,
        tokenizer: TextTokenizer | None = None,
        *,
        slots: int = 8,
        capacity: int | None = None,
        piece_tokens: int | None = None,
        prompt_cache_bytes: int = 0,
        drafter: Drafter | None = None,
    ) -> None:
        limit = model.block_size if capacity is None else capacity
        if not 1 <= limit <= model.block_size:
            raise ConfigError(
                "capacity is not within the model's positions", got=limit, allowed=f"1 to {model.block_size}"
            )
        if prompt_cache_bytes < 0 or (prompt_cache_bytes > 0 if piece_tokens is None else piece_tokens < 1):
            raise ConfigError(
                "prompts cannot be read so",
                got={"piece_tokens": piece_tokens, "prompt_cache_bytes": prompt_cache_bytes},
                allowed="pieces of 1 or more tokens; a cache of 0 or more bytes, only with pieces",
            )
        self.model, self.tokenizer, self.capacity = model.eval(), tokenizer, limit
        self._switch = find_switch(model)
        self._cache = SlotCache(model.config.n_layer, slots, limit)
        self._free = list(reversed(range(slots)))
        self._waiting: deque[RunningSequence] = deque()
        self._running: list[RunningSequence] = []
        found = PromptCache(prompt_cache_bytes) if prompt_cache_bytes else None
        self.reader = PromptReader(model, self._cache, piece_tokens=piece_tokens, prompt_cache=found)
        self._tickets = 0
        self._drafter, self.drafts = drafter or Lookup(), DraftCounts()

    @property
    def slots(self) -> int:
        """Texts decoded at once, at most."""
        return self._cache.slots

    @property
    def busy(self) -> bool:
        """Whether a request is waiting or running."""
        return bool(self._waiting or self._running)

    @property
    def load(self) -> tuple[int, int]:
        """Texts that run, and that wait."""
        return len(self._running), len(self._waiting)

    def submit(self, request: Request) -> int:
        """Queue a request; returns its ticket, by which events name it.

        Raises:
            DataError: The prompt has an id outside the vocabulary, or leaves no room and must not slide.
            ConfigError: There are stop strings and no tokenizer.
        """
        check_request(request, self.model, self.capacity, self.tokenizer)
        ticket, self._tickets = self._tickets, self._tickets + 1
        self._waiting.extend(RunningSequence(ticket, request, each, self.tokenizer) for each in range(request.n))
        return ticket

    def cancel(self, ticket: int) -> None:
        """Stop a request; its slots are free at once, and no event of it follows."""
        self._waiting = deque(each for each in self._waiting if each.ticket != ticket)
        for each in [each for each in self._running if each.ticket == ticket]:
            self._retire(each)

    @torch.inference_mode()
    def step(self) -> list[Event]:
        """Bring every text forward; the news of each that has any, in the order of their admission.

        Raises:
            CheckpointError: The model's logits are not finite.
        """
        self._admit()
        for sequence, logits in self.reader.read([each for each in self._running if each.reading]):
            if sequence.end_reading():
                self._choose([sequence], logits[None])
        going = [each for each in self._running if each.finish_reason is None and not each.reading]
        full = [each for each in going if each.held == self.capacity]
        for each in full:
            self._slide(each)
        self._decode([each for each in going if each not in full])
        events = [event for event in (each.tell() for each in self._running) if event is not None]
        for each in [each for each in self._running if each.finish_reason is not None]:
            self._retire(each)
        return events

    def stream(self, request: Request) -> Iterator[Event]:
        """The events of one request, with no other at work; leaving the loop early cancels it."""
        ticket = self.submit(request)
        left = request.n
        try:
            while left:
                for event in self.step():
                    if event.ticket == ticket:
                        left -= event.completion is not None
                        yield event
        finally:
            self.cancel(ticket)

    def complete(self, requests: Iterable[Request]) -> Iterator[tuple[int, list[Completion]]]:
        """Answer requests as slots become free; they are taken from the iterable only then.

        Yields:
            Number of a request (0, 1, 2, ... as they came) and its ``n`` completions, as soon as it is done.
        """
        source = enumerate(requests)
        numbers: dict[int, int] = {}
        found: dict[int, dict[int, Completion]] = {}
        wanted: dict[int, int] = {}
        exhausted = False
        while not exhausted or numbers:
            while not exhausted and sum(self.load) < self._cache.slots:
                following = next(source, None)
                if following is None:
                    exhausted = True
                    break
                number, request = following
                ticket = self.submit(request)
                numbers[ticket], found[ticket], wanted[ticket] = number, {}, request.n
            for event in self.step():
                if event.completion is not None and event.ticket in numbers:
                    done = found[event.ticket]
                    done[event.sample] = event.completion
                    if len(done) == wanted[event.ticket]:
                        yield numbers.pop(event.ticket), [done[each] for each in sorted(done)]

    def generate(self, requests: Sequence[Request]) -> list[list[Completion]]:
        """All completions of all requests, in their order."""
        return [completions for _, completions in sorted(self.complete(requests), key=lambda pair: pair[0])]

    def _admit(self) -> None:
        while self._waiting and self._free:
            sequence = self._waiting.popleft()
            sequence.slot = self._free.pop()
            self._running.append(sequence)

    def _slide(self, sequence: RunningSequence) -> None:
        """The positions are used up: go on with the last half of the context, or end."""
        if not sequence.request.slide:
            sequence.finish_reason = "length"
            return
        sequence.slid = True
        logits = self.reader.fill(sequence, sequence.context[-max(1, self.capacity // 2) :])
        self._choose([sequence], logits[None])

    def _decode(self, sequences: list[RunningSequence]) -> None:
        """One pass of the model over the newest token of each text, and the guesses behind it."""
        if not sequences:
            return
        plans = [[each.context[-1], *self._guess(each)] for each in sequences]
        self.drafts.passes += 1
        self.drafts.guessed += sum(len(plan) - 1 for plan in plans)
        tokens: list[int] = []
        before: list[int] = []
        slots: list[int] = []
        positions: list[int] = []
        for each, plan in zip(sequences, plans, strict=True):
            tokens += plan
            before += [each.context[-2], *plan[:-1]]
            slots += [each.slot] * len(plan)
            positions += range(each.held, each.held + len(plan))
        device = self.model.token_embedding.weight.device
        places = self._cache.rows(slots, positions, device)
        adapters = [each.request.adapter for each, plan in zip(sequences, plans, strict=True) for _ in plan]
        with adapted_rows(self._switch, adapters, device):
            hidden = self.model.advance(
                torch.tensor(tokens, device=device), torch.tensor(before, device=device), places
            )
            logits = self.model.logits(hidden)
        self._follow(sequences, plans, logits, hidden)

    def _guess(self, sequence: RunningSequence) -> list[int]:
        request = sequence.request
        room = min(request.max_tokens - sequence.written, self.capacity - sequence.held) - 1
        most = min(request.draft_tokens, room)
        return self._drafter.propose(sequence, most) if most > 0 else []

    def _follow(
        self,
        sequences: list[RunningSequence],
        plans: list[list[int]],
        logits: Float[Tensor, "rows vocab"],
        hidden: Float[Tensor, "rows embed"],
    ) -> None:
        """Choose behind every token that was right to assume; a guess is right where it is what gets chosen."""
        firsts = [0, *accumulate(len(plan) for plan in plans)]
        alive = list(zip(sequences, plans, firsts, strict=False))
        depth = 0
        while alive:
            rows = [first + depth for _, _, first in alive]
            for (each, _, _), row in zip(alive, rows, strict=True):
                each.held += 1
                self._drafter.observe(each, hidden[row])
            chosen = self._choose([each for each, _, _ in alive], logits if len(rows) == len(logits) else logits[rows])
            depth += 1
            alive = [
                (each, plan, first)
                for (each, plan, first), token in zip(alive, chosen, strict=True)
                if each.finish_reason is None and depth < len(plan) and plan[depth] == token
            ]
            self.drafts.accepted += len(alive)

    def _choose(self, sequences: list[RunningSequence], logits: Float[Tensor, "rows vocab"]) -> list[int]:
        """The next token of each sequence; those with equal settings are chosen together."""
        chosen = [0] * len(sequences)
        left = list(range(len(sequences)))
        while left:
            sampling = sequences[left[0]].request.sampling
            group = [row for row in left if sequences[row].request.sampling == sampling]
            members = [sequences[row] for row in group]
            histories = [each.history for each in members if each.history is not None]
            tokens = choose_tokens(
                logits if len(group) == len(logits) else logits[group],
                sampling,
                [each.uniform for each in members],
                histories or None,
            )
            for row, token in zip(group, tokens, strict=True):
                chosen[row] = token
            left = [row for row in left if row not in group]
        for sequence, token, row in zip(sequences, chosen, logits, strict=True):
            sequence.take(token, row)
        return chosen

    def _retire(self, sequence: RunningSequence) -> None:
        self._running.remove(sequence)
        self._free.append(sequence.slot)
        self.reader.forget(sequence)
        self._drafter.forget(sequence)


def check_request(request: Request, model: GPT, capacity: int, tokenizer: TextTokenizer | None) -> None:
    """What a request must fulfil beyond its own ranges.

    Raises:
        DataError: The prompt has an id outside the vocabulary, or leaves no room and must not slide.
        ConfigError: There are stop strings and no tokenizer, a biased token is outside the vocabulary, or an adapter is
            none of the model's.
    """
    biased = max(request.sampling.logit_bias or (0,))
    if biased >= model.vocab_size:
        raise ConfigError(
            "logit_bias names a token that the model does not have",
            got=biased,
            allowed=f"ids 0 to {model.vocab_size - 1}",
        )
    wrong = next((token for token in request.prompt if not 0 <= token < model.vocab_size), None)
    if wrong is not None:
        raise DataError(
            "the prompt has a token that the model does not know",
            got=int(wrong),
            allowed=f"ids 0 to {model.vocab_size - 1}",
            fix="Use the tokenizer the model was trained with.",
        )
    if not request.slide and len(request.prompt) + (request.max_tokens > 0) > capacity:
        raise DataError(
            "the prompt leaves no position for an answer" if request.max_tokens else "the prompt is too long",
            got=f"{len(request.prompt)} tokens",
            allowed=f"fewer than {capacity + (request.max_tokens == 0)}",
            fix="Shorten the prompt.",
        )
    if request.adapter and request.adapter not in (known := adapter_names(model)):
        raise ConfigError(
            "the model has no adapter of this name",
            got=request.adapter,
            allowed=", ".join(known) or "none: it has no adapters",
            fix="Name its folder with --adapter.",
        )
    if request.stop and tokenizer is None:
        raise ConfigError("stop strings need a tokenizer", got=request.stop, fix="Use stop_ids.")
