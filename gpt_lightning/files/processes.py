"""Processes of this machine: who they are, whether they live, what they take, on every system (psutil).

A process number says little: it is used again after a restart, and every container has a process 1. A
``ProcessIdentity`` tells such processes apart; its *mark* does so in the name of a file or folder that it writes.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import signal
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil

WARNING_SIGNAL: signal.Signals | None = getattr(signal, "SIGUSR1", None)
"""Clusters send it before they take a node away; None on systems without it."""
STOP_SIGNALS = tuple(each for each in (signal.SIGTERM, signal.SIGINT, WARNING_SIGNAL) if each is not None)
"""What asks a program to save and end."""
KILL_SIGNAL: signal.Signals = getattr(signal, "SIGKILL", signal.SIGTERM)
"""What no process can refuse; on Windows ``os.kill`` makes that of TERM."""

_MARK = re.compile(r".+@(?P<host>.+)-(?P<machine>[0-9a-f]{8})-(?P<pid>\d+)-(?P<started>\d*)(\.\d+)?")


@dataclass(frozen=True)
class ProcessIdentity:
    """A process of some machine, told from a later one with the same number.

    Attributes:
        host: Name of the machine.
        boot: Its boot and namespace of process numbers, so that machines of one name, restarts, and containers of one
            machine are told apart; empty where the system does not tell.
        pid: Process number.
        started: When it began, in clock ticks: since the boot on Linux, since 1970 elsewhere; empty for a process that
            is gone or a zombie.
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
        # Asked twice: the two clocks behind the answer are not read at one moment.
        return any(_started(self.pid) == self.started for _ in range(2)) and psutil.pid_exists(self.pid)

    def stopped(self) -> bool:
        """Whether Ctrl-Z or SIGSTOP holds it; only for a process that is ``here``."""
        try:
            return bool(psutil.Process(self.pid).status() == psutil.STATUS_STOPPED)
        except psutil.Error:
            return False

    def signal(self, number: int) -> None:
        """Send a signal to its process group if it still runs here and leads one, else to itself.

        A group outlives its leader, and nobody gets its number before it is empty: where the leader is gone, those that
        it has left behind are meant.
        """
        if not self.here():
            return
        if not self.alive():
            if _started(self.pid) == "":
                _signal_group(self.pid, number)
            return
        with contextlib.suppress(ProcessLookupError):
            if hasattr(os, "getpgid") and os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    def signal_alone(self, number: int) -> None:
        """Send a signal to the process itself if it still runs here."""
        if self.here() and self.alive():
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)

    def plain(self) -> dict[str, str | int]:
        """As JSON."""
        return asdict(self)

    def mark(self) -> str:
        """For names of files and folders that only this process writes, behind an ``@``; see ``owner_is_gone``."""
        return f"{self.host}-{_machine(self.host, self.boot)}-{self.pid}-{self.started}"


def own_mark() -> str:
    """The mark of this process."""
    return _mark_of(os.getpid())


@functools.cache
def _mark_of(pid: int) -> str:
    return ProcessIdentity.of(pid).mark()


def owner_is_gone(name: str) -> bool | None:
    """Whether the process that wrote ``NAME@MARK`` has ended; this process itself counts: it writes nothing there now.

    None = unknown: a process of another machine, or a name without a mark.
    """
    found = _MARK.fullmatch(name)
    if found is None or found["machine"] != _machine(socket.gethostname(), _boot()):
        return None
    pid = int(found["pid"])
    identity = ProcessIdentity(socket.gethostname(), _boot(), pid, found["started"])
    return pid == os.getpid() or not identity.alive()


def _machine(host: str, boot: str) -> str:
    return hashlib.sha256(f"{host}\n{boot}".encode()).hexdigest()[:8]


@functools.cache
def _boot() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return ""


def _started(pid: int) -> str:
    try:
        process = psutil.Process(pid)
        if process.status() == psutil.STATUS_ZOMBIE:
            return ""
        # psutil adds the time of the boot, which moves when Linux sets its clock.
        since = process.create_time() - (psutil.boot_time() if psutil.LINUX else 0)
    except psutil.Error:
        return ""
    return str(round(since * (os.sysconf("SC_CLK_TCK") if hasattr(os, "sysconf") else 100)))


