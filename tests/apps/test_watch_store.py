"""What the watch counts and tells: a recount's counts for any batches and kills, alarms at their stated rate."""

from __future__ import annotations

import json
import random
import sqlite3
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.apps.watch import watching
from gpt_lightning.apps.watch.labels import Lexicon, TopicWords, read_lexicon
from gpt_lightning.apps.watch.records import Event, Row, WatchSettings, parse_time, read_event, read_rows
from gpt_lightning.apps.watch.sample import START, TURN_HOURS, make_sample
from gpt_lightning.apps.watch.store import ALL, Labelled, WatchStore, recount
from gpt_lightning.apps.watch.watching import ALERTS_FILE, Watcher, describe_state
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.tracking.notifications import AlertEvent, Receiver

SETTINGS = WatchSettings(window_minutes=60, lateness_minutes=30, baseline_windows=48, cool_down_windows=2)


def make_stream(
    seed: int, hours: int, an_hour: int, *, rise_at: int | None = None, late: float = 0.0, twice: float = 0.0,
    share: float = 0.3, rise: float = 0.2,
) -> list[Labelled]:  # fmt: skip
    """Texts of two topics in the order in which they arrive; from ``rise_at`` on ``rise`` more of "a" are negative."""
    draw = random.Random(seed)
    arrivals: list[tuple[float, Labelled]] = []
    for number in range(hours * an_hour):
        moment = START + 3600 * number / an_hour
        topic = draw.choice("ab")
        chance = share + (rise if rise_at is not None and topic == "a" and moment >= START + 3600 * rise_at else 0.0)
        mood = "negative" if draw.random() < chance else draw.choice(["neutral", "positive"])
        item = Labelled(Event(str(number), moment, f"text {number}"), mood, draw.random(), (topic,))
        arrives = moment + (draw.uniform(0, 3 * 3600) if draw.random() < late else 0.0)
        arrivals.append((arrives, item))
        if draw.random() < twice:
            arrivals.append((arrives + draw.uniform(0, 7200), item))
    return [item for _, item in sorted(arrivals, key=lambda each: each[0])]


def take_all(path: Path, items: Sequence[Labelled], settings: WatchSettings, size: int) -> WatchStore:
    store = WatchStore(path, settings)
    for start in range(0, len(items), size):
        store.take(items[start : start + size], source="s", position=start + size)
    return store


def all_counts(store: WatchStore) -> dict[str, dict[int, dict[str, int]]]:
    return {topic: store.counts(topic) for topic in store.topics()}


@pytest.mark.parametrize("size", [pytest.param(1, marks=pytest.mark.slow), 7, 1000])
def test_counts_are_a_recounts_and_alerts_do_not_depend_on_batches(tmp_path: Path, size: int) -> None:
    items = make_stream(1, 24, 60, rise_at=18, rise=0.6, late=0.02, twice=0.01)
    wanted = take_all(tmp_path / "whole.db", items, SETTINGS, len(items))
    store = take_all(tmp_path / "parts.db", items, SETTINGS, size)
    assert all_counts(store) == recount(items, SETTINGS)
    assert store.alerts() == wanted.alerts() != []
    tallies = store.tallies()
    assert tallies["texts"] == len({item.event.id for item in items})
    assert tallies["duplicates"] == len(items) - tallies["texts"] > 0
    assert tallies["late"] > 0  # some came after their window was judged, and were counted


@pytest.mark.slow
def test_a_hundred_thousand_texts(tmp_path: Path) -> None:
    items = make_stream(2, 500, 200, rise_at=300, late=0.02, twice=0.01)
    store = take_all(tmp_path / "watch.db", items, SETTINGS, 64)
    assert all_counts(store) == recount(items, SETTINGS)
    assert any(alert["topic"] == "a" for alert in store.alerts())


def test_nothing_of_a_batch_is_kept_when_it_is_broken_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items = make_stream(3, 24, 60, rise_at=18, rise=0.6)
    wanted = take_all(tmp_path / "whole.db", items, SETTINGS, 50)
    original = WatchStore._take_one
    store = WatchStore(tmp_path / "broken.db", SETTINGS)
    draw, done = random.Random(0), 0
    while done < len(items):
        batch = items[done : done + 50]
        taken = 0
        fails_at = draw.randrange(100)

        def take_one(self: WatchStore, item: Labelled, now: dict[str, Any], at: int = fails_at) -> None:
            nonlocal taken
            taken += 1
            if taken > at:
                raise sqlite3.OperationalError("disk I/O error")
            original(self, item, now)

        monkeypatch.setattr(WatchStore, "_take_one", take_one)
        try:
            store.take(batch, source="s", position=done + len(batch))
        except sqlite3.OperationalError:
            store.close()
            store = WatchStore(tmp_path / "broken.db", SETTINGS)  # as after a kill
        finally:
            monkeypatch.undo()
        done = store.position_of("s")
    assert store.alerts() == wanted.alerts() != []
    assert all_counts(store) == all_counts(wanted)


