"""Sample number -> window: what a model sees, as a pure function.

Training: epoch e passes over W windows in the order of ``Permutation(W, seed, e)``. Window w of epoch e starts at token
``offset(seed, e) + w * block_size``, with an offset in [0, block_size) drawn anew for every epoch, so that windows
differ between epochs. Sample k belongs to epoch ``k // W``. Resume contract: the number of samples consumed is the
whole state; the order is the same for any number of processes, size of micro-batch and accumulation with the same
product.

Evaluation: windows side by side, every token but the first exactly once a target.

Arrays are numpy and of the store's narrow type; the training room makes tensors and widens them on the device.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Float32, Int64, UInt

from gpt_lightning.data.checks import check_block_size
from gpt_lightning.data.permutation import Permutation, hash_words
from gpt_lightning.data.shards import TokenSplit


class TrainStream:
    """Endless shuffled windows of one split.

    Args:
        split: Where the tokens are.
        block_size: Training positions per window; a window holds one token more.
        seed: Another seed, another order.

    Raises:
        DataError: The split is shorter than one window.

    Attributes:
        windows_per_epoch: W, the same in every epoch: as many as fit whatever the offset.
    """

    def __init__(self, split: TokenSplit, block_size: int, seed: int = 0) -> None:
        check_block_size(split, block_size)
        self.split, self.block_size, self.seed = split, block_size, seed
        fitting = (split.num_tokens - block_size) // block_size
        self._moving = fitting >= 1
        self.windows_per_epoch = fitting if self._moving else (split.num_tokens - 1) // block_size

    def windows(self, first_sample: int, count: int) -> UInt[np.ndarray, "count time_plus_1"]:
        """Windows of the samples ``first_sample`` to ``first_sample + count - 1``."""
        return self.windows_of(np.arange(first_sample, first_sample + count, dtype=np.int64))

    def windows_of(self, samples: Int64[np.ndarray, " count"]) -> UInt[np.ndarray, "count time_plus_1"]:
        """Windows of any samples, in the order given."""
        return self.split.gather(self.locate(samples), self.block_size + 1)

    def locate(self, samples: Int64[np.ndarray, " count"]) -> Int64[np.ndarray, " count"]:
        """First token of each sample's window."""
        epochs, places = np.divmod(samples, self.windows_per_epoch)
        starts = np.empty_like(samples)
        for epoch in np.unique(epochs).tolist():
            chosen = epochs == epoch
            order = Permutation(self.windows_per_epoch, self.seed, epoch)
            starts[chosen] = order(places[chosen]) * self.block_size + self._offset(epoch)
        return starts

    def _offset(self, epoch: int) -> int:
        if not self._moving:
            return 0
        return int(hash_words("offset", self.seed, epoch, count=1)[0]) % self.block_size

    def micro_batches(
        self,
        first_step: int,
        steps: int,
        *,
        batch_size: int,
        accumulate: int = 1,
        rank: int = 0,
        world: int = 1,
        gather_batches: int = 32,
    ) -> Iterator[tuple[UInt[np.ndarray, "batch time_plus_1"], int]]:
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
            Tokens ``(batch_size, block_size + 1)`` and the global number of their first sample.
        """
        firsts = np.arange(first_step * accumulate, (first_step + steps) * accumulate, dtype=np.int64)
        firsts = (firsts * world + rank) * batch_size
        rows = np.arange(batch_size, dtype=np.int64)
        for start in range(0, len(firsts), gather_batches):
            positions = firsts[start : start + gather_batches]
            tokens = self.windows_of((positions[:, None] + rows).reshape(-1))
            for number, position in enumerate(positions.tolist()):
                yield tokens[number * batch_size : (number + 1) * batch_size], position


class EvaluationWindows:
    """A split cut into windows side by side, in order; the remainder is padded with weight 0.

    Args:
        split: Where the tokens are.
        block_size: Positions per window; a window holds one token more, the last one being the next one's first.
        limit: Evaluate only the first so many windows; None = all. In windows, so that it does not depend on the
            batch size.

    Raises:
        DataError: The split has fewer than two tokens.

    Attributes:
        num_windows: Windows that contain a target.
    """

    def __init__(self, split: TokenSplit, block_size: int, *, limit: int | None = None) -> None:
        check_block_size(split, 1)
        self.split, self.block_size = split, block_size
        covering = -(-(split.num_tokens - 1) // block_size)
        self.num_windows = covering if limit is None else min(covering, limit)

    def num_batches(self, batch_size: int, world: int = 1) -> int:
        """Batches of every process."""
        return -(-self.num_windows // (batch_size * world))

    def batches(
        self, batch_size: int, rank: int = 0, world: int = 1
    ) -> Iterator[tuple[UInt[np.ndarray, "batch time_plus_1"], Float32[np.ndarray, "batch time"], int]]:
        """The batches of one process; every process has as many, of the same shape.

        Yields:
            Tokens ``(batch_size, block_size + 1)``, weight of each predicted position ``(batch_size, block_size)``
            (0 = padding) and the number of the first window.
        """
        for number in range(self.num_batches(batch_size, world)):
            first = (number * world + rank) * batch_size
            yield *self._read(first, batch_size), first

    def _read(
        self, first: int, count: int
    ) -> tuple[UInt[np.ndarray, "batch time_plus_1"], Float32[np.ndarray, "batch time"]]:
        length, windows = self.block_size, np.arange(first, min(first + count, self.num_windows), dtype=np.int64)
        tokens = np.full((count, length + 1), self.split.eot_id, dtype=self.split.dtype)
        weights = np.zeros((count, length), dtype=np.float32)
        starts = windows * length
        whole = int((starts + length < self.split.num_tokens).sum())
        tokens[:whole] = self.split.gather(starts[:whole], length + 1)
        weights[:whole] = 1.0
        if whole < len(windows):  # only the last window of a split can be shorter
            rest = self.split.num_tokens - int(starts[whole])
            tokens[whole, :rest] = self.split.gather(starts[whole:], rest)[0]
            weights[whole, : rest - 1] = 1.0
        return tokens, weights
