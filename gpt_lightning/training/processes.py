"""The processes of a run: who started them, how they find each other, and that they part at the end.

    Lightning's launcher   one command; the Trainer starts the other processes of this machine
    torchrun, srun         the launcher starts every process; they connect before the run folder is chosen

``trainer.devices`` x ``trainer.num_nodes`` says how many there are, whoever starts them.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import ParallelStrategy

from gpt_lightning.errors import ConfigError

log = logging.getLogger("gpt_lightning")


def process_rank() -> int:
    """Global rank of this process, known before the Trainer connects the processes."""
    return int(getattr(rank_zero_only, "rank", 0))


def count_launched() -> int:
    """Processes that torchrun or srun started; 1 without them."""
    if "TORCHELASTIC_RUN_ID" in os.environ:
        return int(os.environ.get("WORLD_SIZE", "1"))
    if "SLURM_PROCID" in os.environ:
        return int(os.environ.get("SLURM_NTASKS", "1"))
    return 1


def launched_from_outside() -> bool:
    """Under torchrun or srun: several processes run this code before the Trainer launches any."""
    return count_launched() > 1


def check_launched(trainer: Trainer) -> None:
    """Refuse a launcher that started another number of processes than the Trainer expects.

    Raises:
        ConfigError: They would train apart from each other, or wait for more.
    """
    launched = count_launched()
    if launched > 1 and launched != trainer.world_size:
        raise ConfigError(
            f"The launcher started {launched} processes, and trainer.devices x trainer.num_nodes is another number",
            got=trainer.world_size,
            allowed=str(launched),
            fix="Set --trainer.devices to the processes of one machine, and --trainer.num_nodes to the machines.",
        )


def connect_processes(trainer: Trainer, module: LightningModule) -> None:
    """Connect the processes now; the Trainer finds them connected."""
    trainer.strategy.connect(module)
    trainer.strategy.setup_environment()


def announce_wait(trainer: Trainer) -> None:
    """Say what a run on several machines waits for when nobody started it there."""
    strategy = trainer.strategy
    if trainer.num_nodes == 1 or not isinstance(strategy, ParallelStrategy):
        return
    place = strategy.cluster_environment
    if isinstance(place, LightningEnvironment):
        log.warning(
            "this is machine %d of %d; waiting for the others at %s:%d. Start the same command on each with the same "
            "MASTER_ADDR and MASTER_PORT and with NODE_RANK=1, 2, ... in its environment",
            place.node_rank() + 1,
            trainer.num_nodes,
            place.main_address,
            place.main_port,
        )


@contextmanager
def process_group_closed() -> Iterator[None]:
    """Close torch's process group at the end: left open, finished processes were seen hanging at exit."""
    try:
        yield
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.barrier()
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
