"""Rows of several documents, rearranged document by document on the device: no loop, no fixed number of documents.

A *piece* is what a window holds of one document. Its first token (end-of-text, which stands in front of every
document) stays in front; the rest, its *body*, is what a corruption moves. A row gets longer by the tokens that are
put in, up to the room that was planned for it (``Needs.room``); pieces for which none is left stay as they are. So
nothing is ever cut off, and every row has the same length.

>>> row = torch.tensor([[9, 5, 6, 9, 7]])
>>> pieces = Pieces.find(row == 9)
>>> pieces.number.tolist(), pieces.offset.tolist(), pieces.size.tolist()
([[0, 0, 0, 1, 1]], [[0, 1, 2, 0, 1]], [[3, 2, 0, 0, 0]])
>>> longer = pieces.move(added=torch.tensor([[1, 0, 0, 0, 0]]), room=1)  # one token more in the first piece
>>> longer.put(row, offset=pieces.offset, onto=0).tolist()
[[9, 5, 6, 0, 9, 7]]
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.objectives.corruptions.base import Corrupted, count_targets


@dataclass(frozen=True)
class Pieces:
    """Where the tokens of some rows belong. A row of ``length`` tokens has at most ``length`` pieces.

    Attributes:
        number: Piece of every token, from 0 in each row.
        offset: Place of every token in its piece; 0 = the one that stays in front.
        size: Tokens of every piece; 0 = there is no such piece.
    """

    number: Int[Tensor, "batch length"]
    offset: Int[Tensor, "batch length"]
    size: Int[Tensor, "batch length"]

    @staticmethod
    def find(begins: Bool[Tensor, "batch length"]) -> Pieces:
        """The pieces of rows in which a piece begins at every True; the first token of a row always begins one."""
        begins = begins.clone()
        begins[:, 0] = True
        number = begins.cumsum(dim=1) - 1
        places = torch.arange(begins.shape[1], device=begins.device).expand_as(number)
        start = torch.where(begins, places, 0).cummax(dim=1).values
        size = torch.zeros_like(number).scatter_add(1, number, torch.ones_like(number))
        return Pieces(number, places - start, size)

    @property
    def body(self) -> Int[Tensor, "batch length"]:
        """Tokens of every piece behind its first."""
        return (self.size - 1).clamp_min(0)

    def spread(self, values: Shaped[Tensor, "batch length"]) -> Shaped[Tensor, "batch length"]:
        """A value of every piece, at every token of it."""
        return values.gather(1, self.number)

    def total(self, values: Shaped[Tensor, "batch length"]) -> Shaped[Tensor, "batch length"]:
        """Sum of a value of every token over each piece."""
        return torch.zeros_like(values).scatter_add(1, self.number, values)

    def count_before(self, flags: Bool[Tensor, "batch length"]) -> Int[Tensor, "batch length"]:
        """Tokens of the same piece that stand before each token and are marked."""
        running = flags.cumsum(dim=1) - flags.long()
        return running - self.spread(self.first(running))

    def first(self, values: Shaped[Tensor, "batch length"]) -> Shaped[Tensor, "batch length"]:
        """The value at the first token of every piece."""
        start = (self.size.cumsum(dim=1) - self.size).clamp_max(values.shape[1] - 1)
        return values.gather(1, start)

    def move(self, added: Int[Tensor, "batch length"], room: int) -> Longer:
        """Make room in the pieces.

        Args:
            added: Tokens that every piece gets; their sum over a row is at most ``room``.
            room: Tokens that the rows get longer.
        """
        size = self.size + added
        start = size.cumsum(dim=1) - size
        return Longer(self, start, size, self.number.shape[1] + room)


@dataclass(frozen=True)
class Longer:
    """Rows with room in their pieces.

    Attributes:
        pieces: As they were.
        start: First place of every piece now.
        size: Its tokens now.
        length: Places of a row.
    """

    pieces: Pieces
    start: Int[Tensor, "batch old_length"]
    size: Int[Tensor, "batch old_length"]
    length: int

    def put(
        self,
        values: Shaped[Tensor, "batch old_length"],
        offset: Int[Tensor, "batch old_length"],
        onto: Shaped[Tensor, "batch length"] | float | int,
        where: Bool[Tensor, "batch old_length"] | None = None,
    ) -> Shaped[Tensor, "batch length"]:
        """Rows with a value of every token at an offset in its piece.

        Args:
            values: One for every token.
            offset: Where it goes, in the longer piece.
            onto: The rows it is put into, or what they are filled with elsewhere.
            where: Tokens whose values are put; None = all.
        """
        return self._scatter(values, self.pieces.spread(self.start) + offset, onto, where)

    def put_pieces(
        self,
        values: Shaped[Tensor, "batch old_length"],
        offset: Int[Tensor, "batch old_length"],
        onto: Shaped[Tensor, "batch length"],
        where: Bool[Tensor, "batch old_length"],
    ) -> Shaped[Tensor, "batch length"]:
        """The rows with a value of every piece at an offset in it, for the pieces that ``where`` names."""
        return self._scatter(values, self.start + offset, onto, where)

    def _scatter(
        self,
        values: Shaped[Tensor, "batch old_length"],
        places: Int[Tensor, "batch old_length"],
        onto: Shaped[Tensor, "batch length"] | float | int,
        where: Bool[Tensor, "batch old_length"] | None,
    ) -> Shaped[Tensor, "batch length"]:
        if not isinstance(onto, Tensor):
            onto = values.new_full((len(values), self.length), onto)
        if where is not None:
            places = torch.where(where, places, self.length)
        wider = torch.cat([onto, onto[:, :1]], dim=1)  # a last column for what goes nowhere
        return wider.scatter(1, places, values)[:, : self.length]

    def is_before(self, offset: Int[Tensor, "batch old_length"]) -> Bool[Tensor, "batch length"]:
        """Whether a place is in its piece before the piece's ``offset``."""
        number = self.numbers()
        inside = number < offset.shape[1]
        number = number.clamp_max(offset.shape[1] - 1)
        places = torch.arange(self.length, device=number.device)
        return inside & (places < self.start.gather(1, number) + offset.gather(1, number))

    def numbers(self) -> Int[Tensor, "batch length"]:
        """The piece of every place; what is left over at the end of a row is a piece of its own."""
        places = torch.arange(self.length, device=self.start.device).expand(len(self.start), -1)
        ends = (self.start + self.size).contiguous()
        return torch.searchsorted(ends, places.contiguous(), right=True)


