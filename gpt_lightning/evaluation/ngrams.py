"""Which runs of n units two bodies of text have in common.

The benchmark is small and the training text is not, so the index is of the benchmark: its n-grams as 64-bit hashes in
a sorted array. The training text then streams by, a block at a time, and every hash is looked up. Memory is that of
the benchmark and one block, whatever the store's size; nothing is sampled. Two different n-grams have the same hash
once in 10^19 pairs: a million of the benchmark against ten thousand million of the text agree falsely with a
probability of one in two thousand.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt64

_PRIME = np.uint64(0x9E3779B97F4A7C15)


def _mix(values: UInt64[np.ndarray, " units"]) -> UInt64[np.ndarray, " units"]:
    """64 well-mixed bits of each unit (SplitMix64's finalizer)."""
    z = values * _PRIME + _PRIME
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = z ^ (z >> np.uint64(31))
    return mixed


def hash_ngrams(units: UInt64[np.ndarray, " units"], n: int) -> UInt64[np.ndarray, " ngrams"]:
    """A hash of each run of ``n`` units; none where there are fewer."""
    count = len(units) - n + 1
    if count < 1:
        return np.empty(0, dtype=np.uint64)
    mixed = _mix(units)
    total = np.zeros(count, dtype=np.uint64)
    for place in range(n):
        # Horner's rule modulo 2^64: the order of the units counts.
        total = total * _PRIME + mixed[place : place + count]
    return _mix(total)


@dataclass(frozen=True)
class Overlap:
    """Of an item of a benchmark.

    Attributes:
        ngrams: Runs that it has.
        seen: How many of them the training text has too.
        document: Number of the first document that has one; -1 = none.
    """

    ngrams: int
    seen: int
    document: int


class NgramIndex:
    """The n-grams of a benchmark, and which of them were met.

    Args:
        items: Units of each item.
        n: Length of a run.
    """

    def __init__(self, items: Iterable[UInt64[np.ndarray, " _units"]], n: int) -> None:
        self._n = n
        self._items = [hash_ngrams(units, n) for units in items]
        self._hashes = np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *self._items]))
        self._document = np.full(len(self._hashes), -1, dtype=np.int64)

    def meet(self, units: UInt64[np.ndarray, " units"], document: int) -> None:
        """A part of the training text; parts of one document overlap by ``n - 1`` units."""
        if not len(self._hashes):
            return
        hashes = hash_ngrams(units, self._n)
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        hit: Bool[np.ndarray, " ngrams"] = self._hashes[places] == hashes
        new = places[hit]
        self._document[new[self._document[new] < 0]] = document

    def overlaps(self) -> Iterator[Overlap]:
        """Of each item, in their order."""
        for hashes in self._items:
            documents = self._document[np.searchsorted(self._hashes, hashes)]
            seen = documents[documents >= 0]
            yield Overlap(len(hashes), len(seen), int(seen.min()) if len(seen) else -1)


def number_words(words: Sequence[str], known: dict[str, int]) -> UInt64[np.ndarray, " units"]:
    """Words as numbers; ``known`` grows by those that are new, so that the same word is the same number."""
    return np.array([known.setdefault(word, len(known)) for word in words], dtype=np.uint64)
