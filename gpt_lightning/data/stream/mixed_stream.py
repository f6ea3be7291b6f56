"""Several streams as one: sample k of a mixture is a pure function of (seed, k), like sample k of each source.

``quotas`` says how many samples of a block of 4096 come from each source; a permutation of the block says in which
order. Counted in the order of the mixture, the samples of one source are 0, 1, 2, ...: every source runs through its
own epochs exactly.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from jaxtyping import Int64

from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.stream.mixture import BLOCK, Mixture, Phase, plan_phases
from gpt_lightning.data.stream.packing_plan import Rows
from gpt_lightning.data.stream.permutation import Permutation, hash_words
from gpt_lightning.data.stream.stream import SampleStream, TrainStream, interleave
from gpt_lightning.errors import ConfigError, DataError


class MixedStream(SampleStream):
    """Samples of several sources.

    Args:
        streams: By name, all of the same block size and packing.
        phases: Shares over time, sources in the order of ``streams``.
        seed: Another seed, another order.

    Attributes:
        windows_per_epoch: Windows of all sources together.
        num_samples: Samples until all sources are used up; None = without end.
    """

    def __init__(self, streams: Mapping[str, TrainStream], phases: Sequence[Phase], seed: int) -> None:
        self.names, self._streams, self._phases = list(streams), list(streams.values()), phases
        self.block_size = self._streams[0].block_size
        self.windows_per_epoch = sum(stream.windows_per_epoch for stream in self._streams)
        last = phases[-1]
        self.num_samples = None if last.length is None else last.first + last.length
        self._seed = seed
        self._starts = [phase.first for phase in phases]
        # Neighbouring reads ask for the same block; the longest read of a step spans a few of them.
        self._deal = lru_cache(maxsize=16)(self._deal_block)

    def counts(self, samples: int) -> dict[str, int]:
        """Samples of each source among the first ``samples``, exactly; at most ``num_samples``."""
        number = bisect_right(self._starts, samples) - 1
        block, inside = divmod(samples - self._phases[number].first, BLOCK)
        counts, _ = self._phases[number].block(block)
        if inside:
            sources, _ = self._deal(number, block)
            counts = [had + int((sources[:inside] == source).sum()) for source, had in enumerate(counts)]
        return dict(zip(self.names, counts, strict=True))

    def epochs(self, samples: int) -> dict[str, float]:
        """Passes over each source among the first ``samples``."""
        windows = {name: stream.windows_per_epoch for name, stream in zip(self.names, self._streams, strict=True)}
        return {name: count / windows[name] for name, count in self.counts(samples).items()}

    def check_length(self, samples: int) -> None:
        """Raise DataError when the sources do not have that many samples to give."""
        if self.num_samples is not None and samples > self.num_samples:
            raise DataError(
                f"The run asks for {samples} windows, but with data.mixture.sources.*.max_epochs the sources are used "
                f"up after {self.num_samples}",
                got=samples,
                allowed=f"{self.num_samples} at most",
                fix="Shorten the run, raise a max_epochs, or add text.",
            )

    def _deal_block(self, phase_number: int, block: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """Source and number within the source of every sample of a block."""
        phase = self._phases[phase_number]
        had, dealt = (np.array(counts, dtype=np.int64) for counts in phase.block(block))
        size = int(dealt.sum())
        order = Permutation(size, self._seed, "mixture", phase.first, block)
        sources = np.searchsorted(np.cumsum(dealt), order(np.arange(size)), side="right")
        numbers = np.empty(size, dtype=np.int64)
        starts = had - (np.cumsum(dealt) - dealt)
        numbers[np.argsort(sources, kind="stable")] = np.arange(size) + np.repeat(starts, dealt)
        return sources, numbers

    def locate(
        self, samples: Int64[np.ndarray, " count"]
    ) -> tuple[Int64[np.ndarray, " count"], Int64[np.ndarray, " count"]]:
        """Number of the source, and number of the sample within it."""
        sources, numbers = np.empty_like(samples), np.empty_like(samples)
        phases = np.searchsorted(self._starts, samples, side="right") - 1
        blocks, slots = np.divmod(samples - np.asarray(self._starts)[phases], BLOCK)
        for phase, block in sorted(set(zip(phases.tolist(), blocks.tolist(), strict=True))):
            chosen = (phases == phase) & (blocks == block)
            dealt_sources, dealt_numbers = self._deal(phase, block)
            sources[chosen], numbers[chosen] = dealt_sources[slots[chosen]], dealt_numbers[slots[chosen]]
        return sources, numbers

    def read(self, samples: Int64[np.ndarray, " count"]) -> Rows:
        """The windows of any samples, in the order given."""
        sources, numbers = self.locate(samples)
        parts = []
        for source in np.unique(sources).tolist():
            places = np.flatnonzero(sources == source)
            parts.append((places, self._streams[source].read(numbers[places])))
        return interleave(parts, len(samples))

    def expect(self, samples: Int64[np.ndarray, " count"]) -> None:
        """Pass the samples of each source on to it."""
        sources, numbers = self.locate(samples)
        for source in np.unique(sources).tolist():
            self._streams[source].expect(numbers[sources == source])


def mix(
    stores: Mapping[str, TokenStore],
    mixture: Mixture,
    seed: int,
    block_size: int,
    open_stream: Callable[[TokenStore, int], TrainStream],
) -> MixedStream:
    """The stream of a mixture.

    Args:
        stores: By the name of the source.
        mixture: Weights, caps and schedule.
        seed: Another seed, another order.
        block_size: Training positions per window.
        open_stream: Makes the stream of one source, with a seed of its own.

    Raises:
        DataError: A source is shorter than one window.
    """
    streams, sizes, limits = {}, {}, []
    layout = next(iter(stores.values())).manifest.layout
    if layout is not None and layout.rows_per_sample > 1:
        raise ConfigError(
            f"data.mixture deals single rows, and a sample of {layout.name} is {layout.rows_per_sample}",
            got=sorted(stores),
            fix="List the files in one data.source.",
        )
    for name, source in mixture.sources.items():
        # Another order for each source, or sources of equal size would go through the same places together.
        own_seed = int(hash_words("source", seed, name, count=1)[0]) >> 1
        streams[name] = open_stream(stores[name], own_seed)
        sizes[name] = stores[name].split("train").num_tokens
        windows = streams[name].windows_per_epoch
        limits.append(None if source.max_epochs is None else max(1, int(source.max_epochs * windows)))
    changes = [
        (tokens // block_size, mixture.shares(tokens, sizes))
        for tokens in (0, *(change.from_tokens for change in mixture.schedule))
    ]
    return MixedStream(streams, plan_phases(changes, limits), seed)
