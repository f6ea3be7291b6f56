"""Where alerts go: the run folder's ``alerts.jsonl``, a webhook, a command. Delivering never holds up training.

Deliveries wait in a queue for a thread of their own; a receiver that is slow or absent costs nothing but a line in the
log. ``alerts.jsonl`` is written at once, whatever becomes of the rest.
"""

from __future__ import annotations

import json
import logging
import queue
import shlex
import subprocess
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gpt_lightning.errors import ConfigError
from gpt_lightning.files.atomic import write_text_atomically

log = logging.getLogger("gpt_lightning")

ALERTS_FILE = "alerts.jsonl"
_WAITING = 100


@dataclass(frozen=True)
class AlertEvent:
    """An alert on its way.

    Attributes:
        run: Name of the run folder.
        step: Optimizer steps done.
        rule: What raised it.
        message: One sentence.
        time: Seconds since the epoch.
    """

    run: str
    step: int
    rule: str
    message: str
    time: float


class Receiver(ABC):
    """Somebody who is told of alerts."""

    @classmethod
    def describe_reach(cls, settings: Mapping[str, Any]) -> str:
        """What it does outside of this process, for whoever has to allow it: a verb and its object.

        Args:
            settings: Arguments of the class by name.
        """
        return "passes alerts on"

    @abstractmethod
    def deliver(self, notice: AlertEvent) -> None:
        """Pass it on.

        Raises:
            OSError: It could not be; subprocess.SubprocessError likewise.
        """


class Webhook(Receiver):
    """Posts every alert as a JSON object (run, step, rule, message, time) to an address.

    Args:
        url: http or https.
        seconds: How long to wait for an answer, which is not read.

    Raises:
        ConfigError: Not such an address, or no time.
    """

    def __init__(self, url: str, seconds: float = 5.0) -> None:
        if urlsplit(url).scheme not in ("http", "https") or not urlsplit(url).netloc:
            raise ConfigError("Webhook.url is not an address", got=url, allowed="http://... or https://...")
        if not seconds > 0:
            raise ConfigError("Webhook.seconds is out of range", got=seconds, allowed="more than 0")
        self._url, self._seconds = url, seconds

    @classmethod
    def describe_reach(cls, settings: Mapping[str, Any]) -> str:
        """The address."""
        return f"sends alerts to {settings.get('url')}"

    def deliver(self, notice: AlertEvent) -> None:
        """One POST."""
        body = json.dumps(asdict(notice)).encode()
        request = urllib.request.Request(self._url, body, {"Content-Type": "application/json"}, method="POST")
        with urllib.request.urlopen(request, timeout=self._seconds):
            pass


class Command(Receiver):
    """Runs a program for every alert, which reads the JSON object (run, step, rule, message, time) from its input.

    Args:
        words: Program and arguments; no shell is involved.
        seconds: After this time it is killed.

    Raises:
        ConfigError: No program, or no time.
    """

    def __init__(self, words: list[str], seconds: float = 10.0) -> None:
        if not words:
            raise ConfigError("Command.words names no program", got=words, allowed="a program and its arguments")
        if not seconds > 0:
            raise ConfigError("Command.seconds is out of range", got=seconds, allowed="more than 0")
        self._words, self._seconds = words, seconds

    @classmethod
    def describe_reach(cls, settings: Mapping[str, Any]) -> str:
        """The program."""
        return f"runs the program {shlex.join(map(str, settings.get('words') or []))}"

    def deliver(self, notice: AlertEvent) -> None:
        """One process."""
        subprocess.run(
            self._words,
            input=json.dumps(asdict(notice)) + "\n",
            text=True,
            timeout=self._seconds,
            check=True,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )


class Notifier:
    """Keeps ``alerts.jsonl`` and hands alerts to receivers, in a thread of its own.

    Args:
        folder: The run folder.
        receivers: Who is told.
    """

    def __init__(self, folder: Path, receivers: list[Receiver]) -> None:
        self._path, self._receivers = folder / ALERTS_FILE, receivers
        self._queue: queue.Queue[AlertEvent | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None

    def send(self, notice: AlertEvent) -> None:
        """Write the alert down, and have it delivered; returns at once, and never fails."""
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(json.dumps(asdict(notice)) + "\n")
        except OSError as problem:  # a full disk is one of the things alerts tell of
            log.warning("%s cannot be written: %s", self._path, problem.strerror)
        if not self._receivers:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="alerts", daemon=True)
            self._thread.start()
        try:
            self._queue.put_nowait(notice)
        except queue.Full:
            log.warning("an alert was not delivered, since %d are waiting", _WAITING)

    def close(self, seconds: float = 15.0) -> None:
        """Wait a while for what is under way."""
        if self._thread is not None:
            try:
                self._queue.put(None, timeout=seconds)
            except queue.Full:
                return
            self._thread.join(seconds)
            self._thread = None

    def _work(self) -> None:
        while (notice := self._queue.get()) is not None:
            for receiver in self._receivers:
                try:
                    receiver.deliver(notice)
                except (OSError, ValueError, subprocess.SubprocessError, urllib.error.URLError) as problem:
                    log.warning("an alert was not delivered by %s: %s", type(receiver).__name__, problem)
                except Exception as problem:  # a receiver of the user's own; training must not depend on it
                    log.warning("an alert was not delivered by %s: %r", type(receiver).__name__, problem)


def cut_alerts(folder: Path, last_step: int) -> None:
    """Forget alerts behind ``last_step``, from where a run goes on."""
    path = folder / ALERTS_FILE
    if not path.exists():
        return
    kept = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            if json.loads(line)["step"] <= last_step:
                kept.append(line + "\n")
        except (ValueError, KeyError, TypeError):
            continue
    write_text_atomically(path, "".join(kept))


def write_alert_event(run: str, step: int, rule: str, message: str) -> AlertEvent:
    """An alert of this moment."""
    return AlertEvent(run, step, rule, message, round(time.time(), 3))
