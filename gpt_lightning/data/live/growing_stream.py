"""Streams over a split that is still growing: sample k is what it is when the split is finished, or waited for.

The first pass takes stretches of ``shuffle_tokens`` as they lie in the corpus, each shuffled within. A stretch is read
when it is whole, so neither its length nor its order depends on what follows; the last one, and all later passes, wait
for the end of the corpus. Evaluation reads its windows in order anyway, and waits for those it needs.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from jaxtyping import Int64

from gpt_lightning.data.live.growing import GrowingSplit
from gpt_lightning.data.stream.packing_plan import Rows
from gpt_lightning.data.stream.stream import EvaluationWindows, SampleStream, TrainStream

STRETCH_TOKENS = 1 << 23
"""Tokens shuffled together where nothing else is said: some four units of English text."""


class GrowingStream(SampleStream):
    """Shuffled windows of the running text of a growing split.

    Args:
        split: Where the tokens are.
        block_size: Training positions per window.
        seed: Another seed, another order.
        documents: Fill ``Rows.documents``.
        shuffle_tokens: Length of a stretch.
    """

    def __init__(
        self,
        split: GrowingSplit,
        block_size: int,
        seed: int = 0,
        *,
        documents: bool = False,
        shuffle_tokens: int = STRETCH_TOKENS,
    ) -> None:
        self.block_size = block_size
        self._split, self._seed, self._documents, self._shuffle_tokens = split, seed, documents, shuffle_tokens
        self._stretch = max(1, shuffle_tokens // block_size)
        self._inner: tuple[int, TrainStream] | None = None

    def read(self, samples: Int64[np.ndarray, " count"]) -> Rows:
        """The windows of any samples, in the order given.

        Raises:
            DataError: Preparing failed, or the corpus is shorter than one window.
        """
        self._wait(int(samples.max()))
        return self._present().read(samples)

    def _wait(self, sample: int) -> None:
        windows = (sample // self._stretch + 1) * self._stretch
        # So many tokens give that many windows whatever the offset of the cuts, see MovingRuns.
        self._split.wait((windows + 1) * self.block_size)

    def _present(self) -> TrainStream:
        """The stream over what there is now; whole stretches do not change any more."""
        tokens = self._split.num_tokens
        if self._inner is None or self._inner[0] != tokens:
            stream = TrainStream(
                self._split,
                self.block_size,
                self._seed,
                documents=self._documents,
                shuffle_tokens=self._shuffle_tokens,
                first_in_order=True,
            )
            self._inner = tokens, stream
        return self._inner[1]

    @property
    def windows_per_epoch(self) -> int:  # type: ignore[override]
        """Samples in one pass over the data; waits for the end of the corpus."""
        self._split.wait(1 << 62)
        return self._present().windows_per_epoch

    def expect(self, samples: Int64[np.ndarray, " count"]) -> None:
        """Nothing is far away."""


class GrowingEvaluation:
    """The windows of one pass over a growing split, in order; how many there are shows at the end.

    Args:
        split: Where the tokens are.
        block_size: Positions per window.
        documents: Fill ``Rows.documents``.
        advice: What the user could do about a long wait; said with it.
    """

    def __init__(self, split: GrowingSplit, block_size: int, *, documents: bool = False, advice: str = "") -> None:
        self._split, self._block_size, self._documents, self._advice = split, block_size, documents, advice

    def batches(self, batch_size: int, rank: int = 0, world: int = 1) -> Iterator[Rows]:
        """The batches of one process, see ``EvaluationWindows.batches``; each waits for its tokens only."""
        number = 0
        while True:
            there = self._split.wait((number + 1) * world * batch_size * self._block_size + 1, self._advice)
            windows = EvaluationWindows(self._split, self._block_size, documents=self._documents)
            if not there and number >= windows.num_batches(batch_size, world):
                return
            yield windows.batch(number, batch_size, rank, world)
            number += 1
