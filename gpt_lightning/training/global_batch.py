"""The global batch: tokens -> micro-batches of every process, and what a batch ramp makes of each step."""

from __future__ import annotations

from dataclasses import dataclass

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.batch_ramps import BatchRamp
from gpt_lightning.optim.batch_sizes import BatchSizes


@dataclass(frozen=True)
class MicroStep:
    """What all processes together take at once.

    Args:
        block_size: Positions per window.
        batch_size: Windows per micro-batch on each process.
        world: Number of processes.
    """

    block_size: int
    batch_size: int
    world: int = 1

    @property
    def tokens(self) -> int:
        """Training positions of one micro-step."""
        return self.block_size * self.batch_size * self.world

    def choose_accumulation(self, global_batch_tokens: int | None, accumulate: int) -> int:
        """Micro-batches of each process per optimizer step.

        Args:
            global_batch_tokens: ``data.global_batch_tokens``; None = not given.
            accumulate: ``trainer.accumulate_grad_batches``.

        Raises:
            ConfigError: Both are given, or the tokens are no whole number of micro-steps.
        """
        if global_batch_tokens is None:
            return accumulate
        if accumulate != 1:
            raise ConfigError(
                "The global batch is given twice",
                got={"data.global_batch_tokens": global_batch_tokens, "trainer.accumulate_grad_batches": accumulate},
                allowed="one of both",
                fix="Leave trainer.accumulate_grad_batches out; it follows from the tokens.",
            )
        self._check(global_batch_tokens, "data.global_batch_tokens")
        return global_batch_tokens // self.tokens

    def check_sizes(self, sizes: BatchSizes | None) -> None:
        """Raise ConfigError unless every size of a ramp is a whole number of micro-steps."""
        for size in () if sizes is None else sizes.tokens:
            self._check(size, "a size of data.batch_ramp")

    def _check(self, tokens: int, name: str) -> None:
        if tokens < 1 or tokens % self.tokens:
            lower = tokens // self.tokens * self.tokens
            nearest = " or ".join(str(size) for size in (lower, lower + self.tokens) if size > 0)
            raise ConfigError(
                f"{name} is no whole number of micro-batches (block_size {self.block_size} x batch_size "
                f"{self.batch_size} x {self.world} processes = {self.tokens} tokens)",
                got=tokens,
                allowed=f"multiples of {self.tokens}",
                fix=f"The nearest are {nearest}; or change data.batch_size.",
            )


def check_ramp_fits(ramp: BatchRamp, sizes: BatchSizes, total_steps: int) -> None:
    """Raise ConfigError when the run ends before the ramp does."""
    if sizes.starts[-1] > total_steps:
        raise ConfigError(
            f"{type(ramp).__name__} is longer than the run",
            got=f"{sizes.starts[-1]} steps",
            allowed=f"at most {total_steps} steps",
            fix="Shorten it, train longer, or write it as a share of the run ('10%').",
        )
