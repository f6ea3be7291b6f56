"""Settings of the watch, and events out of rows of JSONL and CSV."""

from __future__ import annotations

import csv
import hashlib
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from pathlib import Path
from typing import Any

from gpt_lightning.apps.application import AppSettings
from gpt_lightning.errors import ConfigError, DataError

_MILLISECONDS = 1e11
"""Numbers from here on are milliseconds: as seconds they would be in the year 5138."""
_FIRST, _LAST = -62_135_596_800.0, 253_402_300_799.0
"""Of the years that can be shown, 1 to 9999."""


Row = Mapping[str, Any] | None
"""Of a source; None = it is none."""


@dataclass(frozen=True)
class WatchSettings(AppSettings):
    """Of the watch.

    Args:
        train: File of rows with a mood (mood_field) and, where there is a topic_model, a list of topics (topics_field).
        test: File of such rows that evaluate measures on.
        topic_model: Folder of a second model, which names the topics; "" = the words of topics do.
        topics: Topic -> words; a text that has one of them is about it. Only without topic_model.
        lexicon: File of words with a tab and a number each, above 0 where they are positive: the floor of evaluate.
        input: What run reads: a file, a folder of .jsonl and .csv, - for standard input; "" = only what is posted.
        follow: Whether run waits for more rows at the end of its input.
        id_field: Field of a row's id; rows without one are named by their content.
        time_field: Field of the time: seconds or milliseconds since 1970, or ISO 8601 (UTC where no zone is given).
        text_field: Field of the text.
        mood_field: Field of the mood in train.
        topics_field: Field of the list of topics in train.
        moods: Moods whose share raises an alarm.
        window_minutes: Length of a window.
        lateness_minutes: How long a window waits for rows that come late before it is judged; later ones still count.
        baseline_windows: Windows before it that a window is compared with.
        season_windows: Compare only with windows that are a multiple of this away (24 of an hour: the same time of the
            day); 1 = with all.
        false_alarms: Alarms per window, of all topics and moods together, at most, where no share changes.
        min_texts: Least texts of a topic in a window that is judged.
        min_rise: Least rise of a share that is told, however certain it is.
        cool_down_windows: Windows after an alert in which the same topic and mood raise none.
        webhook: Address that gets every alert by POST; "" = none.

    Raises:
        ConfigError: A number is out of range.
    """

    train: str = "train.jsonl"
    test: str = "test.jsonl"
    topic_model: str = ""
    topics: dict[str, list[str]] = field(default_factory=dict)
    lexicon: str = "lexicon.tsv"
    input: str = ""
    follow: bool = False
    id_field: str = "id"
    time_field: str = "time"
    text_field: str = "text"
    mood_field: str = "mood"
    topics_field: str = "topics"
    moods: tuple[str, ...] = ("negative",)
    window_minutes: float = 60.0
    lateness_minutes: float = 10.0
    baseline_windows: int = 168
    season_windows: int = 1
    false_alarms: float = 0.001
    min_texts: int = 20
    min_rise: float = 0.1
    cool_down_windows: int = 6
    webhook: str = ""

    def __post_init__(self) -> None:
        least = {"baseline_windows": 1, "season_windows": 1, "min_texts": 1, "cool_down_windows": 0}
        for name, lowest in least.items():
            if getattr(self, name) < lowest:
                raise ConfigError(f"{name} is a count", got=getattr(self, name), allowed=f"{lowest} or more")
        if self.season_windows > self.baseline_windows:
            raise ConfigError(
                "season_windows is longer than the baseline, which then holds no window",
                got=self.season_windows, allowed=f"1 to {self.baseline_windows}", fix="Raise baseline_windows.",
            )  # fmt: skip
        ranges = {
            "window_minutes": 0 < self.window_minutes < math.inf,
            "lateness_minutes": 0 <= self.lateness_minutes < math.inf,
            "false_alarms": 0 < self.false_alarms < 1,
            "min_rise": 0 <= self.min_rise < 1,
        }
        for name, is_right in ranges.items():
            if not is_right:
                raise ConfigError(f"{name} is out of range", got=getattr(self, name))
        if self.topic_model and self.topics:
            raise ConfigError(
                "Topics are named by a model or by words", got="topic_model and topics", fix="Leave one of them out."
            )


