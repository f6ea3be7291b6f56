"""Alerts of a run: rules see every logged point as a logger does, and what they say is shown, kept and sent on."""

from __future__ import annotations

import logging
from argparse import Namespace
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Trainer
from lightning.pytorch.loggers import Logger

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
from gpt_lightning.tracking.watchdog import Watchdog
from gpt_lightning.training.watch.loggers import RunTensorBoard
from gpt_lightning.training.watch.monitor import Monitor

log = logging.getLogger("gpt_lightning")


def default_rules() -> list[AlertRule]:
    """One of each, as it comes."""
    return [LossSpike(), NonFinite(), ThroughputDrop(), ValidationRising(), DiskAlmostFull(), StalledData()]


class Alerts(Logger):
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

    @property
    def name(self) -> str:
        """Constant; the folder names the run."""
        return "alerts"

    @property
    def version(self) -> str:
        """Constant; the folder names the run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing."""

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
