"""A data set is a function of the store's content, and of the layouts of ``data``."""

from __future__ import annotations

import json
import random
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.data.layouts.base import Layout
from gpt_lightning.data.layouts.conversations import Conversation, Preference, Rated
from gpt_lightning.data.layouts.labelled import Labelled
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.feedback.datasets import Rules, build_rows, write_build
from gpt_lightning.feedback.records import Feedback, Interaction
from gpt_lightning.feedback.store import FeedbackStore
from tests.feedback.stores import ask, fill, many, say

Rows = list[Interaction | Feedback]


def _contents(tmp_path: Path, rows: Rows, **rules: Any) -> tuple[dict[str, list[Any]], dict[str, int]]:
    with fill(tmp_path / "f.db", rows) as store:
        found, dropped = build_rows(store, Rules(**rules))
    return {name: [row.content for row in each] for name, each in found.items()}, dropped


def _bytes(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_each_kind_becomes_its_layout(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Eh?"},
        {"role": "user", "content": "2 + 2?"},
    ]
    rows: Rows = [
        Interaction("a", "chat", "v", "fp", messages, ["5", "3"]),
        say("a", "correction", "4"),
        say("a", "rating", 4),
        say("a", "rating", 1, choice=1),
        say("a", "thumb", False, choice=1),
        say("a", "label", "sums"),
    ]
    found, dropped = _contents(tmp_path, rows)
    learned = [messages[0], {**messages[1], "weight": 0}, messages[2], {"role": "assistant", "content": "4"}]
    assert found["conversations"] == [{"messages": learned}]
    pairs = {(row["chosen"], row["rejected"]) for row in found["preferences"]}
    assert pairs == {("4", "5"), ("5", "3")}
    assert found["ratings"] == [{"prompt": messages, "completion": "3", "label": False}]
    assert found["labels"] == [{"text": "2 + 2?", "label": "sums"}]
    assert dropped == {}
    layouts: dict[str, Layout] = {
        "conversations": Conversation(),
        "preferences": Preference(),
        "ratings": Rated(),
        "labels": Labelled(),
    }
    for name, layout in layouts.items():
        for content in found[name]:
            layout.parse(Document("", "x", 0, fields=content))  # refuses what is not of the layout


@pytest.mark.parametrize("seed", [1, 2])
def test_the_order_of_rows_changes_no_byte(tmp_path: Path, seed: int) -> None:
    rows = many(60)
    mixed = [row for row in rows if isinstance(row, Interaction)] + [row for row in rows if isinstance(row, Feedback)]
    head = mixed[:60]
    tail = mixed[60:]
    random.Random(seed).shuffle(head)
    random.Random(seed).shuffle(tail)
    rules = Rules(rows_per_user=5)
    with fill(tmp_path / "one.db", rows) as one, fill(tmp_path / "two.db", [*head, *tail]) as two:
        write_build(one, tmp_path / "one", rules)
        write_build(two, tmp_path / "two", rules)
        assert one.builds() == two.builds()
    found = _bytes(tmp_path / "one")
    assert found == _bytes(tmp_path / "two")
    assert len(found) == 9  # four kinds, two sides, and what they are
    assert all(content for content in found.values())


def test_more_rows_give_other_bytes(tmp_path: Path) -> None:
    rows = many(60)
    with fill(tmp_path / "f.db", rows) as store:
        first = write_build(store, tmp_path / "first")
        assert write_build(store, tmp_path / "first") == first  # as it is
        store.add_interaction(ask("new", "another question"))
        store.add_feedback(say("new", "correction", "another answer", "user9"))
        second = write_build(store, tmp_path / "second")
        assert first["fingerprint"] != second["fingerprint"]
        with pytest.raises(DataError, match="exists and holds something else"):
            write_build(store, tmp_path / "first")
        assert set(store.builds()) == {first["fingerprint"], second["fingerprint"]}


def test_the_gate_shares_no_prompt_with_training(tmp_path: Path) -> None:
    with fill(tmp_path / "f.db", many(300)) as store:
        write_build(store, tmp_path / "build", Rules(rows_per_user=None))
    prompts: dict[str, set[str]] = {}
    sizes: Counter[str] = Counter()
    for path in (tmp_path / "build").rglob("*.jsonl"):
        for line in path.read_text().splitlines():
            row = json.loads(line)
            messages = row.get("prompt") or row.get("messages") or [{"content": row["text"]}]
            prompts.setdefault(path.parent.name, set()).add(messages[0]["content"])
            sizes[path.parent.name] += 1
    assert not prompts["train"] & prompts["gate"]
    share = len(prompts["gate"]) / len(prompts["gate"] | prompts["train"])
    assert abs(share - 0.2) < 4 * (0.2 * 0.8 / 100) ** 0.5  # four standard deviations of 100 prompts


def test_only_what_was_consented_to_is_used(tmp_path: Path) -> None:
    rows: Rows = [ask("a"), say("a", "correction", "Good day", consent=False), say("a", "thumb", True)]
    found, dropped = _contents(tmp_path, rows)
    assert (found["conversations"], len(found["ratings"]), dropped) == ([], 1, {"no consent": 1})


def test_contradictions_are_dropped_and_agreement_is_one_row(tmp_path: Path) -> None:
    rows: Rows = [
        *(ask(key, prompt) for key, prompt in (("a", "Hi"), ("b", " HI "), ("c", "Ho"))),
        say("a", "thumb", True, "ada"),
        say("b", "thumb", False, "bob"),
        say("a", "correction", "Good day", "ada"),
        say("b", "correction", "Good day", "bob"),
        say("a", "label", "greeting", "ada"),
        say("b", "label", "noise", "bob"),
        say("c", "thumb", True, "ada"),
    ]
    found, dropped = _contents(tmp_path, rows)
    assert {name: len(each) for name, each in found.items()} == {
        "conversations": 1,
        "preferences": 1,
        "ratings": 1,
        "labels": 0,
    }
    assert dropped == {"contradictions": 4, "duplicates": 2}
    assert found["ratings"][0]["prompt"][0]["content"] == "Ho"


def test_who_changes_his_mind_is_heard_once(tmp_path: Path) -> None:
    rows: Rows = [
        ask("a"),
        say("a", "correction", "first", "ada", time="2026-01-02"),
        say("a", "correction", "second", "ada", time="2026-01-03"),
    ]
    found, dropped = _contents(tmp_path, rows)
    assert found["conversations"][0]["messages"][-1]["content"] == "second"
    assert dropped == {"said anew later": 1}


def test_nobody_fills_the_data_set_alone(tmp_path: Path) -> None:
    rows: Rows = []
    for number in range(40):
        user = "loud" if number < 30 else f"user{number}"
        rows += [ask(f"a{number}", f"question {number}"), say(f"a{number}", "thumb", True, user)]
    found, dropped = _contents(tmp_path, rows, rows_per_user=5)
    assert (len(found["ratings"]), dropped) == (15, {"beyond the limit of a user": 25})
    (tmp_path / "f.db").unlink()
    found, dropped = _contents(tmp_path, rows, rows_per_user=None)
    assert (len(found["ratings"]), dropped) == (40, {})


def test_ratings_that_are_close_make_no_pair(tmp_path: Path) -> None:
    rows: Rows = [
        ask("a", answers=("x", "y")),
        say("a", "rating", 3, "ada"),
        say("a", "rating", 4, "bob"),
        say("a", "rating", 4, "ada", choice=1),
    ]
    found, dropped = _contents(tmp_path, rows)
    assert (found["preferences"], dropped) == ([], {"ratings too close": 1})
    (tmp_path / "f.db").unlink()
    found, _ = _contents(tmp_path, rows, rating_gap=0.5)
    assert found["preferences"][0]["chosen"] == "y"


def test_a_deleted_users_rows_are_in_no_later_build(tmp_path: Path) -> None:
    with FeedbackStore(tmp_path / "f.db") as store:
        ada = store.hash_user("ada")
        rows: Rows = [
            ask("a"),
            say("a", "correction", "secret", ada),
            ask("b", "Ho"),
            say("b", "correction", "Hey", "bob"),
        ]
        for row in rows:
            store.add_interaction(row) if isinstance(row, Interaction) else store.add_feedback(row)
        before = write_build(store, tmp_path / "before")
        assert list(store.delete_user(ada).builds) == [before["fingerprint"]]
        write_build(store, tmp_path / "after")
    assert b"secret" in b"".join(_bytes(tmp_path / "before").values())
    assert b"secret" not in b"".join(_bytes(tmp_path / "after").values())


def test_an_empty_store_and_wrong_rules_are_refused(tmp_path: Path) -> None:
    store = fill(tmp_path / "f.db", [ask("a"), say("a", "thumb", True, consent=False)])
    with store, pytest.raises(DataError, match="no feedback to train on: got '1 no consent'"):
        write_build(store, tmp_path / "build")
    assert not (tmp_path / "build").exists()
    for wrong in ({"gate_fraction": 1.0}, {"rows_per_user": 0}, {"rating_gap": 0.0}):
        with pytest.raises(ConfigError):
            Rules(**wrong)