@dataclass(frozen=True)
class Event:
    """A text that was said at a time.

    Attributes:
        id: Its name; a second event of that name is a duplicate.
        time: Seconds since 1970, UTC.
        text: What was said.
    """

    id: str
    time: float
    text: str


def read_event(row: Mapping[str, Any], settings: WatchSettings) -> Event:
    """The event of a row.

    Raises:
        ValueError: It has no text or no time; the message says which.
    """
    text = row.get(settings.text_field)
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"no text in {settings.text_field}")
    # Half a surrogate pair, which JSON can hold, is no character and could not be stored.
    text = text.encode("utf-8", errors="replace").decode("utf-8")
    try:
        time = parse_time(row.get(settings.time_field))
    except OverflowError:  # a number of hundreds of digits
        raise ValueError("no time") from None
    name = row.get(settings.id_field)
    if name is None or name == "":
        name = hashlib.sha256(f"{time!r} {text}".encode()).hexdigest()[:32]
    return Event(str(name).encode("utf-8", errors="replace").decode("utf-8"), time, text)


def parse_time(value: Any) -> float:
    """Seconds since 1970 of a number or of ISO 8601.

    Raises:
        ValueError: It is neither, or no time of the years 1 to 9999.
    """
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            moment = datetime.fromisoformat(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise ValueError(f"no time: {value!r}")
    seconds = value / 1e3 if abs(value) >= _MILLISECONDS else float(value)
    if not _FIRST <= seconds <= _LAST:
        raise ValueError(f"no time: {value!r}")
    return seconds


def show_time(seconds: float) -> str:
    """ISO 8601 in UTC."""
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def list_inputs(path: Path) -> list[Path]:
    """The files of an input, in the order of their names.

    Raises:
        DataError: There is nothing there.
    """
    found = sorted(each for each in path.iterdir() if each.suffix in _READERS) if path.is_dir() else [path]
    if not all(each.is_file() for each in found):
        raise DataError("The input does not exist", got=str(path), fix="Set input to a file or a folder.")
    return found


def read_rows(path: Path, position: int = 0) -> Iterator[tuple[Row, int]]:
    """Rows of a file from a position on, each with the position behind it; 0 = the beginning.

    A last line of JSON that is not finished is left for later. A file that is shorter than the position is another one
    in its place (a log that was rotated), and is read from its beginning.

    Raises:
        DataError: It is of no known kind, or cannot be read.
    """
    if path.suffix not in _READERS:
        raise DataError(f"{path} is of no kind that can be watched", allowed=" ".join(_READERS))
    try:
        yield from _READERS[path.suffix](path, position)
    except OSError as problem:
        raise DataError(f"{path} cannot be read ({problem.strerror})") from problem


def parse_line(line: bytes) -> Row:
    """The object of a line of JSON; None where it is none."""
    try:
        row = json.loads(line.decode("utf-8", errors="replace"))
    except (ValueError, RecursionError):
        return None
    return row if isinstance(row, dict) else None


def _read_json_lines(path: Path, position: int) -> Iterator[tuple[Row, int]]:
    """Positions are bytes."""
    with path.open("rb") as file:
        position = file.seek(position if position <= path.stat().st_size else 0)
        for line in file:
            if not line.endswith(b"\n"):
                return
            position += len(line)
            yield parse_line(line), position


def _read_csv(path: Path, position: int) -> Iterator[tuple[Row, int]]:
    """Positions are rows: a field may hold line ends."""
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        rows = csv.DictReader(file)
        skipped = sum(1 for _ in islice(rows, position))
        if skipped == position:
            yield from ((row, number) for number, row in enumerate(rows, position + 1))
            return
    yield from _read_csv(path, 0)


_READERS = {".jsonl": _read_json_lines, ".csv": _read_csv}
