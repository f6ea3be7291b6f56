"""Rows in twos: a rated answer behind its prompt, and behind it the same prompt with somebody else's answer.

KTO (Ethayarajh et al. 2024, section 4.1) measures how far a model has moved from its reference by answers that do not
belong to their prompts. Others take the next row's of the micro-batch, so that the loss depends on how a batch is cut;
here whose answer a prompt gets is a function of the document's number: the same in every epoch, on any number of
processes, after any kill, and known before the run, so that reference log-probabilities of it can be kept (``derived``,
``width`` 2).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Int64

from gpt_lightning.data.store.columns import ENDS, MARKS
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.stream.packing_plan import Rows, plan_documents
from gpt_lightning.data.stream.permutation import hash_words
from gpt_lightning.data.stream.windows import PlannedWindows, Windows
from gpt_lightning.errors import DataError


class MismatchedWindows(Windows):
    """Row 2k is document k, row 2k + 1 its prompt with the answer of another document.

    An answer that leaves no place behind another prompt loses its end.

    Args:
        split: Where the tokens are; each document is a prompt and an answer, told apart by the column ``marks``.
        block_size: Training positions per window.

    Raises:
        DataError: There is a single document.
    """

    def __init__(self, split: TokenSplit, block_size: int) -> None:
        super().__init__(split, block_size)
        if split.num_documents < 2:
            raise DataError(
                f"The {split.name} split has a single document, and an answer of another is needed",
                got=split.num_documents,
                allowed=">= 2",
                fix="Add data.",
            )
        ends = split.document_ends
        self._own = PlannedWindows(split, block_size, plan_documents(ends, block_size))
        self.count = 2 * split.num_documents
        marks = np.empty(split.num_tokens, dtype=np.uint8)
        self._starts = np.concatenate([[0], ends[:-1]]).astype(np.int64)
        self._lengths = ends - self._starts
        split.copy_runs(marks, self._starts, self._starts, self._lengths, MARKS)
        marked = np.flatnonzero(marks)
        self._prompts = marked[np.searchsorted(marked, self._starts)] - self._starts

    def partner(self, documents: Int64[np.ndarray, " count"]) -> Int64[np.ndarray, " count"]:
        """Whose answer the prompts of some documents get; never their own."""
        count = self.split.num_documents
        step = hash_words("mismatched", count=1)[0]
        words = (documents.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) ^ step) >> np.uint64(33)
        found: Int64[np.ndarray, " count"] = (documents + 1 + (words % np.uint64(count - 1)).astype(np.int64)) % count
        return found

    def starts(self, numbers: Int64[np.ndarray, " count"], epoch: int) -> Int64[np.ndarray, " count"]:
        """First token of the prompt."""
        starts: Int64[np.ndarray, " count"] = self._starts[numbers // 2]
        return starts

    def read(self, numbers: Int64[np.ndarray, " count"], epoch: int = 0, *, documents: bool = False) -> Rows:
        """The same windows in every epoch; the stream shuffles the twos."""
        rows = self._own.read(numbers // 2, documents=documents)
        others = np.flatnonzero(numbers % 2)
        own, length = numbers[others] // 2, self.block_size + 1
        partner = self.partner(own)
        prompts, skipped = self._prompts[own], self._prompts[partner]
        answers = np.minimum(self._lengths[partner] - skipped, self.block_size - prompts)
        is_cut = answers < self._lengths[partner] - skipped
        marks = rows.columns[MARKS]
        for target, column, fill in ((rows.tokens, None, self.split.eot_id), (marks, MARKS, 0)):
            target[others] = fill
            flat, first = target.reshape(-1), others * length
            self.split.copy_runs(flat, first, self._starts[own], prompts, column)
            self.split.copy_runs(flat, first + prompts, self._starts[partner] + skipped, answers, column)
        filled = prompts + answers
        assert rows.weights is not None
        rows.weights[others] = np.arange(1, length) <= (filled - is_cut)[:, None]
        rows.columns[ENDS][others, 0] = filled - 1
        if rows.documents is not None:
            rows.documents[others] = np.arange(length) >= filled[:, None]
        return rows
