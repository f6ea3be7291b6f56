"""What a window is: the ways to cut one split into rows of ``block_size + 1`` tokens.

Each class counts the windows of one pass and reads any of them by number; order and epochs are the stream's affair.
``Runs`` takes windows side by side from the running text, without regard to documents. ``PlannedWindows`` puts them
together from pieces of documents that a ``WindowPlan`` has chosen.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

import numpy as np
import numpy.typing as npt
from jaxtyping import Float32, Int32, Int64, Shaped

from gpt_lightning.data.store.checks import check_block_size
from gpt_lightning.data.store.columns import ENDS, IGNORED
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.stream.packing_plan import Rows, WindowPlan
from gpt_lightning.data.stream.permutation import hash_words


class Windows(ABC):
    """The windows of one pass over a split.

    Args:
        split: Where the tokens are.
        block_size: Training positions per window; a window holds one token more.

    Attributes:
        count: Windows in one pass, the same in every epoch.
    """

    count: int

    def __init__(self, split: TokenSplit, block_size: int) -> None:
        self.split, self.block_size = split, block_size

    @abstractmethod
    def starts(self, numbers: Int64[np.ndarray, " count"], epoch: int) -> Int64[np.ndarray, " count"]:
        """Where in the split each window (begins to) lie."""

    @abstractmethod
    def read(self, numbers: Int64[np.ndarray, " count"], epoch: int = 0, *, documents: bool = False) -> Rows:
        """Windows by number.

        Args:
            numbers: Values in [0, ``self.count``).
            epoch: Which pass; passes may cut differently.
            documents: Fill ``Rows.documents``.
        """


class MovingRuns(Windows):
    """Windows of the running text for training: the cuts move by a new random offset in every epoch.

    Args:
        split: Where the tokens are.
        block_size: Training positions per window.
        seed: What the offsets depend on, beside the epoch.

    Raises:
        DataError: The split is shorter than one window.
    """

    def __init__(self, split: TokenSplit, block_size: int, seed: int) -> None:
        super().__init__(split, block_size)
        check_block_size(split, block_size)
        self._seed = seed
        fitting = (split.num_tokens - block_size) // block_size
        # With fewer tokens than two windows less one there is no room to move.
        self._moving = fitting >= 1
        self.count = fitting if self._moving else (split.num_tokens - 1) // block_size

    def starts(self, numbers: Int64[np.ndarray, " count"], epoch: int) -> Int64[np.ndarray, " count"]:
        """First token of each window."""
        words = hash_words("offset", self._seed, epoch, count=1)
        return numbers * self.block_size + (int(words[0]) % self.block_size if self._moving else 0)

    def read(self, numbers: Int64[np.ndarray, " count"], epoch: int = 0, *, documents: bool = False) -> Rows:
        """Every position counts, so there are no weights, unless attention stays inside documents."""
        starts = self.starts(numbers, epoch)
        tokens = self.split.gather(starts, self.block_size + 1)
        if not documents:
            return Rows(tokens)
        found = number_documents(self.split, starts, self.block_size + 1)
        return Rows(tokens, _weigh_borders(tokens, found, self.split), found)


class Runs(Windows):
    """Windows of the running text for evaluation: side by side, every token but the first exactly once a target.

    Args:
        split: Where the tokens are.
        block_size: Positions per window; the last token of a window is the first of the next.

    Raises:
        DataError: The split has fewer than two tokens.
    """

    def __init__(self, split: TokenSplit, block_size: int) -> None:
        super().__init__(split, block_size)
        check_block_size(split, 1)
        self.count = -(-(split.num_tokens - 1) // block_size)

    def starts(self, numbers: Int64[np.ndarray, " count"], epoch: int) -> Int64[np.ndarray, " count"]:
        """First token of each window."""
        return numbers * self.block_size

    def read(self, numbers: Int64[np.ndarray, " count"], epoch: int = 0, *, documents: bool = False) -> Rows:
        """Only the very last window can be shorter; it is padded with weight 0."""
        length, count = self.block_size + 1, len(numbers)
        starts = self.starts(numbers, epoch)
        lengths = np.minimum(length, self.split.num_tokens - starts)
        tokens = np.full((count, length), self.split.eot_id, dtype=self.split.dtype)
        whole = lengths == length
        tokens[whole] = self.split.gather(starts[whole], length)
        for row in np.flatnonzero(~whole).tolist():
            rest = int(lengths[row])
            tokens[row, :rest] = self.split.gather(starts[row : row + 1], rest)[0]
        weights = (np.arange(1, length) < lengths[:, None]).astype(np.float32)
        if not documents:
            return Rows(tokens, weights)
        found = number_documents(self.split, starts, length)
        return Rows(tokens, weights * _weigh_borders(tokens, found, self.split), found)


class PlannedWindows(Windows):
    """Windows put together from pieces of documents; what is left of a row is padding of weight 0.

    The last token of a document predicts its end. Nothing predicts the first token of another piece: neither of a
    document, nor of the rest of one that was cut.

    Args:
        split: Where the tokens are.
        block_size: Training positions per window.
        plan: Which pieces make which window.
    """

    def __init__(self, split: TokenSplit, block_size: int, plan: WindowPlan) -> None:
        super().__init__(split, block_size)
        self.plan = plan
        self.count = plan.num_windows
        self._most = int(np.diff(plan.offsets).max(initial=0))
        self._together = 1 if split.layout is None else split.layout.rows_per_sample

    def starts(self, numbers: Int64[np.ndarray, " count"], epoch: int) -> Int64[np.ndarray, " count"]:
        """First token of the first piece."""
        starts: npt.NDArray[np.int64] = self.plan.starts[self.plan.offsets[numbers]]
        return starts

    def read(self, numbers: Int64[np.ndarray, " count"], epoch: int = 0, *, documents: bool = False) -> Rows:
        """The same windows in every epoch; the stream shuffles them."""
        plan, length = self.plan, self.block_size + 1
        first = plan.offsets[numbers]
        sizes = plan.offsets[numbers + 1] - first
        # Piece j of row r is entry first[r] + j of the plan, and stands behind the pieces before it.
        within = _count_up(sizes)
        entries = np.repeat(first, sizes) + within
        rows, lengths, cut = np.repeat(np.arange(len(numbers)), sizes), plan.lengths[entries], plan.closes[entries] == 0
        # Before the rest of a cut document, the end token of the document before.
        ends = ((plan.opens[entries] == 0) & (within > 0)).astype(np.int64)
        filled = np.bincount(rows, weights=lengths + ends, minlength=len(numbers)).astype(np.int64)
        columns = np.cumsum(lengths + ends) - lengths - np.repeat(np.cumsum(filled) - filled, sizes)
        tokens = np.full((len(numbers), length), self.split.eot_id, dtype=self.split.dtype)
        # A piece that is cut is the last of its row, and brings the token that it predicts last.
        self.split.copy_runs(tokens.reshape(-1), rows * length + columns, plan.starts[entries], lengths + cut)
        weights = (np.arange(1, length) <= filled[:, None]).astype(np.float32)
        last = columns + lengths - 1
        weights[rows[~cut], last[~cut]] = _is_end(tokens[rows, last], tokens[rows, last + 1], self.split)[~cut]
        weights[rows[ends > 0], columns[ends > 0] - 1] = 0.0
        beside = self._read_columns(entries, rows, columns, within, len(numbers))
        if not documents:
            return Rows(tokens, weights, columns=beside, together=self._together)
        # Padding is one document more, and so is an end token with a place of its own.
        inner, apart, padded = columns > 0, ends > 0, ~cut[np.cumsum(sizes) - 1]
        return Rows(
            tokens,
            weights,
            _number_runs(
                np.concatenate([rows[inner], rows[apart], np.flatnonzero(padded)]),
                np.concatenate([columns[inner], columns[apart] - 1, filled[padded]]),
                len(numbers),
                length,
            ),
            columns=beside,
            together=self._together,
        )

    def _read_columns(
        self,
        entries: Int64[np.ndarray, " pieces"],
        rows: Int64[np.ndarray, " pieces"],
        places: Int64[np.ndarray, " pieces"],
        within: Int64[np.ndarray, " pieces"],
        count: int,
    ) -> dict[str, Shaped[np.ndarray, "count ..."]]:
        """What stands beside the tokens of some windows, and where in its row each document ends.

        Args:
            entries: Pieces of the plan; of a store with columns each is a whole document.
            rows: The row of each.
            places: Where in its row each begins.
            within: Its number in the row.
            count: Rows.
        """
        layout, length = self.split.layout, self.block_size + 1
        if layout is None:
            return {}
        starts, lengths = self.plan.starts[entries], self.plan.lengths[entries]
        documents = np.searchsorted(self.split.document_ends, starts, side="right")
        found: dict[str, npt.NDArray[np.generic]] = {}
        for column in layout.columns:
            if column.per == "token":
                values = np.full((count, length), column.fill, dtype=column.dtype)
                self.split.copy_runs(values.reshape(-1), rows * length + places, starts, lengths, column.name)
            else:
                values = np.full((count, self._most, column.width), column.fill, dtype=column.dtype)
                values[rows, within] = self.split.document_column(column.name)[documents]
                values = values[:, :, 0] if column.width == 1 else values
            found[column.name] = values
        ends = np.full((count, self._most), IGNORED, dtype=np.int32)
        ends[rows, within] = places + lengths - 1
        return {**found, ENDS: ends}


def _is_end(
    tokens: Shaped[np.ndarray, " *shape"], targets: Shaped[np.ndarray, " *shape"], split: TokenSplit
) -> Shaped[np.ndarray, " *shape"]:
    """Whether a document's last token has the end token as its target, at the border to what follows.

    Not where the document has brought its end token itself, as other programs' files do.
    """
    found: npt.NDArray[np.bool_] = (targets == split.eot_id) & (tokens != split.eot_id)
    return found


def _weigh_borders(
    tokens: Shaped[np.ndarray, "count length"], documents: Int32[np.ndarray, "count length"], split: TokenSplit
) -> Float32[np.ndarray, "count _time"]:
    """Weights of running text in which attention stays inside documents: a border counts where it is an end."""
    inside = documents[:, 1:] == documents[:, :-1]
    counts: npt.NDArray[np.bool_] = inside | _is_end(tokens[:, :-1], tokens[:, 1:], split)
    return counts.astype(np.float32)


def _number_runs(
    rows: Int64[np.ndarray, " borders"], columns: Int64[np.ndarray, " borders"], count: int, length: int
) -> Int32[np.ndarray, "count length"]:
    """The run that each place of some rows belongs to, from 0 in each row.

    A run begins where a row does and at every ``(row, column)`` given; repeating numbers is 17 times faster than adding
    up marks.
    """
    edges = np.sort(np.concatenate([np.arange(count) * length, rows * length + columns]))
    numbers = _count_up(np.bincount(rows, minlength=count) + 1).astype(np.int32)
    spread: npt.NDArray[np.int32] = np.repeat(numbers, np.diff(edges, append=count * length))
    return spread.reshape(count, length)


def _count_up(sizes: Int64[np.ndarray, " rows"]) -> Int64[np.ndarray, " total"]:
    """``[2, 3]`` -> ``[0, 1, 0, 1, 2]``."""
    result: npt.NDArray[np.int64] = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    return result


def number_documents(
    split: TokenSplit, starts: Int64[np.ndarray, " count"], length: int
) -> Int32[np.ndarray, "count length"]:
    """The document that each token of some runs belongs to, counted from 0 within its run.

    Args:
        split: Where the tokens are.
        starts: First token of each run.
        length: Tokens per run; what lies beyond the end of the split counts as one more document.
    """
    ends = split.document_ends
    first = np.searchsorted(ends, starts, side="right")
    # Every end strictly inside a run starts a document there.
    sizes = np.searchsorted(ends, starts + length, side="left") - first
    rows = np.repeat(np.arange(len(starts)), sizes)
    columns = ends[np.repeat(first, sizes) + _count_up(sizes)] - starts[rows]
    return _number_runs(rows, columns, len(starts), length)
