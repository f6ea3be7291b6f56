"""What was acknowledged is there, once; nothing is changed; who asks to be forgotten is forgotten."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from gpt_lightning.errors import ConfigError, DataError, MachineError
from gpt_lightning.feedback.records import Feedback, Interaction
from gpt_lightning.feedback.redaction import redact_contacts
from gpt_lightning.feedback.store import FeedbackStore
from tests.feedback.stores import ask, fill, say

ROOT = Path(__file__).parents[2]


def _post_until_killed(path: Path, count: int, after: int) -> list[str]:
    """Keys that were acknowledged by a process that is killed behind so many."""
    command = [sys.executable, "-m", "tests.feedback.posting", str(path), str(count)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        told = []
        for line in process.stdout:
            told.append(line.strip())
            if len(told) == after:
                os.kill(process.pid, signal.SIGKILL)
    return told


@pytest.mark.parametrize(("count", "kills"), [(60, 2), pytest.param(1000, 20, marks=pytest.mark.slow)])
def test_every_acknowledged_row_outlives_a_kill_once(tmp_path: Path, count: int, kills: int) -> None:
    path = tmp_path / "feedback.db"
    fill(path, [ask("a")]).close()
    draw, told = random.Random(count), set()
    for at in sorted(draw.sample(range(1, count), kills)):
        told |= set(_post_until_killed(path, count, at))
        with FeedbackStore(path) as store:
            kept = [each.key for each in store.feedback()]
        assert told <= set(kept)
        assert len(kept) == len(set(kept)) <= len(told) + 1  # one may be written and not told yet
    assert len(_post_until_killed(path, count, -1)) == count
    with FeedbackStore(path) as store:
        assert [each.key for each in store.feedback()] == [f"key{number:05d}" for number in range(count)]


def test_the_same_key_is_the_same_row(tmp_path: Path) -> None:
    with fill(tmp_path / "f.db", [ask("a")]) as store:
        assert store.add_feedback(say("a", "thumb", True, key="k"))
        assert not store.add_feedback(say("a", "thumb", True, key="k", time="2027"))
        with pytest.raises(DataError, match="The key was used for other feedback"):
            store.add_feedback(say("a", "thumb", False, key="k"))
        assert store.add_feedback(say("a", "thumb", False))  # its own key is made of what it says
        assert not store.add_feedback(say("a", "thumb", False))
        assert [each.value for each in store.feedback("a")] in ([True, False], [False, True])
        assert not store.add_interaction(ask("a", "Ho"))
        assert store.interactions() == [ask("a")]


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (lambda: say("zz", "thumb", True), "no answer of this id"),
        (lambda: say("a", "thumb", True, choice=1), "no such choice"),
        (lambda: say("a", "stars", 3), "no such kind"),
        (lambda: say("a", "thumb", 1), "thumb has another value"),
        (lambda: say("a", "rating", 6), "rating has another value"),
        (lambda: say("a", "rating", True), "rating has another value"),
        (lambda: say("a", "correction", " "), "correction has another value"),
        (lambda: say("a", "label", 3), "label has another value"),
        (lambda: say("a", "thumb", True, consent="yes"), "consent is yes or no"),
        (lambda: say("a", "thumb", True, comment="x" * 100_001), "Feedback is not whole"),
    ],
)
def test_what_is_no_feedback_is_refused(tmp_path: Path, wrong: object, message: str) -> None:
    with fill(tmp_path / "f.db", [ask("a")]) as store:
        with pytest.raises(DataError, match=message):
            store.add_feedback(wrong())  # type: ignore[operator]
        assert store.feedback() == []


def test_nothing_is_changed_or_deleted_behind_the_stores_back(tmp_path: Path) -> None:
    fill(tmp_path / "f.db", [ask("a"), say("a", "thumb", True)]).close()
    base = sqlite3.connect(tmp_path / "f.db")
    for table in ("interactions", "feedback"):
        with pytest.raises(sqlite3.IntegrityError, match="rows are never changed"):
            base.execute(f"UPDATE {table} SET content = ''")
        with pytest.raises(sqlite3.IntegrityError, match="with their user only"):
            base.execute(f"DELETE FROM {table}")
    base.close()


def test_a_deleted_user_leaves_no_trace(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    with FeedbackStore(path) as store:
        ada, bob = store.hash_user("ada"), store.hash_user("bob")
        rows: list[Interaction | Feedback] = [
            ask("a", "ada's secret question", user=ada),
            ask("b", "a question of bob's", user=bob),
            say("a", "correction", "bob answers ada's secret", bob, key="1"),
            say("b", "correction", "ada's secret opinion", ada, key="2"),
            say("b", "thumb", True, bob, key="3"),
        ]
        for row in rows:
            store.add_interaction(row) if isinstance(row, Interaction) else store.add_feedback(row)
        for fingerprint, keys in {"x": ["1", "3"], "y": ["3"], "z": ["2"]}.items():
            store.record_build(fingerprint, keys)
        found = store.delete_user(ada)
        assert (found.interactions, found.feedback, list(found.builds)) == (1, 2, ["x", "z"])
        assert [each.id for each in store.interactions()] == ["b"]
        assert [each.key for each in store.feedback()] == ["3"]
        assert store.builds() == {"x": ["1", "3"], "y": ["3"], "z": ["2"]}
        for row in rows:  # an old export is imported again
            assert not (store.add_interaction(row) if isinstance(row, Interaction) else store.add_feedback(row))
        assert len(store.interactions()) == len(store.feedback()) == 1
        with pytest.raises(DataError, match="Nobody is named"):
            store.delete_user("")
        assert b"secret" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())
    assert b"secret" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())


def test_users_are_hashed_with_the_stores_own_salt(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "one.db") as one, FeedbackStore(tmp_path / "two.db") as two:
        assert one.hash_user("ada") == one.hash_user("ada") != two.hash_user("ada")
        assert one.hash_user("") == ""


def test_texts_are_redacted_before_they_are_written(tmp_path: Path) -> None:
    path = tmp_path / "f.db"
    with FeedbackStore(path, redact=redact_contacts) as store:
        store.add_interaction(ask("a", "I am ada@example.org", ("Call 0123 456 7890",)))
        store.add_interaction(Interaction("b", "m", "v", "f", "ada@example.org", ["x"]))
        store.add_feedback(say("a", "correction", "Write to ada@example.org", comment="ada@example.org"))
        assert store.interactions()[0].prompt == [{"role": "user", "content": "I am <email>"}]
        assert list(store.interactions()[0].answers) == ["Call <number>"]
    assert b"example.org" not in b"".join(each.read_bytes() for each in tmp_path.iterdir())


def test_files_that_are_no_store_are_told(tmp_path: Path) -> None:
    (tmp_path / "text").write_text("x" * 5000)
    with pytest.raises(DataError, match="is no store of feedback"):
        FeedbackStore(tmp_path / "text")
    base = sqlite3.connect(tmp_path / "other.db")
    base.execute("CREATE TABLE t (a)")
    base.close()
    with pytest.raises(DataError, match="a database of something else"):
        FeedbackStore(tmp_path / "other.db")
    FeedbackStore(tmp_path / "new.db").close()
    base = sqlite3.connect(tmp_path / "new.db")
    base.execute("PRAGMA user_version = 9")
    base.close()
    with pytest.raises(DataError, match="is of a newer version: got 9"):
        FeedbackStore(tmp_path / "new.db")
    with pytest.raises(MachineError, match="cannot be used"):
        FeedbackStore(tmp_path / "missing" / "f.db")
    with pytest.raises(ConfigError, match="database servers are not supported: got 'postgresql'"):
        FeedbackStore("postgresql://me@host/base")


def test_a_record_is_whole() -> None:
    for prompt, answers in (([], ["x"]), ([{"role": "user"}], ["x"]), ("x", []), ("x", "y"), (3, ["x"])):
        with pytest.raises(DataError, match="An interaction is not whole"):
            Interaction("a", "m", "v", "f", prompt, answers)  # type: ignore[arg-type]
    assert Feedback("a", "thumb", True).key != Feedback("a", "thumb", False).key
