"""SIGINT, SIGTERM and SIGUSR1 as a flag that training reads at optimizer-step borders.

The handler does nothing but remember the first signal: saving inside it could meet a half-done step. It stays for as
long as the run does, so that a second signal, however soon (schedulers send several, Ctrl-C reaches every process of a
group), cannot end the process in the middle of what the first has asked for. SIGKILL ends it at once.

The processes of a run: who started them, how they find each other, and that they part at the end.

    Lightning's launcher   one command on every machine; the Trainer starts the other processes of it
    torchrun, srun         the launcher starts every process

``trainer.devices`` x ``trainer.num_nodes`` says how many there are, whoever starts them. In both ways they connect
before they train: the first process has chosen the run folder and the checkpoint, and tells all others.

A process finds its place by environment variables, and passes them on to programs that it starts for other reasons: a
``fit`` inside a callback must not take itself for a part of the run around it (``forget_foreign_launch``).
"""

from __future__ import annotations

import hashlib
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from types import FrameType

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.strategies import ParallelStrategy
from lightning.pytorch.strategies.launchers import _SubprocessScriptLauncher

from gpt_lightning.errors import ConfigError, MachineError, StopRequested

_NAMES = ("SIGTERM", "SIGINT", "SIGUSR1")
_SIGNALS = tuple(getattr(signal, name) for name in _NAMES if hasattr(signal, name))


class StopFlag:
    """Remembers the first signal between ``install`` and ``restore``.

    Attributes:
        received: The first signal; None = there was none.
        step: Optimizer steps that are saved, while nothing has to be finished before the process may end: the first
            signal then raises ``StopRequested``. None = it is only remembered.
        announce: Whether to say on standard error that the signal was understood.
    """

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self.step: int | None = None
        self.announce = False
        self._previous: dict[int, object] = {}

    @contextmanager
    def installed(self, *, step: int, announce: bool) -> Iterator[StopFlag]:
        """Around a run: a signal before its first step raises, see ``step``; later ones are remembered."""
        self.step, self.announce = step, announce
        self.install()
        try:
            yield self
        finally:
            self.restore()

    def install(self) -> None:
        """Take over the signals, again where somebody else has taken them since; only in the main thread."""
        if threading.current_thread() is not threading.main_thread():
            return
        for number in _SIGNALS:
            previous = signal.getsignal(number)
            # A SIGUSR1 that somebody has a use for (faulthandler, a profiler) is not a request to stop.
            if number not in self._previous and (number in (signal.SIGTERM, signal.SIGINT) or not callable(previous)):
                self._previous[number] = previous
            if number in self._previous:
                signal.signal(number, self._remember)

    def restore(self) -> None:
        """Put back the handlers that were there before."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        if self.received is not None:
            return
        self.received = signal.Signals(number)
        if self.step is not None:
            raise StopRequested(self.received.name, self.step)
        if self.announce:
            line = f"{self.received.name}: stopping after this step (kill -9 {os.getpid()} ends at once)\n"
            os.write(2, line.encode())  # a handler may run inside another write to sys.stderr


log = logging.getLogger("gpt_lightning")

END_SECONDS = 120.0
"""How long a process waits for the others when its work is done and saved."""

_COMMAND_VARIABLE = "_GPT_LIGHTNING_LAUNCHED"
_PLACES = (
    *("LOCAL_RANK", "NODE_RANK", "GROUP_RANK", "RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"),
    *("TORCHELASTIC_RUN_ID", "SLURM_NTASKS", "SLURM_PROCID", "SLURM_LOCALID", "SLURM_NODEID"),
)
"""Environment variables by which a process finds its place among others."""


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


def _own_command() -> str:
    """As Lightning's launcher repeats it: ``sys.argv[0]`` of the other processes may be spelt in another way."""
    spec = getattr(sys.modules["__main__"], "__spec__", None)
    program = os.path.abspath(sys.argv[0]) if spec is None else spec.name
    return hashlib.sha256("\0".join([program, *sys.argv[1:]]).encode()).hexdigest()


def forget_foreign_launch() -> None:
    """Where another program of ours, itself one of several processes, started this one: stand alone."""
    if os.environ.get(_COMMAND_VARIABLE, _own_command()) != _own_command():
        for name in (*_PLACES, _COMMAND_VARIABLE):
            os.environ.pop(name, None)
        vars(rank_zero_only)["rank"] = 0  # Lightning read the variables when it was imported


def connects(trainer: Trainer) -> bool:
    """Whether this process has others to connect with, which run the same command."""
    return launched_from_outside() or isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher)


def launches_all(trainer: Trainer) -> bool:
    """Whether nobody waits for this process: it will start all the others itself."""
    launcher = trainer.strategy.launcher
    if not isinstance(launcher, _SubprocessScriptLauncher) or trainer.num_nodes > 1:
        return False
    return not launcher.cluster_environment.creates_processes_externally


def connect_processes(trainer: Trainer, module: LightningModule) -> None:
    """Start those of this machine, unless somebody else does, and connect; the Trainer finds them connected."""
    os.environ[_COMMAND_VARIABLE] = _own_command()
    announce_wait(trainer)
    trainer.strategy.connect(module)
    if isinstance(trainer.strategy.launcher, _SubprocessScriptLauncher):
        trainer.strategy.launcher.launch(lambda: None)
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
def process_group_closed(seconds: float = END_SECONDS) -> Iterator[None]:
    """Close torch's process group at the end: left open, finished processes were seen hanging at exit.

    Args:
        seconds: How long to wait for processes that have not come to the end.

    Raises:
        MachineError: They did not come.
    """
    try:
        yield
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            _meet(seconds)
    finally:
        if torch.distributed.is_available() and torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _meet(seconds: float) -> None:
    try:
        work = torch.distributed.barrier(async_op=True)
        if work is not None:
            work.wait(timedelta(seconds=seconds))
    except RuntimeError as error:
        raise MachineError(
            f"Process {process_rank()} is done, and the others did not come to the end within {seconds:g} s",
            fix="What was saved is intact: look at their output, then go on with --resume auto.",
        ) from error
