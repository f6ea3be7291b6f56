"""The watch from an empty folder to its page, with models of a few steps."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from gpt_lightning import cli
from gpt_lightning.apps.application import open_folder
from gpt_lightning.apps.serving import alone
from gpt_lightning.apps.watch import application
from gpt_lightning.apps.watch.application import APPLICATION
from gpt_lightning.apps.watch.records import show_time
from gpt_lightning.apps.watch.sample import START, TURN_HOURS
from gpt_lightning.apps.watch.service import WatchEndpoints
from gpt_lightning.apps.watch.store import WatchStore
from gpt_lightning.apps.watch.watching import ALERTS_FILE, STORE_FILE, Watcher
from gpt_lightning.errors import ConfigError, DataError, FolderInUseError
from gpt_lightning.serving.app import build_app
from gpt_lightning.serving.server import build_service
from gpt_lightning.serving.settings import Address, Source
from tests.serving.servers import load_all

_TINY = [
    *("--set", "fit.trainer.max_steps=2"),
    *("--set", "fit.trainer.limit_val_batches=1"),
    *("--set", "fit.trainer.enable_progress_bar=false"),
    *("--set", "fit.model.config={n_layer: 1, n_head: 2, n_embd: 16}"),
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Trained for two steps."""
    place = tmp_path_factory.mktemp("watch") / "mood"
    assert cli.main(["app", "watch", "init", str(place)]) == 0
    for name, rows in (("train.jsonl", 400), ("test.jsonl", 60), ("stream.jsonl", 300)):
        lines = (place / name).read_text(encoding="utf-8").splitlines(keepends=True)
        (place / name).write_text("".join(lines[:rows]), encoding="utf-8")
    assert cli.main(["app", "watch", "train", str(place), *_TINY]) == 0
    return place


def read_ids(folder: Path) -> set[str]:
    return {json.loads(line)["id"] for line in (folder / "stream.jsonl").read_text(encoding="utf-8").splitlines()}


def test_figures_stand_beside_the_lexicons(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["app", "watch", "evaluate", str(folder)]) == 0
    out = capsys.readouterr().out
    rows = [line.split() for line in out.splitlines() if "lexicon" in line]
    assert {row[0] for row in rows} >= {"accuracy", "macro_f1"}
    texts = len(read_ids(folder))
    assert f"Replay of stream.jsonl: {texts} texts in 4 windows of 60 minutes, {300 - texts} duplicates, 0 late" in out
    assert (folder / "report.html").exists()
    assert {path.name for path in (folder / "evaluations").iterdir()} == {"ours.json", "lexicon.json"}
    # The folder's own store and alerts are not those of a replay.
    assert not (folder / STORE_FILE).exists()


def test_moods_that_the_model_does_not_know_are_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"moods names what the model does not know.*negative, neutral, positive"):
        APPLICATION.evaluate(open_folder(APPLICATION, folder, ["moods=[angry]"]))


