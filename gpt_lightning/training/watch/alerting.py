"""Alerts of a run: rules see every logged point as a logger does, and what they say is shown, kept and sent on.

A watchdog beside them notices when a run stops moving, and writes down where every thread stands.
"""

from __future__ import annotations

import faulthandler
import logging
import os
import sys
import threading
import time
from collections.abc import Callable, Hashable, Mapping
from pathlib import Path

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer

from gpt_lightning.tracking.alerts import (
    AlertRule,
    DiskAlmostFull,
    LossSpike,
    NonFinite,
    Point,
    StalledData,
    ThroughputDrop,
    ValidationRising,
    Watch,
)
from gpt_lightning.tracking.notifications import Notifier, Receiver, write_alert_event
from gpt_lightning.tracking.records import build_text
from gpt_lightning.training.watch.loggers import RunLogger, RunTensorBoard
from gpt_lightning.training.watch.monitor import Monitor

log = logging.getLogger("gpt_lightning")


def default_rules() -> list[AlertRule]:
    """One of each, as it comes."""
    return [LossSpike(), NonFinite(), ThroughputDrop(), ValidationRising(), DiskAlmostFull(), StalledData()]


class Alerts(RunLogger):
    """A logger that logs nothing but what is wrong; costs nothing between two points.

    Args:
        folder: The run folder.
        rules: What must not happen.
        receivers: Who is told.
        board: Where it is shown as a text; None = nowhere.
    """

    def __init__(
        self, folder: Path, rules: list[AlertRule], receivers: list[Receiver], board: RunTensorBoard | None
    ) -> None:
        super().__init__()
        self._folder, self._watch, self._board = folder, Watch(rules), board
        self._postman = Notifier(folder, receivers)
        self._step = 0
        self._shown: list[str] = []

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Ask the rules."""
        if step != self._step:
            self._step, self._shown = step or 0, []
        for rule, message in self._watch.see(Point(self._step, metrics, self._folder)):
            self.raise_alert(rule, message)

    def raise_alert(self, rule: str, message: str, *, said: bool = False) -> None:
        """Show, keep and send one.

        Args:
            rule: Who raises it.
            message: One sentence.
            said: Whether the terminal is told anyway.
        """
        if not said:
            log.warning("alert at step %d: %s (%s)", self._step, message, rule)
        self._postman.send(write_alert_event(self._folder.name, self._step, rule, message))
        if self._board is not None:
            # One text for all alerts of a step: of two, TensorBoard would show the last.
            self._shown.append(f"{rule}: {message}  \n")
            self._board.add_summary(build_text("run/alerts", "".join(self._shown)), self._step)

    def close(self) -> None:
        """Write what was shown, and wait a while for deliveries."""
        if self._board is not None and self._shown:
            # After a failure Lightning has closed the event file; the alert opened another, which nobody closes.
            self._board.save()
        self._postman.close()


def build_watchdog(settings: Monitor, trainer: Trainer, folder: Path, alerts: Alerts) -> Watchdog | None:
    """What notices that ``trainer`` stands still; None = nobody wants to know."""
    if settings.hang_seconds is None:
        return None

    def progress() -> tuple[int, int, int]:
        loop = trainer.fit_loop.epoch_loop
        validation = loop.val_loop.batch_progress.total.completed
        return trainer.global_step, loop.batch_progress.total.completed, validation

    def report(message: str) -> None:
        alerts.raise_alert("Watchdog", message)
        if settings.hang_exits:
            alerts.close()

    return Watchdog(folder, progress, seconds=settings.hang_seconds, report=report, exits=settings.hang_exits)


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
