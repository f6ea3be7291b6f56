"""Batches in, alerts out; and what the page is shown."""

from __future__ import annotations

import json
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, TypeVar

from gpt_lightning.apps.watch.labels import Moods, Topics
from gpt_lightning.apps.watch.records import (
    Event,
    Row,
    WatchSettings,
    list_inputs,
    parse_line,
    read_event,
    read_rows,
    show_time,
)
from gpt_lightning.apps.watch.store import ALL, Labelled, WatchStore
from gpt_lightning.files.atomic import fsync_file, write_text_durably
from gpt_lightning.tracking.notifications import AlertEvent, Receiver

_LOG = logging.getLogger("gpt_lightning")
ALERTS_FILE, STORE_FILE = "alerts.jsonl", "watch.db"
STDIN = "-"
_BATCH = 64
_SHOWN_WINDOWS = 336
_AHEAD_SECONDS = 3600.0
"""A text from further in the future than clocks differ would end every window that is open."""
_Item = TypeVar("_Item")


class Watcher:
    """Labels events, counts them, tells of alerts.

    Args:
        store: Where they are counted.
        moods: Says the mood.
        topics: Says the topics.
        settings: What rows look like.
        alerts: The file that gets a line for every alert.
        receivers: Who else is told.
    """

    def __init__(
        self,
        store: WatchStore,
        moods: Moods,
        topics: Topics,
        settings: WatchSettings,
        alerts: Path,
        receivers: Sequence[Receiver] = (),
    ) -> None:
        self.store, self.settings = store, settings
        self._moods, self._topics, self._alerts, self._receivers = moods, topics, alerts, receivers
        self._known: dict[str, tuple[int, int]] = {}
        # A kill between a commit and the line that tells of it: the store is what counts.
        self._written = store.count_alerts()
        text = "".join(map(_line_of, store.alerts()))
        if not alerts.exists() or alerts.read_text(encoding="utf-8") != text:
            write_text_durably(alerts, text)

    def take(self, rows: Sequence[Row], *, source: str = "", position: int = 0) -> int:
        """Take rows; None among them is a row that was none.

        Args:
            rows: In the order in which they came.
            source: Where they are from, if it can be read again.
            position: Up to where the source is taken then.

        Returns:
            How many of them were no events.
        """
        events = [event for event in map(self._read, rows) if event is not None]
        texts = [event.text for event in events]
        labelled = [
            Labelled(event, mood, confidence, topics)
            for event, (mood, confidence), topics in zip(events, self._moods(texts), self._topics(texts), strict=True)
        ]
        bad = len(rows) - len(events)
        if self.store.take(labelled, source=source, position=position, bad=bad):
            self._write_alerts()
        return bad

    def _read(self, row: Row) -> Event | None:
        try:
            event = None if row is None else read_event(row, self.settings)
        except ValueError:
            return None
        return event if event is None or event.time < time.time() + _AHEAD_SECONDS else None

    def _write_alerts(self) -> None:
        new = self.store.alerts()[self._written :]
        with self._alerts.open("a", encoding="utf-8", newline="\n") as file:
            file.writelines(map(_line_of, new))
            fsync_file(file)
        self._written += len(new)
        for alert in new:
            _LOG.warning("%s", describe_alert(alert))

    def tell(self) -> None:
        """Pass on every alert that nobody was told of; what fails is tried again at the next call."""
        for alert in self.store.alerts(untold=True) if self._receivers else ():
            notice = AlertEvent(
                self._alerts.parent.name, alert["number"], f"{alert['topic']}/{alert['mood']}", describe_alert(alert),
                time.time(),
            )  # fmt: skip
            try:
                for receiver in self._receivers:
                    receiver.deliver(notice)
            except Exception as problem:  # of a receiver's own; watching must not depend on it
                _LOG.warning("an alert could not be passed on, and is tried again (%s)", problem)
                return
            self.store.mark_told(alert["number"])

    def read_files(self, path: Path, ends: Callable[[], bool] = bool) -> None:
        """Take what is new in a file, or in the files of a folder.

        Args:
            path: Of the file or folder.
            ends: Asked behind every batch whether to end there.
        """
        for file in list_inputs(path):
            source, state = str(file.resolve()), file.stat()
            # A file that did not change is not opened again: followed folders are looked at every second.
            if self._known.get(source) == (state.st_size, state.st_mtime_ns):
                continue
            for batch in _batches(read_rows(file, self.store.position_of(source))):
                self.take([row for row, _ in batch], source=source, position=batch[-1][1])
                if ends():
                    return
            self._known[source] = state.st_size, state.st_mtime_ns

    def read_stdin(self) -> None:
        """Take lines of JSON as they come, until there are no more; a batch is what is there at once."""
        buffer = b""
        while chunk := os.read(sys.stdin.fileno(), 1 << 16):
            *lines, buffer = (buffer + chunk).split(b"\n")
            for batch in _batches(map(parse_line, lines)):
                self.take(batch)
        if buffer:
            self.take([parse_line(buffer)])


def describe_alert(alert: Mapping[str, Any]) -> str:
    """One sentence."""
    about = "all topics" if alert["topic"] == ALL else alert["topic"]
    return (
        f"{about}: {alert['share']:.0%} of {alert['texts']:,} texts are {alert['mood']} from {alert['from']} to "
        f"{alert['to']}, {alert['share_before']:.0%} before (chance {alert['chance']:.2g})"
    )


def describe_state(watcher: Watcher, topic: str) -> dict[str, Any]:
    """What the page shows of a topic: windows, alerts, tallies.

    Args:
        watcher: Whose.
        topic: Of its store; another is shown as empty.
    """
    store, settings = watcher.store, watcher.settings
    newest = store.fact("newest")
    return {
        "topic": topic,
        "topics": store.topics(),
        "windows": [
            {"number": number, "from": show_time(60 * settings.window_minutes * number), "moods": moods}
            for number, moods in store.counts(topic, _SHOWN_WINDOWS).items()
        ],
        "alerts": [{**each, "text": describe_alert(each)} for each in store.alerts()[-100:]],
        "tallies": store.tallies(),
        "newest": None if newest is None else show_time(newest),
        "window_minutes": settings.window_minutes,
        "false_alarms": settings.false_alarms,
        "moods": list(settings.moods),
    }


def _line_of(alert: Mapping[str, Any]) -> str:
    return json.dumps(alert, ensure_ascii=False) + "\n"


def _batches(rows: Iterable[_Item]) -> Iterator[list[_Item]]:
    waiting = iter(rows)
    while batch := list(islice(waiting, _BATCH)):
        yield batch
