"""Span corruption: spans are missing, and the decoder writes them behind the text (Raffel et al. 2020, UL2's form).

T5 has an encoder for the text and a decoder for the spans; in one decoder both stand in a row. ``<eot>`` is the token
in front of every document:

    text       <eot> Thank you for inviting me to your party last week
    becomes    <eot> Thank you <0> me to your party <1> week <0> for inviting <1> last <2>
    counted                                                  .  1   1        1   1    1

The sentinels are ``<|span_0|>``, ``<|span_1|>`` ... The first behind the text says that the spans begin and is given;
every other one is predicted, since it says that a span is over, and the last that all are. What stands in front of the
spans is seen from everywhere in the document (``bidirectional``), as an encoder sees it.

>>> SpanCorruption(share=0.15, mean_span=3.0).count(tokens=100)
(15, 5)
"""

from __future__ import annotations

from bisect import bisect_left

import torch
from jaxtyping import Bool, Int
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.attention_mask import Sight
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Context, Needs
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption
from gpt_lightning.objectives.corruptions.pieces import (
    Pieces,
    find_live,
    find_pieces,
    shift,
    weigh_targets,
)
from gpt_lightning.objectives.draws import Draws

_MOST_SPANS = 100
"""Spans of a document at most: T5 has so many sentinels."""


class SpanCorruption(Corruption):
    """Spans are left out and predicted behind the text, document by document.

    Lengths of spans and of what stands between them are random parts of their sums, as T5 draws them.

    Args:
        share: Share of the tokens that are left out, less than 1.
        mean_span: Mean length of a span in tokens, 1 or more.
        bidirectional: Whether the text in front of the spans is seen from everywhere in its document.
        mode: Name of a token that stands in front of the text and says which task it is, for mixtures; null = none.
        max_documents: Documents of a window that there is room for; further ones are predicted as they are.
        chunk_size: As in ``CausalLM``.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        share: float = 0.15,
        mean_span: float = 3.0,
        bidirectional: bool = True,
        mode: str | None = None,
        max_documents: int = 4,
        chunk_size: int | None = None,
    ) -> None:
        super().__init__(chunk_size)
        if not 0 <= share < 1:
            raise ConfigError("objective.share is a share of the tokens", got=share, allowed="0 <= share < 1")
        for name, value in (("mean_span", mean_span), ("max_documents", max_documents)):
            if value < 1:
                raise ConfigError(f"objective.{name} is too small", got=value, allowed="1 or more")
        self._share, self._mean_span, self._bidirectional = share, mean_span, bidirectional
        self._mode, self._most = mode, max_documents

    def needs(self, config: GPTConfig) -> Needs:
        """Sentinels, the mode's token, and room for both; nothing where nothing is left out."""
        if self._share == 0:
            return Needs()
        if config.block_size is None:
            raise ConfigError("The length of the windows is not known yet", got=None, fix="Set data.block_size.")
        names = [sentinel(number) for number in range(self._most_spans(config.block_size) + 1)]
        modes = () if self._mode is None else (self._mode,)
        return Needs(special_tokens=(*names, *modes), room=self._room(config.block_size))

    def sights(self) -> frozenset[Sight]:
        """As ``bidirectional`` says; causal where nothing is left out."""
        return frozenset({"open" if self._bidirectional and self._share > 0 else "causal"})

    def count(self, tokens: int) -> tuple[int, int]:
        """Tokens and spans that are left out of so many tokens."""
        lost, spans = self._count(torch.tensor([[tokens]]))
        return int(lost), int(spans)

    def _count(
        self, body: Int[Tensor, "batch length"]
    ) -> tuple[Int[Tensor, "batch length"], Int[Tensor, "batch length"]]:
        lost = torch.minimum((body * self._share).round().long().clamp_min(1), body - 1)
        spans = (lost / self._mean_span).round().long().clamp(1, _MOST_SPANS)
        return lost, torch.minimum(torch.minimum(spans, lost), body - lost)

    def _most_spans(self, time: int) -> int:
        return max(self.count(time)[1], 1)

    def _room(self, time: int) -> int:
        """Two sentinels a span and one more for each document, in which rounding may also make a span more."""
        fixed = 3 if self._mode is None else 4
        return 2 * self._most_spans(time) + fixed * self._most

    def corrupt(self, batch: Batch, draws: Draws, context: Context) -> Corrupted:
        """Texts with their spans behind them; as they are where there is no room, or one token, and all at share 0."""
        if self._share == 0:
            return CausalLM().corrupt(batch, draws, context)
        tokens, weights = batch.tokens.long(), weigh_targets(batch)
        pieces = find_pieces(batch, context.eot_id)
        lost, spans = self._count(pieces.body)
        modes = 0 if self._mode is None else 1
        added = 2 * spans + 1 + modes
        able = (pieces.body >= 2) & find_live(pieces, weights)
        room = self._room(tokens.shape[1] - 1)
        chosen = able & ((added * able).cumsum(dim=1) <= room)
        longer = pieces.move(added * chosen, room)
        is_lost, span = draw_spans(pieces, lost, spans, draws)
        is_lost = is_lost & pieces.spread(chosen)

        # Offsets within a piece: the text begins at front, its spans at behind.
        front = 1 + modes
        kept, gone = pieces.count_before(~is_lost & (pieces.offset > 0)), pieces.count_before(is_lost)
        behind = front + pieces.body - lost + spans
        in_spans = pieces.spread(behind) + gone + span
        in_text = front + kept + span
        moves = pieces.spread(chosen) & (pieces.offset > 0)
        offset = torch.where(moves, torch.where(is_lost, in_spans + 1, in_text), pieces.offset)
        rows = longer.put(tokens, offset, context.eot_id)
        counted = longer.put(weights.masked_fill(moves & ~is_lost, 0.0), offset, 0.0)

        ids = self._ids_of(context, tokens.device)
        begins = is_lost.clone()
        begins[:, 1:] &= ~is_lost[:, :-1]
        names, ends = ids[span], ids[spans.clamp(0, len(ids) - 1)]
        rows = longer.put(names, in_text, rows, begins)
        rows = longer.put(names, in_spans, rows, begins)
        rows = longer.put_pieces(ends, behind + lost + spans, rows, chosen)
        counted = longer.put((span > 0).to(counted), in_spans, counted, begins)
        counted = longer.put_pieces(chosen.to(counted), behind + lost + spans, counted, chosen)
        if self._mode is not None:
            mode = torch.full_like(spans, context.special_ids[self._mode])
            rows = longer.put_pieces(mode, torch.ones_like(spans), rows, chosen)
        if not self._bidirectional:
            return shift(rows, counted, None if batch.documents is None else longer.numbers())
        # Attention stays inside documents even where the batch leaves it free: another document's open text has seen
        # the spans before it.
        return shift(rows, counted, longer.numbers(), longer.is_before(behind * chosen))

    def _ids_of(self, context: Context, device: torch.device) -> Int[Tensor, " sentinels"]:
        """Ids of the sentinels in order."""
        known = (context.special_ids.get(sentinel(number)) for number in range(_MOST_SPANS + 1))
        return torch.tensor([token for token in known if token is not None], device=device)

    def restore(self, corrupted: Corrupted, context: Context) -> Batch:
        """Every span back at its sentinel."""
        if self._share == 0:
            return CausalLM().restore(corrupted, context)
        names = {token: number for number, token in enumerate(self._ids_of(context, torch.device("cpu")).tolist())}
        dropped = None if self._mode is None else context.special_ids[self._mode]
        rows = torch.cat([corrupted.tokens[:, :1], corrupted.targets], dim=1).tolist()
        # The number of positions of which, with their room, there are so many now.
        time = bisect_left(range(len(rows[0])), len(rows[0]) - 1, key=lambda time: time + self._room(time))
        return Batch(
            torch.tensor([_put_back([token for token in row if token != dropped], names)[: time + 1] for row in rows])
        )


