"""What was said, once each, counted in windows of event time; and what the alarm said of each window.

    newest - lateness     the watermark: windows that end before it are over, and are judged, in the order of time
    event of such a one   counts all the same (the counts are those of a recount); what was judged stays judged

An event moves the watermark before it is counted, one after the other: neither the size of a batch nor a kill between
two of them changes what a window held when it was judged.
"""

from __future__ import annotations

import json
import math
import sqlite3
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.apps.watch.records import Event, WatchSettings, show_time
from gpt_lightning.errors import DataError, MachineError
from gpt_lightning.metrics.shares import chance_of_share

ALL = "all"
"""The topic of every text."""
_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value) WITHOUT ROWID;
CREATE TABLE sources (name TEXT PRIMARY KEY, position INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE texts (id TEXT PRIMARY KEY, time REAL NOT NULL, mood TEXT NOT NULL, confidence REAL NOT NULL,
                    text TEXT NOT NULL);
CREATE TABLE topics (topic TEXT, number INTEGER, id TEXT, PRIMARY KEY (topic, number, id)) WITHOUT ROWID;
CREATE TABLE counts (topic TEXT, number INTEGER, mood TEXT, texts INTEGER NOT NULL,
                     PRIMARY KEY (topic, number, mood)) WITHOUT ROWID;
CREATE INDEX counts_of_window ON counts (number);
CREATE TABLE alerts (number INTEGER PRIMARY KEY, topic TEXT NOT NULL, mood TEXT NOT NULL, at INTEGER NOT NULL,
                     body TEXT NOT NULL, told INTEGER NOT NULL DEFAULT 0);
"""
_TALLIES = ("duplicates", "late", "bad")


@dataclass(frozen=True)
class Labelled:
    """An event with what it was found to be.

    Attributes:
        event: What was said.
        mood: Its mood.
        confidence: Probability of that, 0 to 1.
        topics: What it is about, without ``ALL``.
    """

    event: Event
    mood: str
    confidence: float
    topics: tuple[str, ...] = ()


class WatchStore:
    """The store in a file; made where it is missing. One process writes, any number read.

    Args:
        path: The file.
        settings: How windows are cut and judged.

    Raises:
        DataError: It was made with windows of another length.
        MachineError: It cannot be opened or written.
    """

    def __init__(self, path: Path, settings: WatchSettings) -> None:
        self._settings, self._length = settings, 60 * settings.window_minutes
        self._lock = threading.RLock()
        try:
            self._base = sqlite3.connect(path, timeout=60, isolation_level=None, check_same_thread=False)
            self._base.execute("PRAGMA journal_mode = WAL")
            with self._transaction():
                if not self._ask("SELECT 1 FROM sqlite_master"):
                    for statement in filter(str.strip, _TABLES.split(";")):
                        self._base.execute(statement)
                    self._keep("window_minutes", settings.window_minutes)
        except sqlite3.Error as problem:
            raise MachineError(f"{path} cannot be used ({problem})") from problem
        if self.fact("window_minutes") != settings.window_minutes:
            raise DataError(
                f"{path} counts windows of {self.fact('window_minutes'):g} minutes", got=settings.window_minutes,
                fix="Keep window_minutes, or move the file away to count anew.",
            )  # fmt: skip

    def close(self) -> None:
        """Give the file back."""
        self._base.close()

    def position_of(self, source: str) -> int:
        """Up to where a source is taken; 0 = nothing of it."""
        return next((int(found) for (found,) in self._ask("SELECT position FROM sources WHERE name = ?", source)), 0)

    def take(self, items: Sequence[Labelled], *, source: str = "", position: int = 0, bad: int = 0) -> int:
        """Take events in the order in which they came; all of them or, after a kill, none.

        Args:
            items: The events.
            source: Where they are from.
            position: Up to where the source is done with then.
            bad: Rows among them that were no events.

        Returns:
            How many alerts this has raised.
        """
        with self._transaction():
            before = self.count_alerts()
            now = {name: self.fact(name) for name in ("newest", "judged", *_TALLIES)}
            now |= {name: now[name] or 0 for name in _TALLIES}
            now["bad"] += bad
            for item in items:
                self._take_one(item, now)
            for name, value in now.items():
                self._keep(name, value)
            if source:
                self._base.execute("INSERT OR REPLACE INTO sources VALUES (?, ?)", (source, position))
            return self.count_alerts() - before

    def _take_one(self, item: Labelled, now: dict[str, Any]) -> None:
        """One event; ``now`` has the newest time, the first window that is not judged, and the tallies."""
        event = item.event
        added = self._base.execute(
            "INSERT OR IGNORE INTO texts VALUES (?, ?, ?, ?, ?)",
            (event.id, event.time, item.mood, item.confidence, event.text),
        ).rowcount
        if not added:
            now["duplicates"] += 1
            return
        if now["newest"] is None or event.time > now["newest"]:
            over = math.floor((event.time - 60 * self._settings.lateness_minutes) / self._length)
            if now["newest"] is None:
                now["judged"] = over
            elif over > now["judged"]:
                self._judge_windows(now["judged"], over)
                now["judged"] = over
            now["newest"] = event.time
        number = math.floor(event.time / self._length)
        now["late"] += number < now["judged"]
        topics = [(topic, number, event.id) for topic in (ALL, *item.topics)]
        self._base.executemany("INSERT OR IGNORE INTO topics VALUES (?, ?, ?)", topics)
        self._base.executemany(
            "INSERT INTO counts VALUES (?, ?, ?, 1) ON CONFLICT DO UPDATE SET texts = texts + 1",
            [(topic, number, item.mood) for topic, _, _ in topics],
        )

    def _judge_windows(self, first: int, end: int) -> None:
        """Judge the windows that hold anything, from one to before another."""
        waiting = "SELECT DISTINCT number FROM counts WHERE number >= ? AND number < ? ORDER BY number"
        for (number,) in self._ask(waiting, first, end):
            self._judge(number)

    def _judge(self, number: int) -> None:
        """Test every topic that has texts enough; the rate of false alarms is shared out among the tests."""
        settings = self._settings
        found = {
            topic: texts
            for topic, texts in self._ask(
                "SELECT topic, SUM(texts) FROM counts WHERE number = ? GROUP BY topic ORDER BY topic", number
            )
            if texts >= settings.min_texts
        }
        for topic, texts in found.items():
            for mood in settings.moods:
                self._test(number, topic, mood, texts, settings.false_alarms / (len(found) * len(settings.moods)))

    def _test(self, number: int, topic: str, mood: str, texts: int, level: float) -> None:
        settings = self._settings
        ((with_mood,),) = self._ask(
            "SELECT COALESCE(SUM(texts), 0) FROM counts WHERE topic = ? AND number = ? AND mood = ?",
            topic,
            number,
            mood,
        )
        ((before, before_with),) = self._ask(
            "SELECT COALESCE(SUM(texts), 0), COALESCE(SUM(CASE WHEN mood = ? THEN texts END), 0) FROM counts "
            "WHERE topic = ? AND number >= ? AND number < ? AND (? - number) % ? = 0",
            mood, topic, number - settings.baseline_windows, number, number, settings.season_windows,
        )  # fmt: skip
        if not before or with_mood / texts < before_with / before + settings.min_rise:
            return
        chance = chance_of_share(with_mood, texts, before_with, before)
        cooling = self._ask(
            "SELECT 1 FROM alerts WHERE topic = ? AND mood = ? AND at >= ?",
            topic, mood, number - settings.cool_down_windows,
        )  # fmt: skip
        if chance > level or cooling:
            return
        examples = self._ask(
            "SELECT id FROM topics JOIN texts USING (id) WHERE topic = ? AND number = ? AND mood = ? "
            "ORDER BY confidence DESC, id LIMIT 3", topic, number, mood,
        )  # fmt: skip
        body = {
            "number": self.count_alerts() + 1,
            "topic": topic,
            "mood": mood,
            "from": show_time(number * self._length),
            "to": show_time((number + 1) * self._length),
            "texts": texts,
            "share": round(with_mood / texts, 4),
            "share_before": round(before_with / before, 4),
            "chance": float(f"{chance:.3g}"),
            "examples": [each for (each,) in examples],
        }
        self._base.execute(
            "INSERT INTO alerts (number, topic, mood, at, body) VALUES (?, ?, ?, ?, ?)",
            (body["number"], topic, mood, number, json.dumps(body, ensure_ascii=False)),
        )

    def count_alerts(self) -> int:
        """How many there are."""
        return int(self._ask("SELECT COUNT(*) FROM alerts")[0][0])

    def alerts(self, *, untold: bool = False) -> list[dict[str, Any]]:
        """Alerts in the order in which they were raised.

        Args:
            untold: Only those that nobody has been told of.
        """
        return [
            json.loads(body)
            for (body,) in self._ask("SELECT body FROM alerts WHERE told <= ? ORDER BY number", int(not untold))
        ]

    def mark_told(self, number: int) -> None:
        """An alert was passed on."""
        with self._transaction():
            self._base.execute("UPDATE alerts SET told = 1 WHERE number = ?", (number,))

    def counts(self, topic: str = ALL, last: int = 0) -> dict[int, dict[str, int]]:
        """Texts of a topic by window and mood.

        Args:
            topic: Which.
            last: Only so many windows, the latest; 0 = all.
        """
        newest = self.fact("newest")
        first = 0 if not last or newest is None else math.floor(newest / self._length) - last + 1
        found: dict[int, dict[str, int]] = {}
        for number, mood, texts in self._ask(
            "SELECT number, mood, texts FROM counts WHERE topic = ? AND number >= ? ORDER BY number, mood", topic, first
        ):
            found.setdefault(number, {})[mood] = texts
        return found

    def topics(self) -> dict[str, int]:
        """Texts by topic, ``ALL`` first, then the largest."""
        found = self._ask("SELECT topic, SUM(texts) AS total FROM counts GROUP BY topic ORDER BY total DESC, topic")
        return dict(sorted(found, key=lambda each: each[0] != ALL))

    def texts(self, topic: str, number: int, limit: int = 50) -> list[dict[str, Any]]:
        """What was said of a topic in a window, the surest first."""
        names = ("id", "time", "mood", "confidence", "text")
        rows = self._ask(
            f"SELECT {', '.join(names)} FROM topics JOIN texts USING (id) WHERE topic = ? AND number = ? "
            "ORDER BY confidence DESC, id LIMIT ?", topic, number, limit,
        )  # fmt: skip
        return [dict(zip(names, row, strict=True)) for row in rows]

    def tallies(self) -> dict[str, int]:
        """Texts taken, duplicates, late ones, rows that were no events."""
        return {"texts": self._ask("SELECT COUNT(*) FROM texts")[0][0]} | {
            name: int(self.fact(name) or 0) for name in _TALLIES
        }

    def fact(self, name: str) -> Any:
        """A number of the store's own; None where it is not known."""
        return next((value for (value,) in self._ask("SELECT value FROM facts WHERE name = ?", name)), None)

    def _keep(self, name: str, value: float | None) -> None:
        self._base.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def _ask(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        with self._lock:
            return self._base.execute(statement, values).fetchall()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with self._lock:
            self._base.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._base.execute("ROLLBACK")
                raise
            self._base.execute("COMMIT")


def recount(items: Sequence[Labelled], settings: WatchSettings) -> Mapping[str, Mapping[int, Mapping[str, int]]]:
    """The counts of a set of events, all at once: what the store must come to, in whatever order they came."""
    found: dict[str, dict[int, dict[str, int]]] = {}
    for item in {each.event.id: each for each in reversed(items)}.values():
        number = math.floor(item.event.time / (60 * settings.window_minutes))
        for topic in (ALL, *item.topics):
            moods = found.setdefault(topic, {}).setdefault(number, {})
            moods[item.mood] = moods.get(item.mood, 0) + 1
    return found
