"""Sample number -> window: what a model sees, as a pure function.

Training: a packing policy cuts the split into W windows per epoch (``packing``, ``windows``); epoch e passes over them
in the order of ``Permutation(W, seed, e)``, so sample k is window ``order(k mod W)`` of epoch ``k // W``. Resume
contract: the number of samples consumed is the whole state; the order is the same for any number of processes, size of
micro-batch and accumulation with the same product.

Evaluation: the windows of one pass, in order.

Arrays are numpy and of the store's narrow type; the training room makes tensors and widens them on the device.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Int64, Shaped, UInt

from gpt_lightning.data.store.columns import IGNORED
from gpt_lightning.data.store.shards import TokenSplit
from gpt_lightning.data.stream.packing import Concat, Packing
from gpt_lightning.data.stream.packing_plan import Rows
from gpt_lightning.data.stream.permutation import Permutation, StretchedPermutation

_RUNNING_TEXT = Concat()
_LOOK_AHEAD = 8
"""Reads by which a far-away store is told what will be asked for."""


class SampleStream(ABC):
    """Endless samples, each a pure function of its number.

    Attributes:
        block_size: Training positions per window.
        windows_per_epoch: Samples in one pass over the data.
    """

    block_size: int
    windows_per_epoch: int

    @abstractmethod
    def read(self, samples: Int64[np.ndarray, " count"]) -> Rows:
        """The windows of any samples, in the order given."""

    @abstractmethod
    def expect(self, samples: Int64[np.ndarray, " count"]) -> None:
        """Say which samples will be asked for soon; a store that is far away fetches them meanwhile."""

    def windows(self, first_sample: int, count: int) -> UInt[np.ndarray, "count time_plus_1"]:
        """Tokens of the samples ``first_sample`` to ``first_sample + count - 1``."""
        return self.read(np.arange(first_sample, first_sample + count, dtype=np.int64)).tokens

    def super_batches(
        self,
        first_step: int,
        steps: int,
        *,
        batch_size: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        gather_batches: int = 64,
    ) -> Iterator[list[Rows]]:
        """The micro-batches of one process, for the optimizer steps ``first_step`` to ``first_step + steps - 1``.

        A step consumes a global batch of G = ``batch_size * world * accumulate`` samples from sample ``step * G`` on.
        Micro-batch j of rank r takes the ``batch_size`` rows from ``(j * world + r) * batch_size`` on.

        Args:
            first_step: Steps done before.
            steps: How many follow.
            batch_size: Windows per micro-batch.
            accumulate: Micro-batches of this process per step.
            rank: Number of this process.
            world: Number of processes.
            gather_batches: Micro-batches read at once; one at a time is several times slower.

        Yields:
            Up to ``gather_batches`` micro-batches that were read at once, in order; each states the global number of
            its first sample.
        """
        end = (first_step + steps) * accumulate
        for start in range(first_step * accumulate, end, gather_batches):
            firsts = _first_samples(start, min(start + gather_batches, end), batch_size, rank, world)
            rows = self.read((firsts[:, None] + np.arange(batch_size)).reshape(-1))
            ahead = start + _LOOK_AHEAD * gather_batches
            if ahead < end:
                self.expect(_first_samples(ahead, min(ahead + gather_batches, end), batch_size, rank, world))
            yield [rows.part(n * batch_size, batch_size, first) for n, first in enumerate(firsts.tolist())]


def _first_samples(start: int, end: int, batch_size: int, rank: int, world: int) -> npt.NDArray[np.int64]:
    """First sample of the micro-batches ``start`` to ``end - 1`` of a process."""
    return (np.arange(start, end, dtype=np.int64) * world + rank) * batch_size


class TrainStream(SampleStream):
    """Endless shuffled windows of one split.

    Args:
        split: Where the tokens are.
        block_size: Training positions per window; a window holds one token more.
        seed: Another seed, another order.
        packing: How documents share the windows.
        documents: Fill ``Rows.documents``.
        shuffle_tokens: Shuffle within stretches of about so many tokens, and the stretches; None = the whole split at
            once. For stores of which only a part fits on this machine.
        first_in_order: The first pass takes the stretches as they lie, see ``growing_stream``.

    Raises:
        DataError: The split is shorter than one window.
    """

    def __init__(
        self,
        split: TokenSplit,
        block_size: int,
        seed: int = 0,
        *,
        packing: Packing = _RUNNING_TEXT,
        documents: bool = False,
        shuffle_tokens: int | None = None,
        first_in_order: bool = False,
    ) -> None:
        self.block_size, self.seed = block_size, seed
        self._split, self._documents = split, documents
        self._windows = packing.train(split, block_size, seed)
        self._stretch = None if shuffle_tokens is None else max(1, shuffle_tokens // block_size)
        self._first_in_order = first_in_order
        self.windows_per_epoch = self._windows.count
        self._together = 1 if split.layout is None else split.layout.rows_per_sample

    def read(self, samples: Int64[np.ndarray, " count"]) -> Rows:
        """The windows of any samples, in the order given; mostly of one epoch."""
        parts = []
        for epoch, places in self._locate(samples):
            parts.append(
                (places, self._windows.read(self._order(epoch, samples[places]), epoch, documents=self._documents))
            )
        return parts[0][1] if len(parts) == 1 else interleave(parts, len(samples))

    def expect(self, samples: Int64[np.ndarray, " count"]) -> None:
        """Pass the places of the samples on to the split."""
        if self._split.is_remote:
            for epoch, places in self._locate(samples):
                self._split.expect(self._windows.starts(self._order(epoch, samples[places]), epoch))

    def _locate(self, samples: Int64[np.ndarray, " count"]) -> list[tuple[int, npt.NDArray[np.int64]]]:
        """The epochs that occur, each with the places of its samples in ``samples``."""
        epochs = samples // self.windows_per_epoch
        return [(epoch, np.flatnonzero(epochs == epoch)) for epoch in np.unique(epochs).tolist()]

    def _order(self, epoch: int, samples: Int64[np.ndarray, " count"]) -> npt.NDArray[np.int64]:
        key = (self.seed, epoch)
        # Rows that belong together keep their order; what is shuffled is their groups.
        places, inside = np.divmod(samples % self.windows_per_epoch, self._together)
        count = self.windows_per_epoch // self._together
        if self._stretch is None:
            return Permutation(count, *key)(places) * self._together + inside
        stretch, in_order = max(1, self._stretch // self._together), self._first_in_order and epoch == 0
        order = StretchedPermutation(count, stretch, *key, in_order=in_order)
        return order(places) * self._together + inside


def interleave(parts: list[tuple[npt.NDArray[np.int64], Rows]], count: int) -> Rows:
    """Put rows of several reads together.

    Args:
        parts: Reads with the places that their rows shall take; all with weights or none, the same for documents.
        count: Rows in all.
    """

    def merge(arrays: list[npt.NDArray[Any] | None]) -> npt.NDArray[Any] | None:
        filled = [array for array in arrays if array is not None]
        if not filled:
            return None
        widest = max(array.shape[1] for array in filled)
        merged = np.full((count, widest, *filled[0].shape[2:]), _fill_of(filled[0]), dtype=np.result_type(*filled))
        for (places, _), array in zip(parts, filled, strict=True):
            merged[places, : array.shape[1]] = array
        return merged

    tokens = merge([rows.tokens for _, rows in parts])
    assert tokens is not None
    columns = {name: merge([rows.columns[name] for _, rows in parts]) for name in parts[0][1].columns}
    return Rows(
        tokens,
        merge([rows.weights for _, rows in parts]),
        merge([rows.documents for _, rows in parts]),
        columns={name: values for name, values in columns.items() if values is not None},
        together=parts[0][1].together,
    )


def _fill_of(values: npt.NDArray[Any]) -> int:
    """What stands in a column where there is nothing; see ``Column.fill``."""
    return IGNORED if values.dtype.kind == "i" else 0


class EvaluationWindows:
    """The windows of one pass over a split, in order.

    Args:
        split: Where the tokens are.
        block_size: Positions per window; a window holds one token more.
        packing: How documents share the windows.
        documents: Fill ``Rows.documents``.
        limit: Evaluate only the first so many windows; None = all. In windows, so that it does not depend on the
            batch size.

    Raises:
        DataError: The split has fewer than two tokens.

    Attributes:
        num_windows: Windows that contain a target.
    """

    def __init__(
        self,
        split: TokenSplit,
        block_size: int,
        *,
        packing: Packing = _RUNNING_TEXT,
        documents: bool = False,
        limit: int | None = None,
    ) -> None:
        self._windows, self._documents = packing.evaluate(split, block_size), documents
        self._eot_id, self.block_size = split.eot_id, block_size
        together = 1 if split.layout is None else split.layout.rows_per_sample
        self.num_windows = (
            self._windows.count if limit is None else min(self._windows.count, limit // together * together)
        )

    def num_batches(self, batch_size: int, world: int = 1) -> int:
        """Batches of every process."""
        return -(-self.num_windows // (batch_size * world))

    def batches(self, batch_size: int, rank: int = 0, world: int = 1) -> Iterator[Rows]:
        """The batches of one process; every process has as many, of the same shape.

        Yields:
            ``batch_size`` rows with weights (0 = padding); the position is the number of the first window.
        """
        for number in range(self.num_batches(batch_size, world)):
            yield self.batch(number, batch_size, rank, world)

    def batch(self, number: int, batch_size: int, rank: int = 0, world: int = 1) -> Rows:
        """One batch of one process; see ``batches``."""
        first = (number * world + rank) * batch_size
        there = np.arange(first, max(first, min(first + batch_size, self.num_windows)), dtype=np.int64)
        rows = self._windows.read(there, documents=self._documents)
        missing = batch_size - len(there)
        return Rows(
            _pad(rows.tokens, missing, self._eot_id),
            None if rows.weights is None else _pad(rows.weights, missing, 0),
            None if rows.documents is None else _pad(rows.documents, missing, 0),
            first,
            {name: _pad(values, missing, _fill_of(values)) for name, values in rows.columns.items()},
            rows.together,
        )


def _pad(array: Shaped[np.ndarray, "count ..."], rows: int, value: int) -> Shaped[np.ndarray, "rows ..."]:
    edges = ((0, rows), *((0, 0) for _ in array.shape[1:]))
    return np.pad(array, edges, constant_values=value) if rows else array
