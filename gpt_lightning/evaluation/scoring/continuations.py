"""A beginning that many sequences share, encoded once.

How likely texts are behind contexts: the one question that choices, labels and cloze tasks ask of a model.

What is asked twice is computed once. Many questions share their beginning (the few-shot examples), the choices of one
question share its context, and labels of one token are read from the same position:

    1. sequences that are a beginning of another one are read from that one's hidden states
    2. the beginning of all sequences is encoded once
    3. where it pays, the context of a question is encoded once, and its choices continue it
    4. the rest is padded on the right and run in batches of similar length

The result is that of one forward pass for each pair, up to rounding (tested), and logits exist only for the positions
that are read. A model that reads prompts openly (a prefix LM) shares nothing: what a context becomes depends on where
it ends.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gpt_lightning.errors import DataError
from gpt_lightning.model.attention_mask import Opens
from gpt_lightning.model.cache import KeyValueCache, LayerCache
from gpt_lightning.model.gpt import GPT


class _PrefixLayer(LayerCache):
    """Keys and values of the prefix, put before those of every row of a batch; not changed by that."""

    def __init__(self, capacity: int, held: tuple[Tensor, Tensor] | None) -> None:
        super().__init__(capacity)
        self.length = 0 if held is None else held[0].shape[2]
        self._held = held
        self.latest: tuple[Tensor, Tensor] | None = None

    def extend(
        self,
        keys: Float[Tensor, "batch heads new head"],
        values: Float[Tensor, "batch heads new head"],
    ) -> tuple[Float[Tensor, "batch heads time head"], Float[Tensor, "batch heads time head"]]:
        """Keys and values of the prefix and of ``new`` positions behind it."""
        if self._held is not None:
            before = [part.expand(len(keys), -1, -1, -1) for part in self._held]
            keys, values = torch.cat((before[0], keys), dim=2), torch.cat((before[1], values), dim=2)
        self.latest = (keys, values)
        return keys, values


class Prefix(KeyValueCache):
    """The cache of a beginning: any number of batches may continue it, each row from there.

    Args:
        model: Whose cache.
        tokens: The beginning; may be empty.
        before: A beginning of it that is encoded already.
    """

    tokens: tuple[int, ...]
    _prefix_layers: list[_PrefixLayer]

    def __init__(self, model: GPT, tokens: Sequence[int] = (), before: Prefix | None = None) -> None:
        super().__init__(model.config.n_layer, model.block_size)
        self.tokens = (*(() if before is None else before.tokens), *tokens)
        self._last = torch.tensor(self.tokens[-1:], dtype=torch.long, device=model.token_embedding.weight.device)
        held: list[tuple[Tensor, Tensor] | None] = [None] * model.config.n_layer
        if tokens:
            row = torch.tensor([list(tokens)], dtype=torch.long, device=self._last.device)
            start = Prefix(model) if before is None else before
            with torch.inference_mode():
                model(row, start)
            held = [layer.latest for layer in start._prefix_layers]
        elif before is not None:
            held = [layer._held for layer in before._prefix_layers]
        self._prefix_layers = [_PrefixLayer(self.capacity, each) for each in held]
        self.layers = list(self._prefix_layers)

    def swap_last_tokens(self, tokens: Int[Tensor, "batch new"]) -> Int[Tensor, " batch"] | None:
        """The prefix's last token for each row; the prefix stays."""
        return self._last.expand(len(tokens)) if self.tokens else None


Pair = tuple[Sequence[int], Sequence[int]]
"""Ids of a context (at least one) and of what follows (at least one)."""

_POSITIONS = 512


@dataclass(frozen=True)
class Scored:
    """Of a continuation.

    Attributes:
        nats: Negative log-probability of all its tokens.
        num_tokens: How many.
        is_greedy: Whether each of them is the likeliest one.
    """

    nats: float
    num_tokens: int
    is_greedy: bool


@dataclass(frozen=True)
class _Reading:
    """Targets that are predicted from position ``first`` of a sequence on; the answer to question ``index``."""

    first: int
    targets: tuple[int, ...]
    index: int


@dataclass
class _Row:
    """A sequence to run, and what is read from it."""

    tokens: tuple[int, ...]
    readings: list[_Reading] = field(default_factory=list)

    @property
    def context(self) -> tuple[int, ...]:
        """Up to the first position that is read."""
        return self.tokens[: min(reading.first for reading in self.readings)]


def score_continuations(model: GPT, pairs: Sequence[Pair], *, max_tokens: int = 4096) -> list[Scored]:
    """Score the second of each pair behind the first.

    A pair longer than the model's positions loses the beginning of its context.

    Args:
        model: In evaluation mode.
        pairs: Contexts and continuations, both of at least one token.
        max_tokens: Of a forward pass, padding included.

    Raises:
        DataError: A continuation is longer than the model's positions.
    """
    rows = list(_plan(pairs, model.block_size))
    if model.reads_openly():
        found = _run(model, Prefix(model), rows, max_tokens)
        return [found[index] for index in range(len(pairs))]
    rows = _merge(rows)
    results: dict[int, Scored] = {}
    if not rows:
        return []
    common = _common_length(rows[0].tokens, rows[-1].tokens)
    shared = Prefix(model, rows[0].tokens[: min(common, *(len(row.context) for row in rows))])
    # A forward pass of its own costs as much as a few tokens on a CPU, and as many hundreds on an accelerator.
    cost = 32 if model.token_embedding.weight.device.type == "cpu" else 512
    loose: list[_Row] = []
    for context, group in groupby(rows, key=lambda row: row.context):
        members, own = list(group), context[len(shared.tokens) :]
        if (len(members) - 1) * len(own) > cost:
            results |= _run(model, Prefix(model, own, shared), members, max_tokens)
        else:
            loose += members
    results |= _run(model, shared, loose, max_tokens)
    return [results[index] for index in range(len(pairs))]


