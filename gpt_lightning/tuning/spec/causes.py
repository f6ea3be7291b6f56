"""Why a trial ended, as classes of causes: what happens next follows from the class alone, never from words of a text.

    the machine's    a full or failing disk, a network that does not answer: the trial waits, and goes on from its own
                     checkpoint; where that goes on and on, the sweep is stopped (``Patience``)
    somebody else's  a folder in which another process writes, a GPU whose memory others fill, processes that lose each
                     other: as if the trial had been killed, again for ``retry.max`` times
    divergence       what its settings are worth
    anything else    memory that the settings ask for, wrong settings, an error of a program: final

An error of ours usually tells an error of the system in other words; so the whole chain of causes is looked at.
"""

from __future__ import annotations

import errno
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from gpt_lightning.errors import DivergedError, FolderInUseError, MachineError, TrainingError, UserError
from gpt_lightning.tuning.spec.spec import Retry

MACHINE_EXIT_CODE = 75
"""Of a trial that could not even write how it ended; ``EX_TEMPFAIL`` of sysexits."""

_SYSTEM_ERRORS = frozenset(
    {
        *(errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV),
        *(errno.ESTALE, errno.EREMOTEIO, errno.ENOTCONN, errno.ENOLCK, errno.EMFILE, errno.ENFILE),
        *(errno.ETIMEDOUT, errno.ECONNRESET, errno.ECONNREFUSED, errno.ECONNABORTED, errno.EPIPE),
        *(errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH),
    }
)
_SQLITE_ERRORS = frozenset({10, 13})
"""SQLITE_IOERR and SQLITE_FULL, in the last byte of sqlite's code."""
_NETWORK = frozenset(
    {"gaierror", "ClientConnectionError", "ClientPayloadError", "IncompleteRead", "RemoteDisconnected"}
)
_PARTNERS = frozenset({"DistError", "AcceleratorError"})
_MEMORY = frozenset({"MemoryError", "OutOfMemoryError"})
"""Classes by name: of torch, aiohttp and others, which are not imported to be compared with."""
_NO_MEMORY = "can't allocate memory"
"""What torch's allocator of host memory raises is a plain RuntimeError."""
_PAUSE_SECONDS = 0.2
_OTHERS_BYTES = 2 * 10**9
"""Memory of a GPU that is neither free nor this process's: more than contexts and libraries take."""


@dataclass(frozen=True)
class Cause:
    """A class of causes.

    Attributes:
        outcome: As in ``mailbox.Exit``: machine (wait), died (again, some times), diverged, failed.
        word: First word of the reason, for people and tables.
    """

    outcome: str
    word: str


MACHINE = Cause("machine", "machine")
IN_USE = Cause("died", "in use")
OTHERS_MEMORY = Cause("died", "memory of others")
PARTNER = Cause("died", "device")
DIVERGED = Cause("diverged", "diverged")
MEMORY = Cause("failed", "oom")
TRAINING = Cause("failed", "training")
CONFIG = Cause("failed", "config")
BUG = Cause("failed", "exception")


@dataclass
class Patience:
    """What to do about faults of the machine: wait, longer from one to the next, and give up when they go on.

    Attributes:
        retry: How often, and how long.
        asked_to_stop: Ends a wait.
        faults: How many there were in a row.
    """

    retry: Retry
    asked_to_stop: Callable[[], bool] = lambda: False
    faults: int = 0

    def endure(self, faults: int = 0) -> bool:
        """After a fault: wait; returns whether to try again.

        Args:
            faults: How many there were in a row for this piece of work, whoever tried it.
        """
        self.faults = max(self.faults + 1, faults)
        if self.faults > self.retry.max:
            return False
        end = time.monotonic() + self.retry.wait_seconds * 2 ** (self.faults - 1)
        while time.monotonic() < end and not self.asked_to_stop():
            time.sleep(min(_PAUSE_SECONDS, max(0.0, end - time.monotonic())))
        return True

    def recover(self) -> None:
        """Something went well."""
        self.faults = 0


def find_cause(problem: BaseException) -> Cause:
    """The class of what ended a trial."""
    for kind, cause in ((DivergedError, DIVERGED), (FolderInUseError, IN_USE), (MachineError, MACHINE)):
        if isinstance(problem, kind):
            return cause
    errors = list(_chain(problem))
    if any(_is_memory(error) for error in errors):
        return OTHERS_MEMORY if _others_fill_the_device() else MEMORY
    if any(_is_machine(error) for error in errors):
        return MACHINE
    if any(_names(error) & _PARTNERS for error in errors):
        return PARTNER
    if isinstance(problem, TrainingError):
        return TRAINING
    return CONFIG if isinstance(problem, UserError) else BUG


def _chain(problem: BaseException) -> Iterator[BaseException]:
    """The error, what it was raised from, and so on."""
    error: BaseException | None = problem
    while error is not None:
        yield error
        error = error.__cause__ or (None if error.__suppress_context__ else error.__context__)


def _names(error: BaseException) -> set[str]:
    return {kind.__name__ for kind in type(error).__mro__}


def _is_memory(error: BaseException) -> bool:
    if _names(error) & _MEMORY or (isinstance(error, OSError) and error.errno == errno.ENOMEM):
        return True
    return type(error) is RuntimeError and _NO_MEMORY in str(error)


def _is_machine(error: BaseException) -> bool:
    if isinstance(error, (MachineError, ConnectionError, TimeoutError)) or _names(error) & _NETWORK:
        return True
    if getattr(error, "sqlite_errorcode", 0) & 0xFF in _SQLITE_ERRORS:
        return True
    return isinstance(error, OSError) and error.errno in _SYSTEM_ERRORS


def _others_fill_the_device() -> bool:
    """Whether much of the memory of this process's GPU is somebody else's."""
    import torch

    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        free, total = torch.cuda.mem_get_info()
    except RuntimeError:  # a device on which nothing works any more
        return False
    return total - free - torch.cuda.memory_reserved() > _OTHERS_BYTES