def sentinel(number: int) -> str:
    """Name of the token that stands for a span."""
    return f"<|span_{number}|>"


def draw_spans(
    pieces: Pieces, lost: Int[Tensor, "batch length"], spans: Int[Tensor, "batch length"], draws: Draws
) -> tuple[Bool[Tensor, "batch length"], Int[Tensor, "batch length"]]:
    """Which tokens are left out, and how many spans of their piece have begun before each token that is not first.

    The kept tokens of a body are cut into ``spans`` parts of random lengths, those left out too, and they alternate,
    kept ones first (T5's ``random_spans_noise_mask``).

    Args:
        pieces: Of the rows.
        lost: Tokens that every piece loses.
        spans: In so many spans; at most as many as tokens are lost, and as are kept.
        draws: Random numbers of the rows.
    """
    length = lost.shape[1]
    # Think of a body with all that is kept in front. Group 2n holds what piece n keeps, 2n + 1 what it loses.
    inner = pieces.offset - 1
    kept = pieces.body - lost
    is_lost = inner >= pieces.spread(kept)
    place = torch.where(is_lost, inner - pieces.spread(kept), inner)
    group = 2 * pieces.number + is_lost
    # Of the tokens of a group but its first, spans - 1 random ones begin a part.
    luck = (draws.bits("spans", length) >> 20) & ((1 << 43) - 1)
    order = ((group << 44) | torch.where(place <= 0, (1 << 43), luck)).argsort(dim=1, stable=True)
    rank = torch.empty_like(order).scatter_(1, order, torch.arange(length, device=order.device).expand_as(order))
    first = torch.arange(length, device=order.device) - place  # of the group; sorting leaves groups where they are
    begins = (rank - first < pieces.spread(spans) - 1) & (place > 0)
    started = begins.cumsum(dim=1)
    part = started - started.gather(1, first.clamp(0, length - 1))
    # Parts in the order in which they stand in the text; in front of them the first token of the piece.
    key = torch.where(inner < 0, 0, 1 + 2 * part + is_lost) + pieces.number * (2 * length + 2)
    text = key.argsort(dim=1, stable=True)
    return is_lost.gather(1, text) & (inner >= 0), part.gather(1, text)


def _put_back(row: list[int], names: dict[int, int]) -> list[int]:
    """A row with all spans in their texts."""
    result: list[int] = []
    while any(names.get(token) == 0 for token in row):
        begin = next(place for place, token in enumerate(row) if names.get(token) == 0)
        middle = next(place for place, token in enumerate(row) if names.get(token) == 0 and place > begin)
        count = sum(token in names for token in row[begin:middle])
        end = next(place for place, token in enumerate(row) if names.get(token) == count and place > middle)
        spans: list[list[int]] = []
        for token in row[middle:end]:
            if token in names:
                spans.append([])
            else:
                spans[-1].append(token)
        result += row[:begin]
        for token in row[begin:middle]:
            result += spans[names[token]] if token in names else [token]
        row = row[end + 1 :]
    return result + row