def _plan(pairs: Sequence[Pair], block_size: int) -> Iterator[_Row]:
    for index, (context, continuation) in enumerate(pairs):
        assert min(len(context), len(continuation)) > 0, "a pair needs a context and a continuation"
        if len(continuation) > block_size:
            raise DataError(
                "A continuation is longer than the model's positions",
                got=len(continuation),
                allowed=f"at most block_size={block_size} tokens",
                fix="Leave the item out, or take a model with a larger block_size.",
            )
        tokens = tuple(int(token) for token in (*context, *continuation))[-(block_size + 1) :]
        targets = tokens[-len(continuation) :]
        yield _Row(tokens[:-1], [_Reading(len(tokens) - 1 - len(targets), targets, index)])


def _merge(rows: list[_Row]) -> list[_Row]:
    """The rows in order, those that another one begins with read from that one."""
    kept: list[_Row] = []
    for row in sorted(rows, key=lambda each: each.tokens, reverse=True):
        # In descending order a beginning comes right behind all that continue it.
        if kept and kept[-1].tokens[: len(row.tokens)] == row.tokens:
            kept[-1].readings += row.readings
        else:
            kept.append(row)
    return kept[::-1]


def _common_length(first: Sequence[int], second: Sequence[int]) -> int:
    length = 0
    for a, b in zip(first, second, strict=False):
        if a != b:
            break
        length += 1
    return length


def _run(model: GPT, prefix: Prefix, rows: list[_Row], max_tokens: int) -> dict[int, Scored]:
    """Run the rows behind a prefix of all of them."""
    results: dict[int, Scored] = {}
    skip = len(prefix.tokens)
    rows = sorted(rows, key=lambda row: len(row.tokens), reverse=True)
    while rows:
        size = max(1, max_tokens // (len(rows[0].tokens) - skip))
        batch, rows = rows[:size], rows[size:]
        results |= _read(model, prefix, batch)
    return results


@torch.inference_mode()
def _read(model: GPT, prefix: Prefix, batch: list[_Row]) -> dict[int, Scored]:
    device, skip = model.token_embedding.weight.device, len(prefix.tokens)
    tokens = torch.zeros(len(batch), max(len(row.tokens) for row in batch) - skip, dtype=torch.long)
    for place, row in enumerate(batch):
        tokens[place, : len(row.tokens) - skip] = torch.tensor(row.tokens[skip:])
    # Padding stands behind: no position sees what comes after it, unless that belongs to an open context.
    hidden = model(tokens.to(device), prefix if skip else None, opens=_open_contexts(model, batch, tokens.shape[1]))
    wanted = [
        (place, reading.first - skip + step, target, reading.index)
        for place, row in enumerate(batch)
        for reading in row.readings
        for step, target in enumerate(reading.targets)
    ]
    places = sorted({(place, position) for place, position, _, _ in wanted})
    number = {each: index for index, each in enumerate(places)}
    rows, positions = torch.tensor(places, device=device).T
    losses, hits = _compare(
        model, hidden[rows, positions], [number[place, position] for place, position, _, _ in wanted],
        [target for _, _, target, _ in wanted],
    )  # fmt: skip
    results: dict[int, Scored] = {}
    for (_, _, _, index), loss, hit in zip(wanted, losses, hits, strict=True):
        before = results.get(index, Scored(0.0, 0, True))
        results[index] = Scored(before.nats + loss, before.num_tokens + 1, before.is_greedy and hit)
    return results


def _open_contexts(model: GPT, batch: list[_Row], time: int) -> Opens:
    """The contexts of a model that reads them openly, up to the position that predicts the continuation."""
    if not model.reads_openly():
        return False
    lengths = torch.tensor([len(row.context) + 1 for row in batch], device=model.token_embedding.weight.device)
    return torch.arange(time, device=lengths.device) < lengths[:, None]


def _compare(
    model: GPT, hidden: Float[Tensor, "positions embed"], rows: list[int], targets: list[int]
) -> tuple[list[float], list[bool]]:
    """Nats of each target at its row of ``hidden``, and whether it is the likeliest there."""
    losses, hits = torch.zeros(len(rows), dtype=torch.float64), torch.zeros(len(rows), dtype=torch.bool)
    where, wanted = torch.tensor(rows), torch.tensor(targets)
    for start in range(0, len(hidden), _POSITIONS):
        logits = model.logits(hidden[start : start + _POSITIONS])
        logits = logits.float() if logits.itemsize < 4 else logits
        here = (where >= start) & (where < start + _POSITIONS)
        mine, target = (where[here] - start).to(logits.device), wanted[here].to(logits.device)
        losses[here] = -logits.log_softmax(dim=-1)[mine, target].double().cpu()
        hits[here] = (logits.argmax(dim=-1)[mine] == target).cpu()
    return losses.tolist(), hits.tolist()
