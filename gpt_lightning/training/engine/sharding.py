"""Weights, gradients and optimizer state spread over processes, under Lightning's launchers: ``trainer.strategy``.

    fsdp2       (also fsdp) every process keeps a share of every parameter; more memory, one data stream each
    tp          the processes of a node compute each layer together; one data stream for a node
    class path  Sharded with data_parallel_size x tensor_parallel_size processes, e.g. FSDP2 over nodes, TP inside

A sharded run has the loss curve of one process: data, dropout and initial values depend on sample numbers and the
seed alone. Checkpoints are complete folders as ever, their tensors in pieces (``checkpoints.pieces``); any number of
processes goes on from any checkpoint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from lightning.pytorch import Trainer
from lightning.pytorch.strategies import FSDPStrategy, ModelParallelStrategy, Strategy

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.tensor_parallel import check_split
from gpt_lightning.optim.optimizers import Muon, OptimizerRecipe
from gpt_lightning.training.engine.sharded_strategy import Sharded

_SHORT: dict[str, dict[str, Any]] = {
    "fsdp": {},
    "fsdp2": {},
    "tp": {"tensor_parallel_size": "auto"},
}


def choose_strategy(named: str | Strategy) -> str | Strategy:
    """Our own strategy where the weights are to be sharded; anything else as it is.

    Args:
        named: ``trainer.strategy``.

    Raises:
        ConfigError: FSDP of the first generation.
    """
    short = named.lower() if isinstance(named, str) else ""  # Lightning does not mind capitals either
    if short in _SHORT:
        return Sharded(**_SHORT[short])
    if isinstance(named, FSDPStrategy) or short.startswith("fsdp"):
        raise ConfigError(
            "This is the first generation of FSDP, and needs CUDA",
            got=short or type(named).__name__,
            allowed="fsdp2, tp, ModelParallelStrategy",
            fix="Say --trainer.strategy fsdp2.",
        )
    if isinstance(named, ModelParallelStrategy) and not isinstance(named, Sharded):
        return Sharded(named._data_parallel_size, named._tensor_parallel_size)
    return named


def check_sharding(
    trainer: Trainer, config: GPTConfig, recipe: OptimizerRecipe, copies: Sequence[tuple[str, str]]
) -> None:
    """Refuse what cannot be done on shares, before anything heavy is built.

    Args:
        trainer: Its strategy decides.
        config: Of the decoder.
        recipe: Its optimizer.
        copies: Names of settings that copy all weights, each with what to do without it.

    Raises:
        ConfigError: Names the setting.
    """
    if not isinstance(trainer.strategy, Sharded):
        return
    size = team_size(trainer)
    check_split(config, size)
    if size > 1 and isinstance(recipe, Muon):
        raise ConfigError(
            "Muon needs whole matrices, and tensor parallelism cuts them",
            got=f"tensor_parallel_size {size}",
            allowed="model.optimizer AdamW or Lion; or trainer.strategy fsdp2 or ddp",
            fix="Say --trainer.strategy fsdp2.",
        )
    for asked, way_out in copies:
        raise ConfigError(
            f"{asked} needs every process to hold all weights",
            got=f"trainer.strategy with {trainer.world_size} processes",
            allowed="trainer.strategy auto (one device) or ddp",
            fix=f"{way_out}, or say --trainer.strategy ddp.",
        )


def team_size(trainer: Trainer) -> int:
    """Processes that work on the same batch; 1 without tensor parallelism."""
    return trainer.strategy.sizes()[1] if isinstance(trainer.strategy, Sharded) else 1


def count_streams(trainer: Trainer) -> int:
    """Processes, or teams of them, that each work on batches of their own."""
    return trainer.world_size // team_size(trainer)