def find_pieces(batch: Batch, eot_id: int) -> Pieces:
    """The pieces of a batch: by its documents, or where it has none by the end-of-text tokens in front of them."""
    if batch.documents is None:
        return Pieces.find(batch.tokens == eot_id)
    begins = torch.ones_like(batch.documents, dtype=torch.bool)
    begins[:, 1:] = batch.documents[:, 1:] != batch.documents[:, :-1]
    return Pieces.find(begins)


def weigh_targets(batch: Batch) -> Float[Tensor, "batch length"]:
    """Weight of every token as a target; 0 for the first of a row, which nothing predicts."""
    weights = count_targets(batch)
    if weights is None:
        weights = torch.ones(batch.tokens[:, 1:].shape, device=batch.tokens.device)
    return torch.cat([torch.zeros_like(weights[:, :1]), weights], dim=1)


def find_live(pieces: Pieces, weights: Float[Tensor, "batch length"]) -> Bool[Tensor, "batch length"]:
    """Pieces of which some token behind the first counts; padding is none of them."""
    counted = (weights > 0) & (pieces.offset > 0)
    return pieces.total(counted.long()) > 0


def shift(
    tokens: Int[Tensor, "batch length"],
    weights: Float[Tensor, "batch length"],
    documents: Int[Tensor, "batch length"] | None,
    opens: Bool[Tensor, "batch length"] | bool = False,
) -> Corrupted:
    """Rows of tokens and their weights as targets, as a decoder gets them: every position predicts the next token."""
    return Corrupted(
        tokens=tokens[:, :-1],
        targets=tokens[:, 1:],
        weights=weights[:, 1:],
        documents=None if documents is None else documents[:, :-1],
        opens=opens if isinstance(opens, bool) else opens[:, :-1],
    )
