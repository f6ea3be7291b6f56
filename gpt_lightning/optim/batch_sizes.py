"""How many tokens every optimizer step takes, as a table: what a batch ramp comes down to.

The position in the data is the sum over the steps done, in closed form, so that nothing of it has to be saved.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property


@dataclass(frozen=True)
class BatchSizes:
    """Stairs: from step ``starts[i]`` on, a step takes ``tokens[i]`` tokens.

    Args:
        starts: The first is 0, each larger than the one before.
        tokens: Training positions of one step, at least 1; as many as starts.

    >>> sizes = BatchSizes((0, 2), (10, 40))
    >>> [sizes.at(step) for step in range(4)], [sizes.before(step) for step in range(5)]
    ([10, 10, 40, 40], [0, 10, 20, 60, 100])
    >>> sizes.within(59), sizes.within(60), sizes.reaching(59), sizes.reaching(61)
    (2, 3, 3, 4)
    """

    starts: tuple[int, ...]
    tokens: tuple[int, ...]

    @cached_property
    def _sums(self) -> tuple[int, ...]:
        """Tokens before the start of each level."""
        sums = [0]
        for level in range(1, len(self.starts)):
            sums.append(sums[-1] + (self.starts[level] - self.starts[level - 1]) * self.tokens[level - 1])
        return tuple(sums)

    def at(self, step: int) -> int:
        """Tokens that step number ``step`` (0, 1, ...) takes."""
        return self.tokens[bisect_right(self.starts, step) - 1]

    def before(self, step: int) -> int:
        """Tokens of the first ``step`` steps together."""
        level = bisect_right(self.starts, step) - 1
        return self._sums[level] + (step - self.starts[level]) * self.tokens[level]

    def within(self, tokens: int) -> int:
        """The most steps that together take at most ``tokens``."""
        level = bisect_right(self._sums, tokens) - 1
        return self.starts[level] + (tokens - self._sums[level]) // self.tokens[level]

    def reaching(self, tokens: int) -> int:
        """The fewest steps that together take at least ``tokens``."""
        steps = self.within(tokens)
        return steps if self.before(steps) == tokens else steps + 1
