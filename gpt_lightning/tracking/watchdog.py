"""Notices when a run stops moving, and writes down where every thread stands."""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable
from pathlib import Path

log = logging.getLogger("gpt_lightning")

HUNG_EXIT_CODE = 4


class Watchdog:
    """A thread that asks now and then how far the run has come.

    Args:
        folder: Where ``hang-1.txt``, ``hang-2.txt`` ... are written.
        progress: Anything that changes while the run moves; asked from another thread.
        seconds: Without a change for so long, the stacks of all threads are dumped, once.
        report: Is told what happened.
        exits: End the process with exit code 4 then, so that a launcher can start it again.
    """

    def __init__(
        self,
        folder: Path,
        progress: Callable[[], Hashable],
        *,
        seconds: float,
        report: Callable[[str], None],
        exits: bool = False,
    ) -> None:
        self._folder, self._progress, self._seconds, self._report, self._exits = (
            folder,
            progress,
            seconds,
            report,
            exits,
        )
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def start(self) -> None:
        """Begin to watch."""
        self._thread.start()

    def stop(self) -> None:
        """Watch no more."""
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()

    def _watch(self) -> None:
        last, since, told = self._progress(), time.monotonic(), False
        while not self._over.wait(min(self._seconds / 4, 10.0)):
            now = self._progress()
            if now != last:
                last, since, told = now, time.monotonic(), False
            elif not told and time.monotonic() - since >= self._seconds:
                told = True
                self._tell()

    def _tell(self) -> None:
        number = 1 + len(list(self._folder.glob("hang-*.txt")))
        path = self._folder / f"hang-{number}.txt"
        message = f"nothing has moved for {self._seconds:g} s"
        try:
            with path.open("w", encoding="utf-8") as file:
                file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')}: {message}; where all threads stand:\n\n")
                file.flush()
                faulthandler.dump_traceback(file, all_threads=True)
            message += f"; where every thread stands is in {path}"
        except OSError as problem:
            message += f"; {path} cannot be written: {problem.strerror}"
        self._report(message)
        if self._exits:
            sys.stderr.write(f"error: {message}. Exiting, as monitor.hang_exits says.\n")
            sys.stderr.flush()
            # The main thread hangs, perhaps in a system call: an exception would never reach it.
            os._exit(HUNG_EXIT_CODE)
