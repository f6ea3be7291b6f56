"""Runs that cannot fit into memory: refused before they have a folder where that is certain, else told in one line."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from gpt_lightning.errors import OutOfMemoryError, explain_memory
from gpt_lightning.reports.numbers import format_bytes
from gpt_lightning.training.engine.process_memory import total_memory
from gpt_lightning.training.parts import RunParts

_ADVICE = (
    "Lower --data.batch_size (now {}), --data.block_size (now {}) or the model; gpt-lightning doctor shows "
    "what takes how much."
)


def least_memory(run: RunParts) -> int:
    """Bytes that a step of one process takes at least: weights, gradients, and one layer's activations.

    Without the optimizer's state and all else that depends on settings, so that nothing is refused that would fit.
    """
    plugin, config, data = run.trainer.precision_plugin, run.module.config, run.datamodule
    with plugin.module_init_context():
        width = torch.get_default_dtype().itemsize
    shards = run.trainer.world_size  # at the most
    weights = 2 * width * config.num_parameters // shards
    return weights + 2 * data.batch_size * data.block_size * config.n_embd // shards


def check_memory(run: RunParts) -> None:
    """Refuse a run that its device could not hold if it were empty.

    Raises:
        OutOfMemoryError: With what it takes at least.
    """
    needed, there = least_memory(run), total_memory(run.trainer.strategy.root_device)
    if there and needed > there:
        raise OutOfMemoryError(
            "The run does not fit into memory: weights, gradients and the activations of one layer alone take "
            f"{format_bytes(needed)} of {format_bytes(there)}",
            fix=_advice(run),
        )


@contextmanager
def memory_told(run: RunParts) -> Iterator[None]:
    """Turn an allocation that fails in the body into one line.

    Raises:
        OutOfMemoryError: One failed.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        problem = explain_memory(error, _advice(run))
        if problem is None:
            raise
        raise problem from error


def _advice(run: RunParts) -> str:
    return _ADVICE.format(run.datamodule.batch_size, run.datamodule.block_size)