def count_cores() -> int:
    """Processor cores that this process may use."""
    try:
        return len(psutil.Process().cpu_affinity())
    except (AttributeError, psutil.Error):  # macOS has no such thing
        return os.cpu_count() or 1


def resident_bytes() -> int:
    """Memory of this process now."""
    return int(psutil.Process().memory_info().rss)


def peak_resident_bytes() -> int:
    """Most memory of this process since it began."""
    try:
        import resource
    except ImportError:  # Windows, where psutil knows
        memory = psutil.Process().memory_info()
        return int(getattr(memory, "peak_wset", memory.rss))
    # macOS counts bytes where Linux counts kilobytes.
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def total_bytes() -> int:
    """Memory of this machine."""
    return int(psutil.virtual_memory().total)


def available_bytes() -> int:
    """Memory of this machine that can be had without swapping."""
    return int(psutil.virtual_memory().available)


class ResidentPeak:
    """Most memory of this process since now, which only Linux can tell: its kernel forgets the peak before."""

    _status, _clear = Path("/proc/self/status"), Path("/proc/self/clear_refs")

    def __init__(self) -> None:
        try:
            self._clear.write_text("5", encoding="ascii")  # see proc(5)
            self._before = self._read("VmRSS:")
        except OSError:
            self._before = 0

    def grown_bytes(self) -> int:
        """How far the peak lies above what there was at the beginning; 0 = unknown."""
        return max(0, self._read("VmHWM:") - self._before) if self._before else 0

    def _read(self, name: str) -> int:
        lines = self._status.read_text(encoding="utf-8").splitlines()
        return next((int(line.split()[1]) * 1024 for line in lines if line.startswith(name)), 0)


@functools.cache
def find_processor() -> str:
    """Kind of the processor: libraries choose their kernels by it, beyond the vectors that it has."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor()
    kinds = {line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "CPU part"))}
    return ", ".join(sorted(kinds)) or platform.processor()


def open_files_limit() -> int:
    """How many files this process may have open; -1 = any number."""
    return os.sysconf("SC_OPEN_MAX") if hasattr(os, "sysconf") else 2048


def lower_priority() -> None:
    """Let this process give way to others."""
    with contextlib.suppress(psutil.Error, OSError):
        psutil.Process().nice(psutil.BELOW_NORMAL_PRIORITY_CLASS if sys.platform == "win32" else 5)


def interrupt_main_thread(number: signal.Signals) -> None:
    """Send a signal to the main thread, which may wait in a call of the system."""
    if hasattr(signal, "pthread_kill"):
        signal.pthread_kill(threading.main_thread().ident or 0, number)
    else:
        signal.raise_signal(number)


def lead_session() -> None:
    """Leave the parent's session, terminal and process group; nothing where there is none."""
    if hasattr(os, "setsid"):
        os.setsid()


def kill_with_children(pid: int) -> None:
    """Kill a process and the group it leads; where there are no groups, its children."""
    gone = (ProcessLookupError, PermissionError, psutil.Error)
    with contextlib.suppress(*gone):
        if hasattr(os, "killpg"):
            os.killpg(pid, KILL_SIGNAL)
        else:
            for each in psutil.Process(pid).children(recursive=True):
                each.kill()
    with contextlib.suppress(*gone):
        os.kill(pid, KILL_SIGNAL)


def has_group(pid: int) -> bool:
    """Whether processes of the group that a process leads or has led are left."""
    return _signal_group(pid, 0)


def kill_group(pid: int) -> None:
    """Kill what is left of the group that a process leads or has led."""
    _signal_group(pid, KILL_SIGNAL)


def _signal_group(pid: int, number: int) -> bool:
    try:
        os.killpg(pid, number)
    except (ProcessLookupError, PermissionError, AttributeError):  # Windows has no groups
        return False
    return True


@contextmanager
def ctrl_z_deferred() -> Iterator[None]:
    """Stop when the block is over, if Ctrl-Z is typed in it; outside the main thread this is impossible."""
    number = getattr(signal, "SIGTSTP", None)
    if number is None or threading.current_thread() is not threading.main_thread():
        yield
        return
    wanted: list[int] = []
    before = signal.signal(number, lambda received, frame: wanted.append(received))
    try:
        yield
    finally:
        signal.signal(number, before if before is not None else signal.SIG_DFL)
        if wanted:
            signal.raise_signal(number)
