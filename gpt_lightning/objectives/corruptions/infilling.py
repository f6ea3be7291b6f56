"""Fill-in-the-middle: a decoder learns to write what stands between two texts (Bavarian et al. 2022).

A document is cut into prefix P, middle M and suffix S at two places drawn evenly, and put together again so that the
middle comes last; ``<eot>`` is the token in front of every document:

    PSM    <eot> <|fim_prefix|> P <|fim_suffix|> S <|fim_middle|> M <|fim_end|>
    SPM    <eot> <|fim_prefix|> <|fim_suffix|> S <|fim_middle|> P M <|fim_end|>

SPM is the form that is trained jointly with PSM (appendix D of the paper). What differs elsewhere, and why:

- The middle ends with a token of its own. Where it ends with end-of-text, which often stands for padding too, models
  did not learn to stop.
- The three sentinels in front count for nothing in the loss: they are given whenever a middle is asked for, and a model
  that had learned them would begin texts of its own with them.
- Cuts fall between characters: never inside one, but inside tokens too (``characters``).
- A document of which a window holds a part only is filled in within that part.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gpt_lightning.batch import Batch
from gpt_lightning.data.tokenizers.infill_tokens import SENTINELS
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.objectives.base import Context, Needs
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.base import Corrupted, Corruption
from gpt_lightning.objectives.corruptions.characters import CharacterCuts
from gpt_lightning.objectives.corruptions.pieces import Pieces, find_live, find_pieces, shift, weigh_targets
from gpt_lightning.objectives.draws import Draws

_ADDED = len(SENTINELS) + 2
"""Tokens that a document gets longer by: the sentinels, and one for each token that a cut goes through."""


class FillInTheMiddle(Corruption):
    """Next-token prediction on documents of which a share has its middle moved to the end.

    Args:
        rate: Share of the documents (or parts of them, where a window holds no more) that are rearranged.
        spm_rate: Share of those that take the form SPM; the others take PSM.
        max_documents: Documents of a window that there is room to rearrange, six positions each; further ones stay as
            they are.
        chunk_size: As in ``CausalLM``.

    Raises:
        ConfigError: A rate is not from 0 to 1, or a count not positive.
    """

    def __init__(
        self, rate: float = 0.5, spm_rate: float = 0.5, max_documents: int = 4, chunk_size: int | None = None
    ) -> None:
        super().__init__(chunk_size)
        for name, value in (("rate", rate), ("spm_rate", spm_rate)):
            if not 0 <= value <= 1:
                raise ConfigError(f"objective.{name} is a share", got=value, allowed="0 to 1")
        if max_documents < 1:
            raise ConfigError("objective.max_documents is a count", got=max_documents, allowed="1 or more")
        self._rate, self._spm_rate, self._most = rate, spm_rate, max_documents

    def needs(self, config: GPTConfig) -> Needs:
        """Four tokens and room for them; nothing where no document is rearranged."""
        return Needs() if self._rate == 0 else Needs(special_tokens=SENTINELS, room=_ADDED * self._most)

    def corrupt(self, batch: Batch, draws: Draws, context: Context) -> Corrupted:
        """Some documents with their middle behind them; the others, and all at rate 0, as they are."""
        if self._rate == 0:
            return CausalLM().corrupt(batch, draws, context)
        weights = weigh_targets(batch)
        pieces = find_pieces(batch, context.eot_id)
        wanted = draws.uniform("infill", weights.shape[1]) < self._rate
        is_spm = draws.uniform("infill form", weights.shape[1]) < self._spm_rate
        text = _Text(batch.tokens.long(), weights, pieces)
        cuts = CharacterCuts.of(context.texts, weights.device) if context.texts else None
        cut = _cut(text, wanted & find_live(pieces, weights), is_spm, cuts, draws, self._most, context.eot_id)
        rows, counted, documents = _rearrange(cut, is_spm, context, _ADDED * self._most + weights.shape[1])
        return shift(rows, counted, None if batch.documents is None else documents)

    def restore(self, corrupted: Corrupted, context: Context) -> Batch:
        """Every document read as a text is: by its sentinels."""
        if self._rate == 0:
            return CausalLM().restore(corrupted, context)
        ids = [context.special_ids[name] for name in SENTINELS]
        cuts = CharacterCuts.of(context.texts, torch.device("cpu")) if context.texts else None
        rows = torch.cat([corrupted.tokens[:, :1], corrupted.targets], dim=1).tolist()
        length = len(rows[0]) - _ADDED * self._most
        return Batch(torch.tensor([_put_back(row, ids, cuts)[:length] for row in rows], dtype=torch.long))


@dataclass(frozen=True)
class _Text:
    """Rows, the weight of every token as a target, and where their pieces are."""

    tokens: Int[Tensor, "batch length"]
    weights: Float[Tensor, "batch length"]
    pieces: Pieces


@dataclass(frozen=True)
class _Cut:
    """A text, and for every piece: whether it is rearranged, and where in its body the middle begins and ends."""

    text: _Text
    chosen: Bool[Tensor, "batch length"]
    low: Int[Tensor, "batch length"]
    high: Int[Tensor, "batch length"]


def _cut(
    text: _Text,
    wanted: Bool[Tensor, "batch length"],
    is_spm: Bool[Tensor, "batch length"],
    cuts: CharacterCuts | None,
    draws: Draws,
    most: int,
    padding: int,
) -> _Cut:
    """Two cuts for every wanted piece, up to ``most`` in a row; a token that one goes through becomes two."""
    pieces, length = text.pieces, text.tokens.shape[1]
    drawn = torch.stack([draws.below(f"infill cut {which}", length, pieces.body + 1) for which in (1, 2)])
    low, high = drawn.sort(dim=0).values
    if cuts is None:
        return _Cut(text, wanted & (wanted.cumsum(dim=1) <= most), low, high)
    inside = cuts.begins_inside[text.tokens]
    low, high = _leave_characters(pieces, inside, low), _leave_characters(pieces, inside, high)
    apart = high - low > 1  # the halves of neighbours could not be told from one another
    # In the form SPM nothing marks where the prefix ends and the middle begins.
    first = _halve(text, low, apart & ~is_spm, cuts, draws.bits("infill character 1", length))
    second = _halve(text, high, apart, cuts, draws.bits("infill character 2", length))
    # A cut between two tokens that look like the halves of one could not be undone.
    wanted = wanted & ~(first.is_unclear | second.is_unclear)
    chosen = wanted & (wanted.cumsum(dim=1) <= most)
    return _split(text, chosen, low, high, first, second, 2 * most, padding)


@dataclass(frozen=True)
class _Halves:
    """Of the token that a cut of every piece goes through: both halves; or none, where it goes through none."""

    exist: Bool[Tensor, "batch length"]
    left: Int[Tensor, "batch length"]
    right: Int[Tensor, "batch length"]
    is_unclear: Bool[Tensor, "batch length"]


def _halve(
    text: _Text,
    cut: Int[Tensor, "batch length"],
    allowed: Bool[Tensor, "batch length"],
    cuts: CharacterCuts,
    bits: Int[Tensor, "batch length"],
) -> _Halves:
    """Move each cut some characters into the token behind it, where that can be cut."""
    pieces, tokens = text.pieces, text.tokens
    place = pieces.size.cumsum(dim=1) - pieces.size + 1 + cut
    last = tokens.shape[1] - 1
    behind, before = tokens.gather(1, place.clamp_max(last)), tokens.gather(1, (place - 1).clamp(0, last))
    # A few bits are enough: there are 16 characters at most.
    left, right = cuts.halve(behind, (bits & 0xFFFF) % cuts.characters[behind]).unbind(dim=-1)
    within = (cut < pieces.body) & allowed
    exist = within & (left >= 0)
    is_unclear = ~exist & (cut > 0) & (cut < pieces.body) & cuts.is_pair(before, behind)
    return _Halves(exist, left, right, is_unclear)


def _split(
    text: _Text,
    chosen: Bool[Tensor, "batch length"],
    low: Int[Tensor, "batch length"],
    high: Int[Tensor, "batch length"],
    first: _Halves,
    second: _Halves,
    room: int,
    padding: int,
) -> _Cut:
    """The text with the halves of the tokens that the cuts go through, and the cuts where they are then."""
    pieces = text.pieces
    at_low, at_high = first.exist & chosen, second.exist & chosen
    longer = pieces.move(at_low.long() + at_high.long(), room)
    inner = pieces.offset - 1
    shifted = (inner > pieces.spread(low)) & pieces.spread(at_low)
    offset = pieces.offset + shifted + ((inner > pieces.spread(high)) & pieces.spread(at_high))
    rows, weights = longer.put(text.tokens, offset, onto=padding), longer.put(text.weights, offset, onto=0.0)
    for halves, exist, cut in ((first, at_low, low), (second, at_high, high + at_low)):
        place = 1 + cut
        rows = longer.put_pieces(halves.left, place, rows, exist)
        rows = longer.put_pieces(halves.right, place + 1, rows, exist)
        weight = weights.gather(1, (longer.start + place).clamp_max(longer.length - 1))
        weights = longer.put_pieces(weight, place + 1, weights, exist)
    number = longer.numbers()
    begins = torch.ones_like(number, dtype=torch.bool)
    begins[:, 1:] = number[:, 1:] != number[:, :-1]
    after = _Text(rows, weights, Pieces.find(begins))
    low, high = low + at_low, high + at_low.long() + at_high.long()
    return _Cut(after, *(F.pad(values, (0, room)) for values in (chosen, low, high)))


def _leave_characters(
    pieces: Pieces, inside: Bool[Tensor, "batch length"], cut: Int[Tensor, "batch length"]
) -> Int[Tensor, "batch length"]:
    """Cuts moved to the left, out of characters.

    Args:
        pieces: Of the rows.
        inside: Tokens that begin inside a character.
        cut: One of every piece, as a number of tokens of its body.
    """
    length = inside.shape[1]
    start = pieces.size.cumsum(dim=1) - pieces.size + 1
    allowed = torch.where(inside & (pieces.offset > 1), 0, torch.arange(length, device=inside.device))
    # The end of the last piece of a row is the place behind it.
    nearest = torch.cat([allowed.cummax(dim=1).values, allowed.new_full((len(allowed), 1), length)], dim=1)
    return (nearest.gather(1, (start + cut).clamp_max(length)) - start).clamp_min(0)


def _rearrange(
    cut: _Cut, is_spm: Bool[Tensor, "batch _length"], context: Context, length: int
) -> tuple[Int[Tensor, "batch longer"], Float[Tensor, "batch longer"], Int[Tensor, "batch longer"]]:
    """Rows with sentinels and the middles behind, their weights as targets, and the numbers of their pieces."""
    text, chosen, low, high = cut.text, cut.chosen, cut.low, cut.high
    pieces, body = text.pieces, text.pieces.body
    lead = torch.where(F.pad(is_spm, (0, low.shape[1] - is_spm.shape[1])), 0, low)
    longer = pieces.move(chosen * len(SENTINELS), length - low.shape[1])

    inner = pieces.offset - 1
    offset = inner + 4 + pieces.spread(body - high)  # every middle, and a prefix of the form SPM
    offset = torch.where((inner < pieces.spread(lead)), inner + 2, offset)
    offset = torch.where(inner >= pieces.spread(high), inner + 3 + pieces.spread(lead - high), offset)
    offset = torch.where(pieces.spread(chosen) & (inner >= 0), offset, pieces.offset)

    rows = longer.put(text.tokens, offset, onto=context.eot_id)
    places = (torch.ones_like(body), 2 + lead, 3 + lead + body - high, 4 + body)
    for name, place in zip(SENTINELS, places, strict=True):
        rows = longer.put_pieces(torch.full_like(place, context.special_ids[name]), place, rows, chosen)
    weights = longer.put(text.weights, offset, onto=0.0)
    weights = longer.put_pieces(torch.ones_like(weights[:, : body.shape[1]]), 4 + body, weights, chosen)
    return rows, weights, longer.numbers()


def _put_back(row: list[int], ids: list[int], cuts: CharacterCuts | None) -> list[int]:
    """A row with every middle back between its prefix and its suffix, and halves of tokens joined."""
    prefix, suffix, middle, end = ids
    result: list[int] = []
    while prefix in row:
        first = row.index(prefix)
        second, third, last = (row.index(each, first) for each in (suffix, middle, end))
        before, after, filling = row[first + 1 : second], row[second + 1 : third], row[third + 1 : last]
        result += row[:first]
        result += _join(_join(before, filling, cuts), after, cuts) if filling else before + after
        row = row[last + 1 :]
    return result + row


def _join(left: list[int], right: list[int], cuts: CharacterCuts | None) -> list[int]:
    """Two texts as one; what was one token at their border is one again."""
    token = cuts.join(left[-1], right[0]) if cuts is not None and left and right else None
    return left + right if token is None else [*left[:-1], token, *right[1:]]
