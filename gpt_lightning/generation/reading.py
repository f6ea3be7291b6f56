"""Prompts are read into slots: whole, or in pieces so that no long prompt keeps the others waiting.

    tokens   0 ....... 64 ...... 128 ..... 170
    pieces   |  first   |  second  |  last  |     one or few per step; the last gives the logits of the first token

Borders of pieces are multiples of their length counted from position 0. A product of other shapes rounds otherwise, so
borders that depended on the load would let the text depend on it. For the same reason a piece that the prompt cache
holds is taken over only where the same piece would have been read.

A prompt that the model reads openly (``GPT.reads_openly``), each position seeing all of them, is always read whole.
Where a prompt's own log-probabilities are asked for it is read causally: a token that is seen cannot be predicted.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.adapters.layers import adapted_rows, find_switch
from gpt_lightning.generation.prompt_cache import PromptCache, name_pieces
from gpt_lightning.generation.sequences import RunningSequence
from gpt_lightning.model.cache import KeyValueCache
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.slots import SlotCache

_LOGIT_ROWS = 64
"""Positions whose logits are computed at once, where those of a prompt are asked for."""


@dataclass
class _Prompt:
    """A prompt that is being read: its tokens, where they go, and the keys of its whole pieces."""

    tokens: list[int]
    cache: KeyValueCache
    keys: list[bytes] = field(default_factory=list)


class PromptReader:
    """Fills slots with prompts.

    Args:
        model: The decoder.
        slots: Where keys and values go.
        piece_tokens: Length of a piece, and the tokens read per step at most (one piece always is); None = every
            prompt whole and at once.
        prompt_cache: Pieces read before; None = there are none.

    Attributes:
        tokens_read: Prompt tokens that the model was given so far.
        tokens_found: Those that the prompt cache held instead.
    """

    def __init__(
        self, model: GPT, slots: SlotCache, *, piece_tokens: int | None, prompt_cache: PromptCache | None
    ) -> None:
        self._model, self._slots, self._piece, self._found = model, slots, piece_tokens, prompt_cache
        self._switch = find_switch(model)
        self._open: dict[RunningSequence, _Prompt] = {}
        self._firsts: dict[int, tuple[RunningSequence, Tensor | None]] = {}
        self._steps = self.tokens_read = self.tokens_found = 0

    def read(self, sequences: Sequence[RunningSequence]) -> Iterator[tuple[RunningSequence, Float[Tensor, " vocab"]]]:
        """One step's worth of reading.

        Args:
            sequences: Those whose prompt is not read yet, in the order of their admission.

        Yields:
            A sequence whose prompt is read to its end, and the logits behind it.
        """
        spent = 0
        for sequence in self._order(sequences):
            logits = self._take_over(sequence)
            if logits is None:
                if self._waits(sequence):
                    continue
                cost = self._size_next(sequence)
                if self._piece is not None and spent and spent + cost > self._piece:
                    continue
                spent += cost
                with self._adapted(sequence):
                    logits = self._read_piece(sequence)
            if logits is not None:
                yield sequence, logits

    def fill(self, sequence: RunningSequence, tokens: list[int]) -> Float[Tensor, " vocab"]:
        """Fill a slot anew with ``tokens`` at once; logits behind the last of them."""
        sequence.held = len(tokens)
        with self._adapted(sequence):
            return self._model.logits(
                self._run(tokens, self._slots.sequence(sequence.slot), opens=self._is_open(sequence))[:, -1]
            )[0]

    def _adapted(self, sequence: RunningSequence) -> AbstractContextManager[None]:
        return adapted_rows(self._switch, [sequence.request.adapter], self._device)

    def forget(self, sequence: RunningSequence) -> None:
        """The sequence gives up its slot."""
        self._open.pop(sequence, None)
        if self._firsts.get(sequence.ticket, (None,))[0] is sequence:
            del self._firsts[sequence.ticket]

    def _order(self, sequences: Sequence[RunningSequence]) -> list[RunningSequence]:
        """Short prompts first, so that none waits for a long one; at every other step the oldest, so that it ends."""
        if self._piece is None or len(sequences) < 2:
            return list(sequences)
        self._steps += 1
        ordered = sorted(sequences, key=lambda each: len(each.context) - each.held)
        return ordered if self._steps % 2 else [sequences[0], *(each for each in ordered if each is not sequences[0])]

    def _take_over(self, sequence: RunningSequence) -> Tensor | None:
        """What the request's first continuation made of the prompt, where it has."""
        first, logits = self._firsts.get(sequence.ticket, (None, None))
        if first is None or logits is None or first.slid:
            return None
        sequence.held = min(len(sequence.context), self._slots.capacity)
        self._slots.copy(first.slot, sequence.slot, sequence.held)
        sequence.share_report(first)
        return logits

    def _waits(self, sequence: RunningSequence) -> bool:
        """Whether the request's first continuation still reads."""
        first, logits = self._firsts.get(sequence.ticket, (sequence, None))
        return first is not sequence and logits is None and not first.slid

    def _open_prompt(self, sequence: RunningSequence) -> _Prompt:
        if sequence in self._open:
            return self._open[sequence]
        tokens = sequence.context[-self._slots.capacity :]
        keys: list[bytes] = []
        length = 0
        if self._piece is not None and self._found is not None and not self._is_open(sequence):
            adapter = sequence.request.adapter
            scope = self._switch.active if self._switch is not None and adapter is None else adapter
            keys = name_pieces(tokens, self._piece, scope=scope or "")
            # The last piece is read in any case: its last row gives the logits.
            usable = [] if sequence.request.reports_prompt else keys[: (len(tokens) - 1) // self._piece]
            for piece in self._found.find(usable):
                self._slots.put(sequence.slot, length, piece)
                length += self._piece
        last = None if length == 0 else torch.tensor([tokens[length - 1]], device=self._device)
        cache = self._slots.sequence(sequence.slot, length=length, last_tokens=last)
        sequence.held = length
        self.tokens_found += length
        if sequence.request.n > 1:
            self._firsts[sequence.ticket] = sequence, None
        self._open[sequence] = _Prompt(tokens, cache, keys)
        return self._open[sequence]

    def _size_next(self, sequence: RunningSequence) -> int:
        left = len(self._open_prompt(sequence).tokens) - sequence.held
        return left if self._piece is None or self._is_open(sequence) else min(left, self._piece)

    def _is_open(self, sequence: RunningSequence) -> bool:
        request = sequence.request
        return request.prompt_logprobs is None and self._model.reads_openly(whole=request.embed is not None)

    def _read_piece(self, sequence: RunningSequence) -> Tensor | None:
        """The next piece; logits behind it if it was the last."""
        prompt, start = self._open_prompt(sequence), sequence.held
        end = start + self._size_next(sequence)
        hidden = self._run(prompt.tokens[start:end], prompt.cache, opens=self._is_open(sequence))
        sequence.held = end
        self._report(sequence, hidden[0], prompt.tokens[start + 1 : end + 1])
        number = start // self._piece if self._piece else 0
        if prompt.keys and self._piece and self._found is not None and end - start == self._piece:
            self._found.keep(prompt.keys[number], self._slots.take(sequence.slot, start, end))
        if end < len(prompt.tokens):
            return None
        logits = self._model.logits(hidden[:, -1])[0]
        if sequence.request.n > 1:
            self._firsts[sequence.ticket] = sequence, logits
        del self._open[sequence]
        return logits

    def _report(self, sequence: RunningSequence, hidden: Float[Tensor, "piece embed"], following: list[int]) -> None:
        """What is to be told of the prompt itself; row i is followed by ``following[i]``, the last maybe by nothing."""
        if sequence.request.embed is not None:
            sequence.add_hidden(hidden)
        if sequence.request.prompt_logprobs is not None:
            for start in range(0, len(following), _LOGIT_ROWS):
                rows = hidden[start : start + _LOGIT_ROWS]
                tokens = following[start : start + _LOGIT_ROWS]
                # One row of positions, which all go through the adapter of the row.
                sequence.add_prompt_logits(tokens, self._model.logits(rows[None, : len(tokens)])[0])

    @property
    def _device(self) -> torch.device:
        return self._model.token_embedding.weight.device

    def _run(self, tokens: list[int], cache: KeyValueCache, *, opens: bool) -> Float[Tensor, "1 time embed"]:
        self.tokens_read += len(tokens)
        hidden: Tensor = self._model(torch.tensor([tokens], device=self._device), cache, opens=opens)
        return hidden
