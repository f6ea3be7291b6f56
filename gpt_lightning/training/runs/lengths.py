"""The global batch: tokens -> micro-batches of every process, and what a batch ramp makes of each step.

How long a run is and how often it validates and saves, in optimizer steps.
"""

from __future__ import annotations

from dataclasses import dataclass

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.batch_ramps import BatchRamp
from gpt_lightning.optim.batch_sizes import BatchSizes
from gpt_lightning.optim.schedules.lengths import Horizon, Length, to_steps
from gpt_lightning.training.runs.settings import RunSettings


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


@dataclass(frozen=True)
class Plan:
    """A run in optimizer steps.

    Attributes:
        horizon: Total steps and tokens per step.
        validate_every: Steps between validations.
        save_every: Steps between periodic checkpoints.
    """

    horizon: Horizon
    validate_every: int
    save_every: int


def plan_run(
    settings: RunSettings,
    *,
    max_steps: int,
    max_epochs: int | None,
    global_batch_size: int,
    block_size: int,
    epoch: int | None,
    ramp: BatchRamp | None = None,
) -> Plan:
    """Turn what the user wrote into steps.

    Args:
        settings: ``run.*``.
        max_steps: ``trainer.max_steps``; -1 = not given.
        max_epochs: ``trainer.max_epochs``; None = not given.
        global_batch_size: Windows per optimizer step.
        block_size: Positions per window.
        epoch: Windows in one pass over the training split; None = nobody knows yet.
        ramp: How the global batch grows; None = all steps take ``global_batch_size``.

    Raises:
        ConfigError: Two lengths, one that is not positive, or epochs of unknown size; or a ramp that does not fit.
    """
    tokens_per_step = global_batch_size * block_size
    given = {
        "trainer.max_steps": None if max_steps == -1 else max_steps,
        "trainer.max_epochs": max_epochs,
        "run.max_tokens": settings.max_tokens,
    }
    chosen = {name: value for name, value in given.items() if value is not None}
    if len(chosen) > 1:
        raise ConfigError(
            "The length of the run is given more than once",
            got=chosen,
            allowed="one of trainer.max_steps, trainer.max_epochs, run.max_tokens",
            fix="Set the others to null (trainer.max_steps: -1).",
        )
    name, value = next(iter(chosen.items()), ("trainer.max_epochs", 1))
    if value < 1:
        raise ConfigError(f"{name} is a count", got=value, allowed=">= 1", fix=f"Say --{name} 100.")
    if epoch is None and name == "trainer.max_epochs":
        raise ConfigError(
            "With data.on_the_fly the size of an epoch is not known when training starts",
            got=chosen or "no length",
            allowed="trainer.max_steps or run.max_tokens",
            fix="Say how long to train: --trainer.max_steps 1000.",
        )
    budget = {"trainer.max_epochs": value * (epoch or 0) * block_size, "run.max_tokens": value}.get(name)
    if ramp is None:
        total = value if budget is None else max(1, budget // tokens_per_step)
        horizon = Horizon(total_steps=total, tokens_per_step=tokens_per_step)
    else:
        total = value if budget is None else ramp.count_steps(tokens_per_step, budget)
        sizes = ramp.table(tokens_per_step, total)
        check_ramp_fits(ramp, sizes, total)
        horizon = Horizon(total_steps=total, tokens_per_step=tokens_per_step, batch_sizes=sizes)
    return Plan(
        horizon=horizon,
        validate_every=choose_cadence(settings.validate_every, horizon, "run.validate_every"),
        save_every=choose_cadence(settings.save_every, horizon, "run.save_every"),
    )


def choose_cadence(length: Length, horizon: Horizon, name: str) -> int:
    """Steps between two of something that is done every ``length``, at least 1.

    Raises:
        ConfigError: It is nothing, or no length.
    """
    # In full batches: under a ramp no constant number of steps has the same number of tokens.
    steps = to_steps(length, Horizon(horizon.total_steps, horizon.tokens_per_step), name)
    if steps == 0 and length in (0, "0"):
        raise ConfigError(
            f"{name} is a cadence", got=length, allowed="more than 0", fix="Say '100%' for once, at the end."
        )
    return max(1, steps)