def count_false_alarms(tmp_path: Path, seeds: int, hours: int, settings: WatchSettings) -> tuple[int, int]:
    """Alerts of streams in which nothing changes, and their windows."""
    alerts = windows = 0
    for seed in range(seeds):
        store = take_all(tmp_path / f"{seed}.db", make_stream(seed, hours, 60), settings, 10**6)
        alerts += store.count_alerts()
        windows += len(store.counts())
        store.close()
    return alerts, windows


def test_false_alarms_keep_to_the_stated_rate(tmp_path: Path) -> None:
    loose = replace(SETTINGS, false_alarms=0.05, min_rise=0.0, min_texts=5, cool_down_windows=0)
    alerts, windows = count_false_alarms(tmp_path, 2, 60, loose)
    assert alerts <= 0.05 * windows + 3 * (0.05 * windows) ** 0.5


@pytest.mark.slow
def test_a_week_in_which_nothing_happens_is_quiet(tmp_path: Path) -> None:
    alerts, windows = count_false_alarms(tmp_path, 60, 168, replace(SETTINGS, cool_down_windows=0))
    assert windows > 10_000
    assert alerts <= 0.001 * windows


@pytest.mark.parametrize("seeds", [2, pytest.param(40, marks=pytest.mark.slow)])
def test_a_rise_of_twenty_points_is_told_within_two_windows(tmp_path: Path, seeds: int) -> None:
    found = 0
    for seed in range(seeds):
        store = take_all(tmp_path / f"{seed}.db", make_stream(seed, 22, 400, rise_at=20), SETTINGS, 10**6)
        first = next((each for each in store.alerts() if each["topic"] == "a"), None)
        found += first is not None and first["from"] in ("2026-01-05T20:00:00Z", "2026-01-05T21:00:00Z")
        store.close()
    assert found >= 0.95 * seeds