@pytest.fixture(scope="module")
def client(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    opened = open_folder(APPLICATION, folder)
    place = tmp_path_factory.mktemp("store")
    with closing(WatchStore(place / STORE_FILE, opened.settings)) as store:
        moods, topics = application._labellers(opened)
        watcher = Watcher(store, moods, topics, opened.settings, place / ALERTS_FILE)
        service, metrics = build_service({"tiny": Source("1")}, lambda base, adapters: load_all(base, adapters))
        routes = WatchEndpoints(service, watcher).routes
        with TestClient(build_app(service, metrics, any_host=True, routes=routes)) as found:
            yield found


def test_texts_are_posted_and_shown(client: TestClient) -> None:
    rows = [{"id": f"r{n}", "time": f"2026-01-05T0{n}:00:00Z", "text": "crude oil slumps"} for n in range(3)]
    posted = client.post("/v1/watch", json={"rows": [*rows, {"text": "no time"}, 5]})
    assert posted.json() == {"object": "watch", "rows": 5, "bad": 2}
    assert client.post("/v1/watch", json={"rows": rows}).json()["bad"] == 0
    state = client.get("/v1/watch", params={"topic": "all"}).json()
    assert state["tallies"] == {"texts": 3, "duplicates": 3, "late": 0, "bad": 2}
    assert [sum(each["moods"].values()) for each in state["windows"]] == [1, 1, 1]
    texts = client.get("/v1/watch/texts", params={"topic": "all", "window": state["windows"][0]["number"]}).json()
    assert [each["id"] for each in texts["data"]] == ["r0"]
    page = client.get("/")
    assert page.status_code == 200
    assert "default-src 'none'" in page.headers["content-security-policy"]


@pytest.mark.parametrize("body", [{}, {"rows": []}, {"rows": "x"}, {"rows": [{}] * 10_001}, [1]])
def test_what_is_no_list_of_rows_is_refused(client: TestClient, body: object) -> None:
    answer = client.post("/v1/watch", json=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["param"] == "rows"


def test_a_window_is_a_number(client: TestClient) -> None:
    for window in ("", "x", "1.5", "--1"):
        assert client.get("/v1/watch/texts", params={"window": window}).status_code == 400


def test_the_input_is_read_while_it_is_served_and_nothing_of_it_twice(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``run`` twice on one folder: the second start goes on where the first was stopped."""
    served = []

    def serve(name: str, model: str, address: object, make_routes: object) -> None:
        with closing(WatchStore(folder / STORE_FILE, open_folder(APPLICATION, folder).settings)) as store:
            for _ in itertools.takewhile(lambda _: store.tallies()["texts"] < len(read_ids(folder)), range(600)):
                time.sleep(0.05)
            served.append(store.tallies())

    monkeypatch.setattr(application, "serve_model", serve)
    for _ in range(2):
        APPLICATION.run(open_folder(APPLICATION, folder), Address())
    texts = len(read_ids(folder))
    assert served[0] == served[1] == {"texts": texts, "duplicates": 300 - texts, "late": 0, "bad": 0}
    assert (folder / ALERTS_FILE).exists()


def test_what_fails_is_told_once_and_tried_again(caplog: pytest.LogCaptureFixture) -> None:
    calls = []

    def work(ending: object) -> None:
        calls.append(ending)
        raise OSError("the disk is away")

    monkey = pytest.MonkeyPatch()
    monkey.setattr(application, "_PAUSE_SECONDS", 0.01)
    with monkey.context(), application._repeating("watch", work):
        for _ in itertools.takewhile(lambda _: len(calls) < 3, range(1000)):
            time.sleep(0.01)
    monkey.undo()
    assert len(calls) >= 3
    assert len([each for each in caplog.records if "tried again" in each.message]) == 1


def test_one_folder_is_watched_once_and_an_input_that_is_gone_is_told(folder: Path) -> None:
    with alone(folder), pytest.raises(FolderInUseError, match="is served by"):
        APPLICATION.run(open_folder(APPLICATION, folder), Address())
    with pytest.raises(DataError, match=r"The input does not exist: got '.*gone\.jsonl'"):
        APPLICATION.run(open_folder(APPLICATION, folder, ["input=gone.jsonl"]), Address())


def test_rows_to_measure_on_have_a_text_and_a_mood(folder: Path) -> None:
    (folder / "other.jsonl").write_text('{"text": "a", "mood": "neutral"}\n{"text": "b"}\n')
    with pytest.raises(DataError, match=r"Row 2 of .*other\.jsonl is no text with a mood"):
        APPLICATION.evaluate(open_folder(APPLICATION, folder, ["test=other.jsonl"]))


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_the_sample_beats_its_floor_and_finds_the_turn(tmp_path: Path) -> None:
    place = tmp_path / "mood"
    for verb in ("init", "train"):
        assert cli.main(["app", "watch", verb, str(place)]) == 0
    findings = APPLICATION.evaluate(open_folder(APPLICATION, place))
    # 96.1 and 73.6, in 2.5 CPU-minutes, on 2 x86-64 cores.
    assert findings.ours.scores["accuracy"] >= 93
    assert findings.floors[0].scores["accuracy"] <= 80
    with APPLICATION._replay(open_folder(APPLICATION, place)) as watcher:
        alerts = watcher.store.alerts()
    turned = show_time(START + 3600 * TURN_HOURS.start)
    assert ("energy", turned) in {(each["topic"], each["from"]) for each in alerts}
    assert {each["topic"] for each in alerts} <= {"all", "energy"}
