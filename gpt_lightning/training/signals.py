"""SIGTERM and SIGINT as a flag that training reads at optimizer-step borders.

The handler does nothing but remember the signal: saving inside it could meet a half-done step. A second signal gets
the behaviour that was there before (immediate end).
"""

from __future__ import annotations

import signal
import threading
from types import FrameType

_SIGNALS = (signal.SIGTERM, signal.SIGINT)


class StopFlag:
    """Remembers the first SIGTERM or SIGINT between ``install`` and ``restore``."""

    def __init__(self) -> None:
        self.received: signal.Signals | None = None
        self._previous: dict[signal.Signals, object] = {}

    def install(self) -> None:
        """Take over both signals; outside the main thread this is impossible and does nothing."""
        if threading.current_thread() is threading.main_thread() and not self._previous:
            self._previous = {number: signal.signal(number, self._remember) for number in _SIGNALS}

    def restore(self) -> None:
        """Put the previous handlers back."""
        for number, handler in self._previous.items():
            signal.signal(number, handler)  # type: ignore[arg-type]
        self._previous = {}

    def _remember(self, number: int, frame: FrameType | None) -> None:
        self.received = signal.Signals(number)
        self.restore()
