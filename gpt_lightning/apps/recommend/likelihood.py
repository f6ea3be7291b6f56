r"""The log-probability of every item's text behind a history, the history read once.

    <end of text> text of item 1 \n text of item 2 \n ... | text of a candidate \n

Texts are encoded one at a time, so that a candidate's tokens are the same behind every history, and those of training,
where a line break never melts into the word behind it. No item is likelier than the first token of its line, and all
first tokens are read at one position: who wants the best items, or those above some score, asks about few others.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from gpt_lightning.apps.recommend.records import Catalogue
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.errors import DataError
from gpt_lightning.evaluation.scoring.continuations import score_continuations
from gpt_lightning.model.gpt import GPT

_ASKED = 64
"""Items of one pass of the model, at least."""
_ROUNDING = 1e-3
"""Nats by which scores of other batches differ, at most."""


class ItemLikelihood:
    """Scores items of a catalogue.

    Args:
        model: In evaluation mode.
        tokenizer: Its own.
        catalogue: The items.
        history: Most items that are read.

    Attributes:
        lines: Ids of every item's line, by item.

    Raises:
        DataError: An item's text leaves the model no room for a history.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer, catalogue: Catalogue, history: int) -> None:
        self._model, self._tokenizer, self._history = model, tokenizer, history
        self.lines = [tuple(int(token) for token in tokenizer.encode(f"{text}\n")) for text in catalogue.texts]
        longest = max(range(len(self.lines)), key=lambda number: len(self.lines[number]))
        self._room = model.block_size + 1 - len(self.lines[longest])
        if self._room < len(self.lines[longest]) + 1:
            raise DataError(
                "The text of an item leaves the model no room for a history",
                got=f"{len(self.lines[longest])} tokens of {catalogue.texts[longest][:60]!r}",
                allowed=f"at most {model.block_size // 2} of block_size={model.block_size}",
                fix="Shorten the texts (text_field), or train with a larger fit.data.block_size.",
            )

    def encode(self, history: Sequence[int]) -> list[int]:
        """Ids of a history: as many of its latest items as may be read and have room."""
        kept: list[tuple[int, ...]] = []
        room = self._room - 1
        for item in reversed(history[-self._history :]):
            room -= len(self.lines[item])
            if room < 0:
                break
            kept.append(self.lines[item])
        return [self._tokenizer.eot_id, *(token for line in reversed(kept) for token in line)]

    def score(self, history: Sequence[int], items: Sequence[int] | None = None) -> Float[np.ndarray, " items"]:
        """Log-probabilities in nats, of all items or of some.

        Args:
            history: Items by time.
            items: Which; None = all.
        """
        context = self.encode(history)
        wanted = range(len(self.lines)) if items is None else items
        scored = score_continuations(self._model, [(context, self.lines[item]) for item in wanted])
        return -np.array([each.nats for each in scored])

    def bound(self, history: Sequence[int]) -> Float[np.ndarray, " items"]:
        """Log-probability of the first token of every item's line, which that of the line does not exceed."""
        context = self.encode(history)
        firsts = sorted({line[0] for line in self.lines})
        scored = score_continuations(self._model, [(context, (token,)) for token in firsts])
        known = {token: -each.nats for token, each in zip(firsts, scored, strict=True)}
        return np.array([known[line[0]] for line in self.lines])

    def score_best(self, history: Sequence[int], items: Sequence[int], count: int) -> Float[np.ndarray, " items"]:
        """Log-probabilities of those of some items that can be among the ``count`` best; minus infinity for the others.

        Args:
            history: Items by time.
            items: Which come into question.
            count: How many are wanted.
        """
        found = np.full(len(self.lines), -np.inf)
        bound = self.bound(history)
        order = sorted(items, key=lambda item: (-bound[item], item))
        for start in range(0, len(order), max(_ASKED, count)):
            enough = np.partition(found, -count)[-count] if count <= len(found) else -np.inf
            asked = [item for item in order[start : start + max(_ASKED, count)] if bound[item] > enough - _ROUNDING]
            if not asked:
                break
            found[asked] = self.score(history, asked)
        return found

    def score_above(
        self, history: Sequence[int], items: Sequence[int], marks: Sequence[int]
    ) -> Float[np.ndarray, " items"]:
        """Log-probabilities of all of some items that can be as likely as one of the marked; minus infinity otherwise.

        Args:
            history: Items by time.
            items: Which come into question.
            marks: The marked, some of these.
        """
        found = np.full(len(self.lines), -np.inf)
        found[list(marks)] = self.score(history, marks)
        least, bound = found[list(marks)].min() - _ROUNDING, self.bound(history)
        asked = [item for item in items if item not in marks and bound[item] >= least]
        if asked:
            found[asked] = self.score(history, asked)
        return found
