"""A cache for sequences of different lengths that come and go: one slot each, decoded together.

A slot is memory for one sequence. It is filled in two ways that may alternate:

    SlotCache.sequence(slot)   many tokens of one sequence at once (a prompt), through ``GPT.forward``
    SlotCache.rows(...)        one token each of any sequences, at any position, through ``GPT.advance``

There is no padding: a sequence's first token is at position 0 of its slot, so learned positions, windows and what
looks at the token before need no special case. Several rows may belong to one slot (tokens proposed by speculative
decoding): all are written first, and then each sees what stands up to its own position.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.attention_mask import AttentionMask, DenseMask, Lead
from gpt_lightning.model.cache import KeyValueCache, LayerCache


class _LayerMemory:
    """Keys and values of all slots in one layer; reserved when the first keys tell shape, type and device."""

    def __init__(self, slots: int, capacity: int) -> None:
        self.slots, self.capacity = slots, capacity
        self._tensors: tuple[Tensor, Tensor] | None = None

    def reserve(self, keys: Float[Tensor, "_ heads _ head"]) -> tuple[Tensor, Tensor]:
        """Keys and values, ``(slots, heads, capacity, head)`` each."""
        if self._tensors is None:
            shape = (self.slots, keys.shape[1], self.capacity, keys.shape[3])
            # Zeros: what a mask hides still takes part with a weight of 0, and 0 times the NaN of old memory is NaN.
            self._tensors = (keys.new_zeros(shape), keys.new_zeros(shape))
        return self._tensors

    def copy(self, source: int, target: int, length: int) -> None:
        """The first ``length`` positions of one slot into another."""
        for tensor in self._tensors or ():
            tensor[target, :, :length] = tensor[source, :, :length]

    def take(self, slot: int, start: int, end: int) -> tuple[Tensor, Tensor]:
        """A copy of positions ``start`` to ``end`` of a slot that was filled, ``(heads, end - start, head)`` each."""
        assert self._tensors is not None, "nothing was written yet"
        keys, values = (tensor[slot, :, start:end].clone() for tensor in self._tensors)
        return keys, values

    def put(self, slot: int, start: int, pair: tuple[Tensor, Tensor]) -> None:
        """Write what ``take`` gave, from position ``start``."""
        assert self._tensors is not None, "pieces are of this memory"
        for tensor, piece in zip(self._tensors, pair, strict=True):
            tensor[slot, :, start : start + piece.shape[1]] = piece

    def reorder(self, slots: Tensor, length: int) -> None:
        """Slot i continues what was in ``slots[i]``, for the first slots."""
        for tensor in self._tensors or ():
            tensor[: len(slots), :, :length] = tensor[slots, :, :length]


class _SlotLayer(LayerCache):
    """One slot as a cache of one row."""

    def __init__(self, memory: _LayerMemory, slot: int, length: int) -> None:
        super().__init__(memory.capacity)
        self._memory, self._slot, self.length = memory, slot, length

    def extend(
        self,
        keys: Float[Tensor, "1 heads new head"],
        values: Float[Tensor, "1 heads new head"],
    ) -> tuple[Float[Tensor, "1 heads time head"], Float[Tensor, "1 heads time head"]]:
        """As in ``LayerCache.extend``."""
        if self._keys is None:
            mine = slice(self._slot, self._slot + 1)
            self._keys, self._values = (tensor[mine] for tensor in self._memory.reserve(keys))
        return super().extend(keys, values)


class SlotRows:
    """Where the new tokens of one step belong, one row each; made by ``SlotCache.rows``.

    Attributes:
        positions: Position of each token in its sequence, ``(rows,)``.
        layers: What the attention layers write to and read from.
    """

    def __init__(
        self, memories: list[_LayerMemory], slots: Sequence[int], positions: Sequence[int], device: torch.device
    ) -> None:
        self._places = list(zip(slots, positions, strict=True))
        self._slots = torch.tensor(slots, device=device)
        self.positions = torch.tensor(positions, device=device)
        self.layers = [_RowsLayer(memory, self._slots, self.positions) for memory in memories]

    def build_mask(self, window: int | None) -> AttentionMask:
        """What the rows see; ``window`` as in ``model.attention_mask.build_mask``."""
        if self.positions.device.type == "cpu":
            return EachAlone(self._places, window)
        return Together(self._slots, self.positions, 1 + max(position for _, position in self._places), window)


class _RowsLayer(LayerCache):
    """Writes every row at its slot and position, and hands out the whole memory; the mask knows what is alive."""

    def __init__(self, memory: _LayerMemory, slots: Tensor, positions: Tensor) -> None:
        super().__init__(memory.capacity)
        self._memory, self._slots, self._positions = memory, slots, positions

    def extend(
        self,
        keys: Float[Tensor, "rows heads 1 head"],
        values: Float[Tensor, "rows heads 1 head"],
    ) -> tuple[Float[Tensor, "slots heads capacity head"], Float[Tensor, "slots heads capacity head"]]:
        """Keys and values of all slots."""
        all_keys, all_values = self._memory.reserve(keys)
        all_keys[self._slots, :, self._positions] = keys[:, :, 0]
        all_values[self._slots, :, self._positions] = values[:, :, 0]
        return all_keys, all_values


class EachAlone(AttentionMask):
    """One kernel per row over just the positions it sees.

    A row then costs what it costs alone, and gives bit for bit what it gives alone: nothing depends on who else is
    in the batch. A GPU would spend its time starting kernels.

    Args:
        places: Slot and position of every row.
        window: Positions seen at most, the own one included; None = all.
    """

    def __init__(self, places: list[tuple[int, int]], window: int | None) -> None:
        self._spans = [
            (slot, 0 if window is None else max(0, position + 1 - window), position + 1) for slot, position in places
        ]

    def attend(
        self,
        queries: Float[Tensor, "rows heads 1 head"],
        keys: Float[Tensor, "slots groups capacity head"],
        values: Float[Tensor, "slots groups capacity head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "rows heads 1 head"]:
        """As in ``AttentionMask.attend``, but with the keys and values of all slots."""
        return self._attend(queries, self._seen(keys, values))

    def attend_behind(
        self,
        lead: Lead,
        queries: Float[Tensor, "rows heads 1 head"],
        keys: Float[Tensor, "slots groups capacity head"],
        values: Float[Tensor, "slots groups capacity head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "rows heads 1 head"]:
        """As in ``AttentionMask.attend_behind``, likewise."""
        seen = enumerate(self._seen(keys, values))
        return self._attend(queries, (lead.precede(row, *own) for row, own in seen))

    def _seen(self, keys: Tensor, values: Tensor) -> Iterator[Sequence[Tensor]]:
        """Keys and values of each row."""
        for slot, start, end in self._spans:
            yield [part[slot : slot + 1, :, start:end] for part in (keys, values)]

    def _attend(self, queries: Tensor, seen: Iterable[Sequence[Tensor]]) -> Float[Tensor, "rows heads 1 head"]:
        rows, heads, _, width = queries.shape
        mixed = []
        for row, (keys, values) in enumerate(seen):
            # The heads of a group see the same keys: as rows of one score table they need no copies of them.
            grouped = queries[row].view(1, keys.shape[1], -1, width)
            mixed.append(F.scaled_dot_product_attention(grouped, keys, values))
        return (mixed[0] if rows == 1 else torch.cat(mixed)).reshape(rows, heads, 1, width)


class Together(AttentionMask):
    """All rows in one kernel, with a table of who sees what.

    Args:
        slots: Slot of every row.
        positions: Position of every row.
        context: 1 + the largest position.
        window: As in ``EachAlone``.
    """

    def __init__(
        self, slots: Int[Tensor, " rows"], positions: Int[Tensor, " rows"], context: int, window: int | None
    ) -> None:
        seen = torch.arange(context, device=positions.device)
        table = seen <= positions[:, None]
        if window is not None:
            table &= seen > positions[:, None] - window
        self._slots, self._table, self._context = slots, table[:, None, None], context

    def attend(
        self,
        queries: Float[Tensor, "rows heads 1 head"],
        keys: Float[Tensor, "slots groups capacity head"],
        values: Float[Tensor, "slots groups capacity head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "rows heads 1 head"]:
        """As in ``AttentionMask.attend``, but with the keys and values of all slots."""
        live_keys, live_values = self._live(keys, values)
        return F.scaled_dot_product_attention(
            queries, live_keys, live_values, attn_mask=self._table, enable_gqa=queries.shape[1] != keys.shape[1]
        )

    def attend_behind(
        self,
        lead: Lead,
        queries: Float[Tensor, "rows heads 1 head"],
        keys: Float[Tensor, "slots groups capacity head"],
        values: Float[Tensor, "slots groups capacity head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "rows heads 1 head"]:
        """As in ``AttentionMask.attend_behind``, likewise."""
        return DenseMask(self._table).attend_behind(lead, queries, *self._live(keys, values), dropout)

    def _live(self, keys: Tensor, values: Tensor) -> tuple[Tensor, Tensor]:
        return keys[:, :, : self._context][self._slots], values[:, :, : self._context][self._slots]


class SlotCache:
    """Keys and values of every layer for several independent sequences.

    Args:
        n_layer: Number of layers of the model.
        slots: Sequences held at once.
        capacity: Most positions of a sequence; at most the model's ``block_size``.

    Raises:
        ConfigError: There is no slot, or no room in it.
    """

    def __init__(self, n_layer: int, slots: int, capacity: int) -> None:
        if slots < 1 or capacity < 1:
            raise ConfigError(
                "the cache has no room for a token", got=(slots, capacity), allowed="1 or more slots and positions"
            )
        self.slots, self.capacity = slots, capacity
        self._memories = [_LayerMemory(slots, capacity) for _ in range(n_layer)]

    def sequence(self, slot: int, *, length: int = 0, last_tokens: Int[Tensor, " 1"] | None = None) -> KeyValueCache:
        """The slot as a cache of one row; what it is filled with stays for ``rows``.

        Args:
            slot: Which one.
            length: Positions that it already holds; 0 = it begins anew.
            last_tokens: The token at the last of them.
        """
        cache = KeyValueCache(len(self._memories), self.capacity)
        cache.layers = [_SlotLayer(memory, slot, length) for memory in self._memories]
        if last_tokens is not None:
            cache.swap_last_tokens(last_tokens[:, None])
        return cache

    def take(self, slot: int, start: int, end: int) -> list[tuple[Tensor, Tensor]]:
        """Copies of the keys and values of some positions, by layer; ``put`` writes them where they were."""
        return [memory.take(slot, start, end) for memory in self._memories]

    def put(self, slot: int, start: int, pieces: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Write into a slot what ``take`` gave of the same positions of any slot."""
        for memory, pair in zip(self._memories, pieces, strict=True):
            memory.put(slot, start, pair)

    def rows(self, slots: Sequence[int], positions: Sequence[int], device: torch.device) -> SlotRows:
        """Places of one new token per row: position 1 or more, and all before it filled or among the rows."""
        return SlotRows(self._memories, slots, positions, device)

    def copy(self, source: int, target: int, length: int) -> None:
        """Let a slot begin as another one did: its first ``length`` positions."""
        for memory in self._memories:
            memory.copy(source, target, length)

    def reorder(self, slots: Int[Tensor, " beams"], length: int) -> None:
        """Let slot i go on from what slot ``slots[i]`` holds, in all of the first ``len(slots)`` at once."""
        for memory in self._memories:
            memory.reorder(slots, length)
