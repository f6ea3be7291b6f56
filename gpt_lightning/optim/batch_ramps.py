"""Batch-size ramps: a small global batch at first, where gradients agree with each other, the full one later.

    LinearRamp   in equal steps from a first size to the full one   (GPT-3: Brown et al. 2020; Megatron's rampup)
    StagedRamp   any sizes at any places                            (DeepSeek-V3, 2024)

Sizes are global, in tokens, so that a ramp means the same on any number of processes. The batch is a pure function of
the step, and so is the position in the data; learning rates do not follow it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.batch_sizes import BatchSizes
from gpt_lightning.optim.schedules.lengths import Length, ParsedLength, parse_length
from gpt_lightning.optim.schedules.warmup_cooldown import check_order


class BatchRamp(ABC):
    """How the global batch grows to its full size."""

    @abstractmethod
    def levels(self, full: int) -> list[tuple[ParsedLength, int]]:
        """Where each size begins, the first at 0 and the last ``full``, never falling.

        Args:
            full: Tokens of the full global batch.

        Raises:
            ConfigError: The sizes do not lead there.
        """

    def table(self, full: int, total_steps: int) -> BatchSizes:
        """The sizes in a run of ``total_steps``; stairs that would have no step are left out.

        Raises:
            ConfigError: The sizes do not lead to ``full``, or their places are not in order.
        """
        (_, first), *rest = self.levels(full)
        starts, tokens = [0], [first]
        for place, size in rest:
            if place.unit == "tokens":
                start = BatchSizes(tuple(starts), tuple(tokens)).reaching(-(-place.value // 1))
            else:
                start = place.to_steps(total_steps=total_steps, tokens_per_step=full)
            check_order([starts[-1], start], "batch_ramp's places")
            if start == starts[-1]:
                tokens[-1] = size
            else:
                starts.append(start)
                tokens.append(size)
        return BatchSizes(tuple(starts), tuple(tokens))

    def count_steps(self, full: int, budget: int) -> int:
        """The most steps of a run that takes at most ``budget`` tokens; at least 1.

        A run one step longer never takes fewer tokens: every place moves by one step at most, and sizes never fall.
        """
        low, high = 1, max(1, budget // self.levels(full)[0][1])
        while low < high:
            middle = (low + high + 1) // 2
            if self.table(full, middle).before(middle) <= budget:
                low = middle
            else:
                high = middle - 1
        return low


class LinearRamp(BatchRamp):
    """In equal stairs from a first size to the full one.

    Args:
        start_tokens: Tokens of the first steps.
        length: Where the full size is reached: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        increment_tokens: What every stair adds; must lead from start_tokens to the full batch. Null = start_tokens.

    Raises:
        ConfigError: A size is not positive, or the length is none.
    """

    def __init__(self, start_tokens: int, length: Length = "10%", increment_tokens: int | None = None) -> None:
        self._start = _check_size(start_tokens, "start_tokens")
        self._increment = _check_size(
            start_tokens if increment_tokens is None else increment_tokens, "increment_tokens"
        )
        self._length = parse_length(length, "batch_ramp.length")

    def levels(self, full: int) -> list[tuple[ParsedLength, int]]:
        """Stair j of n begins at the share j / n of the length."""
        rise = full - self._start
        if rise < 0 or rise % self._increment:
            raise ConfigError(
                "batch_ramp does not lead to the full global batch",
                got=f"from {self._start} in stairs of {self._increment} to {full} tokens",
                allowed="a first size below the full batch, and stairs that divide the difference",
                fix="Set batch_ramp.start_tokens to a fraction 1/2, 1/3, 1/4, ... of the global batch.",
            )
        count, length = rise // self._increment, self._length
        return [
            (ParsedLength(length.value * stair / max(1, count), length.unit), self._start + stair * self._increment)
            for stair in range(count + 1)
        ]


class StagedRamp(BatchRamp):
    """Any sizes at any places.

    Args:
        tokens: Tokens of a step before each milestone, never falling; from the last milestone on it is the full batch.
        milestones: Where the next size begins: steps (500), tokens ("20M tokens") or shares of the run ("5%"), in
            order; as many as tokens.

    Raises:
        ConfigError: The two lists do not fit together, or a size is not positive.
    """

    def __init__(self, tokens: tuple[int, ...], milestones: tuple[Length, ...]) -> None:
        if len(tokens) != len(milestones) or not tokens:
            raise ConfigError(
                "batch_ramp.tokens and batch_ramp.milestones differ in number, or are empty",
                got=f"{len(tokens)} and {len(milestones)}",
                allowed="one size before each milestone",
            )
        self._sizes = [_check_size(size, "tokens") for size in tokens]
        self._places = [parse_length(milestone, "batch_ramp.milestones") for milestone in milestones]

    def levels(self, full: int) -> list[tuple[ParsedLength, int]]:
        """As listed."""
        sizes = [*self._sizes, full]
        if sizes != sorted(sizes):
            raise ConfigError(
                "batch_ramp falls",
                got=", ".join(map(str, sizes)),
                allowed="sizes that never fall, up to the full batch",
            )
        return list(zip([parse_length(0), *self._places], sizes, strict=True))


def _check_size(size: int, name: str) -> int:
    if size < 1:
        raise ConfigError(f"batch_ramp.{name} is a number of tokens", got=size, allowed=">= 1")
    return size
