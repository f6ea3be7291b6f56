"""``gpt-lightning feedback``: what is typed, and files of other programs."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from gpt_lightning.cli import main
from gpt_lightning.errors import DataError
from gpt_lightning.feedback.exchange import read_jsonl, write_jsonl
from gpt_lightning.feedback.label_studio import read_label_studio, write_label_studio
from gpt_lightning.feedback.store import FeedbackStore
from gpt_lightning.registry.versions import add_version
from tests.feedback.stores import ask, fill, many, say
from tests.registry.versions import write_run


def test_jsonl_holds_all_of_it(tmp_path: Path) -> None:
    with fill(tmp_path / "one.db", many(12)) as one, FeedbackStore(tmp_path / "two.db") as two:
        total = write_jsonl(one, tmp_path / "all.jsonl")
        assert total == 12 * 5
        assert read_jsonl(two, tmp_path / "all.jsonl") == (total, total)
        assert read_jsonl(two, tmp_path / "all.jsonl") == (0, total)
        assert (two.interactions(), two.feedback()) == (one.interactions(), one.feedback())
        write_jsonl(two, tmp_path / "again.jsonl")
    assert (tmp_path / "again.jsonl").read_bytes() == (tmp_path / "all.jsonl").read_bytes()


def test_label_studio_round_trips(tmp_path: Path) -> None:
    rows = many(6)
    with (
        fill(tmp_path / "one.db", rows) as one,
        fill(tmp_path / "two.db", [r for r in rows if r in one.interactions()]) as two,
    ):
        assert write_label_studio(one, tmp_path / "tasks.json") == 6
        assert read_label_studio(one, tmp_path / "tasks.json") == (0, 24)
        assert read_label_studio(two, tmp_path / "tasks.json") == (24, 24)
        assert two.feedback() == one.feedback()


def test_annotations_made_in_label_studio_come_back(tmp_path: Path) -> None:
    with fill(tmp_path / "f.db", [ask("a", answers=("x", "y"))]) as store:
        write_label_studio(store, tmp_path / "tasks.json")
        tasks = json.loads((tmp_path / "tasks.json").read_text())
        assert [task["data"]["answer"] for task in tasks] == ["x", "y"]
        values = {
            "thumb": {"choices": ["down"]},
            "rating": {"rating": 2},
            "correction": {"text": ["z"]},
            "sentiment": {"choices": ["other"]},  # somebody's own question
        }
        tasks[1]["annotations"] = [
            {
                "completed_by": {"id": 7},
                "created_at": "2026-02-03T04:05:06Z",
                "result": [{"id": name, "from_name": name, "value": value} for name, value in values.items()],
            }
        ]
        (tmp_path / "tasks.json").write_text(json.dumps(tasks))
        assert read_label_studio(store, tmp_path / "tasks.json") == (3, 3)
        found = {each.kind: each for each in store.feedback()}
        assert {kind: each.value for kind, each in found.items()} == {"thumb": False, "rating": 2, "correction": "z"}
        assert {(each.choice, each.consent, each.user) for each in found.values()} == {
            (1, True, store.hash_user("label studio 7"))
        }
        assert found["thumb"].time == "2026-02-03T04:05:06Z"


def test_files_of_something_else_are_told(tmp_path: Path) -> None:
    with fill(tmp_path / "f.db", [ask("a")]) as store:
        for text in ("{}", '{"feedback": {"kind": "thumb"}}', '{"interaction": {}}', "[1]", "no", '{"feedback": 3}'):
            (tmp_path / "x.jsonl").write_text(f"\n{text}\n")
            with pytest.raises(DataError, match="line 2 is no row of feedback"):
                read_jsonl(store, tmp_path / "x.jsonl")
        whole = json.dumps({"feedback": asdict(say("a", "thumb", True))})
        (tmp_path / "x.jsonl").write_text(f"{whole}\n{{}}\n")
        with pytest.raises(DataError, match="Nothing was taken over"):
            read_jsonl(store, tmp_path / "x.jsonl")
        assert store.feedback() == []
        for text in ("{}", "[3]", "no", '[{"data": {}, "annotations": [{"result": [{"from_name": "thumb"}]}]}]'):
            (tmp_path / "x.json").write_text(text)
            if text != "{}":
                with pytest.raises(DataError, match="no export of Label Studio"):
                    read_label_studio(store, tmp_path / "x.json")
        with pytest.raises(DataError, match="cannot be read"):
            read_jsonl(store, tmp_path / "missing")


def test_the_loop_can_be_asked_from_its_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Which version answered a request, on which data it was trained, and whose rows were in them."""
    monkeypatch.chdir(tmp_path)

    def run(*words: str) -> str:
        assert main(["feedback", *words]) == 0, capsys.readouterr().err
        return capsys.readouterr().out

    with FeedbackStore("f.db") as store:
        store.add_interaction(ask("a", "Hi", user=store.hash_user("ada")))
    assert run("add", "f.db", "a", "correction", "Good day", "--user", "bob", "--consent", "true").startswith("kept: ")
    assert run("add", "f.db", "a", "thumb", "down", "--user", "bob").startswith("kept: ")
    assert run("add", "f.db", "a", "thumb", "down", "--user", "bob").startswith("known already: ")
    assert main(["feedback", "add", "f.db", "a", "thumb", "sideways"]) == 2
    assert "allowed: up, down" in capsys.readouterr().err
    built = run("build", "f.db", "data/one")
    assert "1  left out: no consent" in built
    fingerprint = built.split()[-1]
    version = add_version(Path("models/chat"), write_run(tmp_path, 1), data={fingerprint: "data/one"})
    child = add_version(Path("models/chat"), write_run(tmp_path, 2), parent=version.id)
    with FeedbackStore("f.db") as store:
        store.add_interaction(replace(ask("b"), version=f"models/chat/versions/{version.id}"))
    shown = run("show", "f.db", "b")
    assert f"chat@{version.id}" in shown
    assert fingerprint in shown
    stats = json.loads(run("stats", "f.db", "--json", "true"))
    assert (stats["interactions"], stats["feedback"], stats["consented"], stats["users"]) == (2, 2, 1, 2)
    assert "0 of 1" in run("stats", "f.db")
    deleted = run("delete-user", "f.db", "bob")
    assert "0 answers, 2 pieces of feedback" in deleted
    assert f"was in data set {fingerprint}" in deleted
    assert f"chat@{version.id}" in deleted
    assert f"chat@{child.id}" in deleted  # began with it
    run("export", "f.db", "tasks.json", "--format", "label-studio")
    assert Path("tasks.xml").read_text().startswith("<View>")
    assert main(["feedback", "stats", "none.db"]) == 3
    assert "There is no store of feedback" in capsys.readouterr().err
