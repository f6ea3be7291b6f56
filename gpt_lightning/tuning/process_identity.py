"""A process that can be told from a later one with the same number."""

from __future__ import annotations

import contextlib
import os
import socket
from dataclasses import asdict, dataclass
from pathlib import Path


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of some machine.

    Attributes:
        host: Name of the machine.
        boot: Its boot and namespace of process numbers, so that machines of one name, restarts, and containers of one
            machine are told apart.
        pid: Process number.
        started: When it began, in the kernel's own ticks; empty where the kernel does not tell.
    """

    host: str
    boot: str
    pid: int
    started: str

    @staticmethod
    def of(pid: int) -> ProcessIdentity:
        """A process of this machine."""
        return ProcessIdentity(socket.gethostname(), _boot(), pid, _started(pid))

    def here(self) -> bool:
        """Whether it is a process of this machine, since its last boot."""
        return self.host == socket.gethostname() and self.boot == _boot()

    def alive(self) -> bool:
        """Whether it still runs; only for a process that is ``here``."""
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            pass
        return _started(self.pid) == self.started

    def signal(self, number: int) -> None:
        """Send a signal to its process group if it still runs here and leads one, else to itself."""
        if not (self.here() and self.alive()):
            return
        try:
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def signal_alone(self, number: int) -> None:
        """Send a signal to the process itself if it still runs here."""
        if self.here() and self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def plain(self) -> dict[str, str | int]:
        """As JSON."""
        return asdict(self)


def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    """Start time of a running process; empty for one that is gone, a zombie, or on a system without /proc."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    except OSError:
        return ""
    return "" if fields[0] == "Z" else fields[19]
