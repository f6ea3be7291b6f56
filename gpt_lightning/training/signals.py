"""SIGINT, SIGTERM and SIGUSR1 as a flag that training reads at optimizer-step borders.

The handler does nothing but remember the first signal: saving inside it could meet a half-done step. It stays for as
long as the run does, so that a second signal, however soon (schedulers send several, Ctrl-C reaches every process of a
group), cannot end the process in the middle of what the first has asked for. SIGKILL ends it at once.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from gpt_lightning.errors import StopRequested

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
