"""Processes of one run as forks of a server that has imported everything: started in milliseconds, as torchrun would.

Every process gets the environment that torchrun gives, so this is also the way of a launcher from outside.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.training.fitting.build import build
from tests.training.forked import TINY, start_child


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def torchrun_environment(rank: int, world: int) -> dict[str, str]:
    """What torchrun sets for process ``rank`` of ``world`` on one machine."""
    return {
        "TORCHELASTIC_RUN_ID": "test",
        "WORLD_SIZE": str(world),
        "LOCAL_WORLD_SIZE": str(world),
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "GROUP_RANK": "0",
    }


def srun_environment(rank: int, world: int) -> dict[str, str]:
    """What srun sets for task ``rank`` of ``world`` on one machine."""
    return {
        "SLURM_JOB_ID": "12345",
        "SLURM_JOB_NAME": "test",
        "SLURM_NTASKS": str(world),
        "SLURM_NTASKS_PER_NODE": str(world),
        "SLURM_NNODES": "1",
        "SLURM_NODELIST": "localhost",
        "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank),
        "SLURM_NODEID": "0",
    }


def machine_environment(rank: int, world: int) -> dict[str, str]:
    """What a user sets on machine ``rank`` of ``world`` with one device each, where nothing else launches."""
    return {"NODE_RANK": str(rank)}


def connected(rank: int, environment: dict[str, str], port: int, body: Callable[..., None], *args: Any) -> None:
    """The body of a child: ``body(*args)`` as process ``rank``."""
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), **environment}
    from lightning.fabric.utilities.rank_zero import rank_zero_only

    vars(rank_zero_only)["rank"] = rank  # the server imported Lightning as process 0
    body(*args)


def fit(folder: Path, settings: Mapping[str, Any], resume: str) -> None:
    """One start of ``fit``."""
    run = build(TINY, settings, {"run.dir": str(folder), "data.source": str(folder.parent / "corpus.txt")})
    run.fit(resume=resume)


def run_together(
    place: Path,
    world: int,
    body: Callable[..., None],
    *args: Any,
    timeout: float = 50,
    launcher: Callable[[int, int], dict[str, str]] = torchrun_environment,
) -> list[int]:
    """Exit codes of ``body(*args)`` in ``world`` connected processes; none outlives the call."""
    port = free_port()
    processes = [start_child(place, connected, rank, launcher(rank, world), port, body, *args) for rank in range(world)]
    for process in processes:
        process.join(timeout)
    late = [process for process in processes if process.exitcode is None]
    for process in late:
        process.kill()
    assert not late, f"{len(late)} of {world} processes did not end"
    return [int(process.exitcode) for process in processes]
