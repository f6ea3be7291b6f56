"""Random numbers that are functions of (seed, sample, purpose, index), so that nothing has a state to lose.

A generator hands out its numbers in order: what a sample gets depends on who was served before it, hence on the size
of the micro-batch, the number of processes and where a run was killed. Here every number is computed from what names
it (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3"), by SplitMix64's finalizer (Steele, Lea and Flood
2014) on int64 tensors: integer arithmetic that wraps, which every device and compiler does alike. The same masks come
out for any split of the global batch, on any number of processes, after any interruption.

>>> together = Draws(seed=7, samples=torch.tensor([3, 4])).below("span", count=2, limit=10)
>>> alone = [Draws(seed=7, samples=torch.tensor([sample])).below("span", count=2, limit=10) for sample in (3, 4)]
>>> together.tolist() == torch.cat(alone).tolist()
True
"""

from __future__ import annotations

import hashlib

import torch
from jaxtyping import Float, Int
from torch import Tensor

_GOLDEN = -0x61C8864680B583EB  # 0x9E3779B97F4A7C15 as a signed number
_FIRST = -0x40A7B892E31B1A47  # 0xBF58476D1CE4E5B9
_SECOND = -0x6B2FB644ECCEEE15  # 0x94D049BB133111EB
_BITS = 31
"""Bits of a draw from a range: its product with a limit of 32 bits stays below 2^63."""


class Draws:
    """Numbers for the rows of one micro-batch.

    Args:
        seed: The run's seed, or another for numbers that may not be those of training (validation).
        samples: Global number of the sample in every row; rows of one number get the same numbers.
    """

    def __init__(self, seed: int, samples: Int[Tensor, " batch"]) -> None:
        self._seed, self._samples = seed, samples

    def bits(self, purpose: str, count: int) -> Int[Tensor, "batch count"]:
        """64 random bits each.

        Args:
            purpose: Names the numbers; other purposes give independent ones.
            count: How many per row; the first of them do not depend on it.
        """
        index = torch.arange(count, device=self._samples.device)
        rows = _mix(self._samples + _key(self._seed, purpose))
        return _mix(rows[:, None] + (index + 1) * _GOLDEN)

    def uniform(self, purpose: str, count: int) -> Float[Tensor, "batch count"]:
        """Float32 numbers from 0 up to but not including 1, multiples of 2^-24: exact on every device."""
        return ((self.bits(purpose, count) >> 40) & 0xFFFFFF).to(torch.float32) * 2.0**-24

    def below(
        self, purpose: str, count: int, limit: Int[Tensor, " batch"] | Int[Tensor, "batch count"] | int
    ) -> Int[Tensor, "batch count"]:
        """Whole numbers from 0 up to but not including ``limit``.

        Each is drawn with a probability within ``limit / 2^31`` of the others'.

        Args:
            purpose: As in ``bits``.
            count: How many per row.
            limit: At least 1 and below 2^32; of every number, of every row, or of all.
        """
        wide = limit[:, None] if isinstance(limit, Tensor) and limit.ndim == 1 else limit
        numbers: Tensor = ((self.bits(purpose, count) >> 33) & (2**_BITS - 1)) * wide >> _BITS
        return numbers

    def order(self, purpose: str, count: int) -> Int[Tensor, "batch count"]:
        """A random order of ``count`` things: place i holds the number of the thing that comes i-th."""
        return self.bits(purpose, count).argsort(dim=1, stable=True)


def _mix(values: Int[Tensor, "*any"]) -> Int[Tensor, "*any"]:
    """SplitMix64's finalizer; the shifts are made logical by their masks."""
    values = values + _GOLDEN
    values = (values ^ ((values >> 30) & 0x3_FFFF_FFFF)) * _FIRST
    values = (values ^ ((values >> 27) & 0x1F_FFFF_FFFF)) * _SECOND
    return values ^ ((values >> 31) & 0x1_FFFF_FFFF)


def _key(seed: int, purpose: str) -> int:
    """64 bits of both, as torch's int64 has them."""
    return int.from_bytes(hashlib.sha256(f"{seed} {purpose}".encode()).digest()[:8], "little", signed=True)


# What torch.compiler.assume_constant_result does, which would import the whole compiler here: a second of every start.
vars(_key)["_dynamo_marked_constant"] = True
