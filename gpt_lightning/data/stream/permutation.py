"""A random order of n things without storing it.

A value below rows x columns is a pair (row, column). Each round of the Feistel network adds to one half, modulo its
range, a hash of the other half: a bijection for any hash. With rows x columns barely above n, walking on from the few
values >= n makes it a bijection of [0, n). No state but the key, any element in O(1), so a run resumes anywhere at
once. (Black and Rogaway 2002, "Ciphers with arbitrary finite domains": generalized Feistel, cycle walking.)
"""

from __future__ import annotations

import hashlib
import math

import numpy as np
import numpy.typing as npt
from jaxtyping import Int64

_ROUNDS = 6


def hash_words(*words: int | str, count: int) -> npt.NDArray[np.uint64]:
    """``count`` uint64 that depend on all words and are the same on every machine (BLAKE2b in counter mode)."""
    parts = []
    for number in range(count):
        message = repr((number, *words)).encode()
        parts.append(int.from_bytes(hashlib.blake2b(message, digest_size=8).digest(), "little"))
    return np.array(parts, dtype=np.uint64)


class Permutation:
    """A pseudo-random bijection of [0, size).

    Args:
        size: Number of elements, at least 1.
        key: What the order depends on, e.g. ``(seed, epoch)``.
    """

    def __init__(self, size: int, *key: int | str) -> None:
        assert 1 <= size <= 1 << 62
        self.size = size
        # rows x columns < size + rows. Halves of equal bits would give up to 4 x size, and 18 walks for 400 indices.
        rows = math.isqrt(size - 1) + 1
        self._rows, self._columns = np.uint64(rows), np.uint64(-(-size // rows))
        self._keys = hash_words("permutation", *key, count=_ROUNDS)

    def __call__(self, indices: Int64[np.ndarray, " count"]) -> Int64[np.ndarray, " count"]:
        """Where each index goes.

        Args:
            indices: Values in [0, size), checked: from an index outside, the walk might never come back.
        """
        if len(indices) == 0:
            return indices
        assert indices.min() >= 0
        assert indices.max() < self.size
        values = self._shuffle(indices.astype(np.uint64))
        outside = np.flatnonzero(values >= self.size)
        while len(outside):
            walked = self._shuffle(values[outside])
            values[outside] = walked
            outside = outside[walked >= self.size]
        return values.astype(np.int64)

    def _shuffle(self, values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        row, column = np.divmod(values, self._columns)
        for number, key in enumerate(self._keys):
            if number % 2 == 0:
                row = (row + _mix(column ^ key) % self._rows) % self._rows
            else:
                column = (column + _mix(row ^ key) % self._columns) % self._columns
        shuffled: npt.NDArray[np.uint64] = row * self._columns + column
        return shuffled


class StretchedPermutation:
    """A random order that stays inside one stretch of neighbours before it moves to another.

    Stretches of ``stretch`` elements come in random order, the shorter last one at the end, each shuffled within. For
    data of which only a part is at hand at a time.

    Args:
        size: Number of elements, at least 1.
        stretch: Elements of a stretch, at least 1.
        key: What the order depends on.
        in_order: Stretches come as they lie, so that a whole one is in the same order whatever follows it: for data
            that are still growing.
    """

    def __init__(self, size: int, stretch: int, *key: int | str, in_order: bool = False) -> None:
        assert stretch >= 1
        self.size, self._stretch, self._key = size, stretch, key
        self._whole = size // stretch
        self._stretches = Permutation(self._whole, "stretches", *key) if self._whole and not in_order else None

    def __call__(self, indices: Int64[np.ndarray, " count"]) -> Int64[np.ndarray, " count"]:
        """Where each index goes; indices in [0, size), checked."""
        assert len(indices) == 0 or (indices.min() >= 0 and indices.max() < self.size)
        slots, within = np.divmod(indices, self._stretch)
        result = np.empty_like(indices)
        for slot in np.unique(slots).tolist():
            chosen = slots == slot
            rest = slot == self._whole
            home = slot if rest or self._stretches is None else int(self._stretches(np.array([slot]))[0])
            length = self.size - slot * self._stretch if rest else self._stretch
            result[chosen] = home * self._stretch + Permutation(length, home, *self._key)(within[chosen])
        return result


def _mix(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finalizer of SplitMix64 (Steele, Lea and Flood 2014): every input bit reaches every output bit."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: npt.NDArray[np.uint64] = values ^ (values >> np.uint64(31))
    return mixed
