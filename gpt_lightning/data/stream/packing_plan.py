"""``Rows``: some windows as arrays, on their way from a store to a ``Batch``.

Plans that put documents into windows: which piece of the text stands in which row.

``plan_documents`` gives every document a row of its own. ``plan_packed`` fills rows with whole documents by
best-fit-decreasing (Johnson et al. 1974): longest first, each into the row where the least room is left over. Only
documents longer than a window are cut, and where whole documents leave too much padding (few, or all of an awkward
length), the emptiest rows are poured into each other until the rows are full enough.

A piece is a run of tokens that are seen; each of them predicts its successor, the last one of a document its end. So a
row takes ``block_size`` tokens, every token but the first of its document is a target exactly once, and so is every
document's end, whatever stands behind it: the next document, whose first token is the end token; padding; or the rest
of a document that was cut, before which the end token has a place of its own. Documents of a single token have nothing
to say and are left out.

A plan depends on the document ends and the block size alone. It is kept in the cache under a hash of both, and memory
mapped from there: 32 bytes per piece.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from jaxtyping import Float32, Int32, Int64, Integer, Shaped, UInt

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.files.atomic import replacing


@dataclass(frozen=True)
class Rows:
    """Windows, one per row.

    Attributes:
        tokens: Ids in the store's narrow type, one more per row than there are training positions.
        weights: Weight of every predicted position, 0 = must not count; None = all 1.
        documents: Number of the document that a token belongs to, counted from 0 within its row; None = not asked for.
        position: Number of the first row among all samples (training) or windows (evaluation).
        columns: What the store holds beside the tokens, and ``ends``: per token ``(count, time_plus_1)``; per document
            ``(count, max_documents)``, or ``(count, max_documents, width)``, in the order of the documents in the row.
        together: Rows of one sample, which follow each other: 2 for pairs.
    """

    tokens: UInt[np.ndarray, "count time_plus_1"]
    weights: Float32[np.ndarray, "count _time"] | None = None
    documents: Int32[np.ndarray, "count time_plus_1"] | None = None
    position: int = 0
    columns: Mapping[str, Shaped[np.ndarray, "count ..."]] = field(default_factory=dict)
    together: int = 1

    @property
    def samples(self) -> Int64[np.ndarray, " count"]:
        """Global number of the sample of every row."""
        numbers: Int64[np.ndarray, " count"] = (self.position + np.arange(len(self.tokens))) // self.together
        return numbers

    def part(self, first: int, count: int, position: int) -> Rows:
        """``count`` rows from row ``first`` on (views), of which the first has the number ``position``."""
        rows = slice(first, first + count)
        return Rows(
            self.tokens[rows],
            None if self.weights is None else self.weights[rows],
            None if self.documents is None else self.documents[rows],
            position,
            {name: values[rows] for name, values in self.columns.items()},
            self.together,
        )


_FORMAT = 2


@dataclass(frozen=True)
class WindowPlan:
    """Pieces in the order of their windows.

    Attributes:
        offsets: First piece of each window, and the number of pieces at the end, ``(windows + 1,)``.
        starts: First token of each piece, in tokens of the split.
        lengths: Tokens of each piece that are seen, at least 1.
        opens: 1 where a piece begins its document, 0 where it goes on with one.
        closes: 1 where a piece ends its document, 0 where it is cut; nothing follows one that is cut in its window.
    """

    offsets: Int64[np.ndarray, " windows_plus_1"]
    starts: Int64[np.ndarray, " pieces"]
    lengths: Int64[np.ndarray, " pieces"]
    opens: Int64[np.ndarray, " pieces"]
    closes: Int64[np.ndarray, " pieces"]

    @property
    def num_windows(self) -> int:
        """Rows."""
        return len(self.offsets) - 1

    def fill(self, block_size: int) -> float:
        """Share of the positions in all rows that hold a token."""
        return float(self.lengths.sum()) / max(1, self.num_windows * block_size)


def plan_documents(ends: Integer[np.ndarray, " documents"], block_size: int) -> WindowPlan:
    """Every document in a row of its own; a longer one in as many as it needs.

    Args:
        ends: Where each document ends, in tokens of the split.
        block_size: Training positions per window.
    """
    pieces = _cut(ends, block_size)
    return WindowPlan(np.arange(len(pieces) + 1), *pieces.T.copy())


def plan_packed(ends: Integer[np.ndarray, " documents"], block_size: int, min_fill: float = 0.999) -> WindowPlan:
    """Whole documents in as few rows as best-fit-decreasing finds.

    Args:
        ends: Where each document ends, in tokens of the split.
        block_size: Training positions per window.
        min_fill: Cut further documents until this share of all places is used (or a single row is left unfilled); 0
            cuts none.
    """
    pieces = _cut(ends, block_size)
    windows = _best_fit(_places(pieces, block_size), block_size)
    pieces = np.concatenate([windows[:, None], pieces], axis=1)
    if len(pieces) and _places(pieces[:, 1:], block_size).sum() < min_fill * (windows.max() + 1) * block_size:
        pieces = _pour(pieces, block_size, min_fill)
    pieces = pieces[np.lexsort((pieces[:, 1], pieces[:, 0]))]
    sizes = np.bincount(pieces[:, 0])
    offsets = np.concatenate([[0], np.cumsum(sizes[sizes > 0])]).astype(np.int64)
    return WindowPlan(offsets, *pieces[:, 1:].T.copy())


def _cut(ends: Integer[np.ndarray, " documents"], block_size: int) -> Int64[np.ndarray, "pieces 4"]:
    """Starts, lengths, opens and closes of the pieces, documents in order."""
    last = np.asarray(ends, dtype=np.int64)
    first = np.concatenate([[0], last[:-1]]).astype(np.int64)
    first, last = first[last - first > 1], last[last - first > 1]
    sizes = -(-(last - first) // block_size)
    within = np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)
    starts = np.repeat(first, sizes) + within * block_size
    rest = np.repeat(last, sizes) - starts
    return np.stack([starts, np.minimum(block_size, rest), within == 0, rest <= block_size], axis=1).astype(np.int64)


def _places(pieces: Int64[np.ndarray, "pieces 4"], capacity: int) -> Int64[np.ndarray, " pieces"]:
    """Places of pieces in a row: the rest of a cut document needs one for the end of what stands before it."""
    places: Int64[np.ndarray, " pieces"] = np.minimum(pieces[:, 1] + (pieces[:, 2] == 0), capacity)
    return places


def _best_fit(lengths: Int64[np.ndarray, " pieces"], capacity: int) -> Int64[np.ndarray, " pieces"]:
    """The row of every piece.

    ``rows_with[room]`` lists the open rows with that much room, and a bit of ``rooms`` tells which lists are not
    empty: the best fit is the lowest set bit from the piece's length on, a few machine words away.
    """
    order = np.argsort(-lengths, kind="stable")
    windows = np.empty(len(lengths), dtype=np.int64)
    full = int((lengths == capacity).sum())
    windows[order[:full]] = np.arange(full)
    rows_with: list[list[int]] = [[] for _ in range(capacity + 1)]
    rooms, opened = 0, full
    for piece, length in zip(order[full:].tolist(), lengths[order[full:]].tolist(), strict=True):
        fitting = rooms >> length
        if fitting:
            room = length + (fitting & -fitting).bit_length() - 1
            row = rows_with[room].pop()
            if not rows_with[room]:
                rooms ^= 1 << room
        else:
            room, row = capacity, opened
            opened += 1
        windows[piece] = row
        left = room - length
        if left:
            rows_with[left].append(row)
            rooms |= 1 << left
    return windows


def _pour(pieces: Int64[np.ndarray, "pieces 5"], capacity: int, min_fill: float) -> Int64[np.ndarray, "pieces_after 5"]:
    """Fill the emptiest rows anew, cutting documents at the end of each, as many rows as it takes.

    ``pieces`` has the columns row, start, length, opens, closes.
    """
    used = np.bincount(pieces[:, 0], weights=_places(pieces[:, 1:], capacity)).astype(np.int64)
    emptiest = np.argsort(used, kind="stable")
    # The last place of a row stays empty where it would only hold an end.
    refilled = -(-np.cumsum(used[emptiest]) // max(1, capacity - 1))
    rows = np.arange(len(used) - 1, -1, -1) + refilled
    enough = np.flatnonzero(used.sum() >= min_fill * rows * capacity)
    chosen = emptiest[: (int(enough[0]) if len(enough) else int(np.argmin(rows))) + 1]
    poured = np.isin(pieces[:, 0], chosen)
    again = _refill(pieces[poured], capacity, first_row=len(used))
    return np.concatenate([pieces[~poured], again])


def _refill(
    pieces: Int64[np.ndarray, "pieces 5"], capacity: int, first_row: int
) -> Int64[np.ndarray, "pieces_after 5"]:
    row, room, result = first_row, capacity, list[tuple[int, int, int, int, int]]()
    for _, start, length, opens, closes in pieces.tolist():
        while True:
            room -= not opens and room < capacity  # for the end of the document before
            if room <= 0:
                row, room = row + 1, capacity
            taken = min(room, length)
            room -= taken
            result.append((row, start, taken, opens, closes if taken == length else 0))
            if taken == length:
                break
            start, length, opens = start + taken, length - taken, 0
    return np.array(result, dtype=np.int64).reshape(-1, 5)


def find_or_make(plan: Callable[[], WindowPlan], *key: str | int) -> WindowPlan:
    """The plan kept in the cache under ``key``, else a new one that is kept there if the cache can be written.

    Args:
        plan: Makes it.
        key: All that it depends on.
    """
    digest = hashlib.sha256(repr((_FORMAT, *key)).encode()).hexdigest()[:24]
    path = cache_folder() / "plans" / f"{digest}.npy"
    try:
        return _open(path)
    except (OSError, ValueError, EOFError):  # not there yet, or cut short by a crash
        made = plan()
    try:
        _write(path, made)
    except OSError:
        return made  # a full or read-only cache only means planning again next time
    return _open(path)


def _write(path: Path, plan: WindowPlan) -> None:
    header = [plan.num_windows, len(plan.starts)]
    whole = np.concatenate([header, plan.offsets, plan.starts, plan.lengths, plan.opens, plan.closes]).astype(np.int64)
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path, durable=False) as file:
        np.save(file, whole)


def _open(path: Path) -> WindowPlan:
    whole = np.load(path, mmap_mode="r").view(np.ndarray)
    windows, pieces = whole[:2].tolist()
    borders = np.cumsum([2, windows + 1, pieces, pieces, pieces])
    offsets, starts, lengths, opens, closes = np.split(whole, borders)[1:]
    return WindowPlan(offsets, starts, lengths, opens, closes)