def test_one_mood_of_the_day_is_no_alarm_where_days_are_compared(tmp_path: Path) -> None:
    items = []
    draw = random.Random(5)
    for number in range(24 * 9 * 30):
        moment = START + 120 * number
        share = 0.7 if (number // 30) % 24 == 9 else 0.2
        mood = "negative" if draw.random() < share else "neutral"
        items.append(Labelled(Event(str(number), moment, "x"), mood, 0.5))
    season = replace(SETTINGS, baseline_windows=24 * 7, season_windows=24)
    assert take_all(tmp_path / "seasonal.db", items, season, 10**6).count_alerts() == 0
    assert take_all(tmp_path / "plain.db", items, replace(season, season_windows=1), 10**6).count_alerts() > 5


def test_alerts_cool_down_and_small_windows_say_nothing(tmp_path: Path) -> None:
    items = make_stream(1, 30, 100, rise_at=20, rise=0.6)
    often = take_all(tmp_path / "a.db", items, replace(SETTINGS, cool_down_windows=0), 10**6).count_alerts()
    seldom = take_all(tmp_path / "b.db", items, replace(SETTINGS, cool_down_windows=5), 10**6).count_alerts()
    none = take_all(tmp_path / "c.db", items, replace(SETTINGS, min_texts=1000), 10**6).count_alerts()
    assert often > seldom > none == 0


def test_windows_of_another_length_are_refused(tmp_path: Path) -> None:
    WatchStore(tmp_path / "watch.db", SETTINGS).close()
    with pytest.raises(DataError, match="windows of 60 minutes"):
        WatchStore(tmp_path / "watch.db", replace(SETTINGS, window_minutes=30))


class Heard(Receiver):
    def __init__(self) -> None:
        self.notices: list[AlertEvent] = []
        self.fails = False

    def deliver(self, notice: AlertEvent) -> None:
        if self.fails:
            raise OSError("nobody there")
        self.notices.append(notice)


def make_watcher(folder: Path, *receivers: Receiver, settings: WatchSettings = SETTINGS) -> Watcher:
    moods = Lexicon({"down": -1, "up": 1})
    topics = TopicWords({"oil": ["oil", "原油"]})
    store = WatchStore(folder / "watch.db", settings)
    return Watcher(store, moods, topics, settings, folder / ALERTS_FILE, receivers)


def write_rows(path: Path, hours: int = 30) -> None:
    draw = random.Random(7)
    with path.open("w", encoding="utf-8") as file:
        for number in range(hours * 60):
            down = draw.random() < (0.9 if number >= 25 * 60 else 0.2)
            row = {"id": number, "time": START + 60 * number, "text": "oil is down" if down else "oil is up"}
            file.write(json.dumps(row) + "\n")
        file.write("no json\n")


def test_a_file_is_read_on_where_it_was_left_and_the_alerts_are_the_same(tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    write_rows(rows)
    (tmp_path / "whole").mkdir()
    (tmp_path / "parts").mkdir()
    whole = make_watcher(tmp_path / "whole")
    whole.read_files(rows)
    assert whole.store.tallies() == {"texts": 1800, "duplicates": 0, "late": 0, "bad": 1}
    left = [3]
    while make_watcher(tmp_path / "parts").store.tallies()["texts"] < 1800:
        watcher = make_watcher(tmp_path / "parts")

        def ends() -> bool:
            left[0] -= 1
            return left[0] % 4 == 0

        watcher.read_files(rows, ends)
        watcher.store.close()
        # A line that was begun when the process was killed.
        with (tmp_path / "parts" / ALERTS_FILE).open("a") as file:
            file.write('{"torn')
    parts = make_watcher(tmp_path / "parts")
    told = (tmp_path / "whole" / ALERTS_FILE).read_bytes()
    assert (tmp_path / "parts" / ALERTS_FILE).read_bytes() == told != b""
    assert parts.store.counts("oil") == whole.store.counts("oil")
    alert = json.loads(told.splitlines()[0])
    assert (alert["topic"], alert["mood"], alert["from"]) == ("all", "negative", "2026-01-06T01:00:00Z")


def test_who_is_told_is_told_once_and_again_when_it_failed(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl")
    heard = Heard()
    watcher = make_watcher(tmp_path, heard)
    watcher.read_files(tmp_path / "rows.jsonl")
    heard.fails = True
    watcher.tell()
    heard.fails = False
    watcher.tell()
    watcher.tell()
    assert len(heard.notices) == watcher.store.count_alerts() > 0
    assert heard.notices[0].message.startswith("all topics: 9")


def test_the_page_is_told_windows_topics_and_alerts(tmp_path: Path) -> None:
    write_rows(tmp_path / "rows.jsonl")
    watcher = make_watcher(tmp_path)
    watcher.read_files(tmp_path / "rows.jsonl")
    state = describe_state(watcher, "oil")
    assert list(state["topics"]) == [ALL, "oil"]
    assert state["windows"][0] == {
        "number": 490992,
        "from": "2026-01-05T00:00:00Z",
        "moods": state["windows"][0]["moods"],
    }
    assert len(state["windows"]) == 30
    assert state["alerts"][0]["text"].startswith("all topics:")
    assert {each["text"] for each in watcher.store.texts("oil", 490992)} == {"oil is up", "oil is down"}
    assert describe_state(watcher, "tea")["windows"] == []


@pytest.mark.parametrize(
    "value",
    ["2026-01-05T00:00:00Z", "2026-01-05T08:00:00+08:00", "2026-01-05T00:00:00", START, str(START), START * 1e3],
)
def test_times(value: object) -> None:
    assert parse_time(value) == START


@pytest.mark.parametrize("value", [None, "soon", True, float("nan"), []])
def test_what_is_no_time(value: object) -> None:
    with pytest.raises(ValueError, match=r"time|isoformat"):
        parse_time(value)


def test_rows_without_an_id_are_named_by_what_they_say() -> None:
    first = read_event({"time": 1, "text": "a"}, SETTINGS)
    assert first == read_event({"time": "1", "text": "a"}, SETTINGS)
    assert first.id != read_event({"time": 2, "text": "a"}, SETTINGS).id
    with pytest.raises(ValueError, match="no text in text"):
        read_event({"time": 1, "text": " "}, SETTINGS)


def test_a_line_that_is_not_finished_waits(tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_text('{"a": 1}\n{"a"')
    assert list(read_rows(path)) == [({"a": 1}, 9)]
    path.write_text('{"a": 1}\n{"a": 2}\n')
    assert list(read_rows(path, 9)) == [({"a": 2}, 18)]
    path.write_text('{"a": 3}\n')  # rotated: shorter than what was read
    assert list(read_rows(path, 18)) == [({"a": 3}, 9)]
    with pytest.raises(DataError, match="no kind that can be watched"):
        list(read_rows(tmp_path / "rows.bin"))


def test_fields_of_csv_may_hold_line_ends(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text('\ufeffid,text\n1,"two\nlines"\n2,one\n', encoding="utf-8")
    assert list(read_rows(path)) == [({"id": "1", "text": "two\nlines"}, 1), ({"id": "2", "text": "one"}, 2)]
    assert list(read_rows(path, 1)) == [({"id": "2", "text": "one"}, 2)]
    assert next(iter(read_rows(path, 3))) == ({"id": "1", "text": "two\nlines"}, 1)


def test_no_row_stops_the_others(tmp_path: Path) -> None:
    """Numbers that no clock shows, half characters, nesting without end, zeros: counted or taken, never fatal."""
    watcher = make_watcher(tmp_path)
    path = tmp_path / "[新闻] rows.jsonl"
    rows = [
        '{"time": 1' + "0" * 400 + ', "text": "a"}',
        '{"time": -9e10, "text": "a"}',
        '{"time": 1e308, "text": "a"}',
        '{"time": "9999-99-99", "text": "a"}',
        '{"time": 1767571200, "text": 5}',
        "[" * 100_000,
        "\xff",
        "null",
        '{"id": "\\ud800", "time": 1767571200, "text": "up \\udfff\\u0000"}',
        '{"id": {"a": 1}, "time": "1767571200", "text": "up"}',
    ]
    path.write_bytes("\n".join(rows).encode("latin-1") + b"\n")
    watcher.read_files(path)
    assert watcher.store.tallies() == {"texts": 2, "duplicates": 0, "late": 0, "bad": 8}
    assert describe_state(watcher, ALL)["windows"][0]["moods"] == {"positive": 2}


def test_a_file_that_did_not_change_is_not_read_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "rows.jsonl"
    write_rows(path, 1)
    watcher = make_watcher(tmp_path)
    watcher.read_files(path)
    opened: list[Path] = []

    def note(file: Path, position: int) -> Iterator[tuple[Row, int]]:
        opened.append(file)
        return read_rows(file, position)

    monkeypatch.setattr(watching, "read_rows", note)
    watcher.read_files(path)
    assert opened == []
    with path.open("a") as file:
        file.write(json.dumps({"id": "new", "time": START + 3600, "text": "up"}) + "\n")
    watcher.read_files(path)
    assert opened == [path]
    assert watcher.store.tallies()["texts"] == 61


def test_words_of_latin_letters_are_whole_others_stand_anywhere() -> None:
    topics = TopicWords({"oil": ["oil", "原油"], "tea": []})
    assert topics(["Oil!", "boiling", "国际原油价格"]) == [("oil",), (), ("oil",)]


def test_a_lexicon_says_where_it_is_wrong(tmp_path: Path) -> None:
    path = tmp_path / "lexicon.tsv"
    path.write_text("up\t1\n# down\nfar up\t2.5\n")
    assert [mood for mood, _ in read_lexicon(path)(["UP", "upper", "not far up"])] == [
        "positive",
        "neutral",
        "positive",
    ]
    path.write_text("up\t1\ndown -1\n")
    with pytest.raises(DataError, match=r"lexicon\.tsv:2 is no word"):
        read_lexicon(path)


@pytest.mark.parametrize(
    "wrong", [{"false_alarms": 0.0}, {"window_minutes": 0}, {"min_texts": 0}, {"min_rise": 1.0},
              {"season_windows": 200}, {"topic_model": "t", "topics": {"a": ["b"]}}],
)  # fmt: skip
def test_settings_out_of_range_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ConfigError):
        WatchSettings(**wrong)  # type: ignore[arg-type]


def test_the_sample_is_the_same_every_time_and_its_parts_do_not_overlap() -> None:
    settings, files = make_sample()
    assert (settings, files) == make_sample()
    texts = {
        name: [json.loads(line)["text"] for line in files[name].splitlines()] for name in ("train.jsonl", "test.jsonl")
    }
    assert not set(texts["train.jsonl"]) & set(texts["test.jsonl"])
    assert min(map(len, texts.values())) > 400
    assert len(files["stream.jsonl"].splitlines()) > 168 * 90
    assert TURN_HOURS.start < 168
