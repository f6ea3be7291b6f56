"""The loop at the server: answers kept, feedback taken, versions promoted and rolled back under it."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gpt_lightning.checkpoints.checkpoint_dir import locate
from gpt_lightning.checkpoints.durable import step_of
from gpt_lightning.feedback.redaction import redact_contacts
from gpt_lightning.feedback.store import FeedbackStore
from gpt_lightning.registry.history import promote, read_history, rollback
from gpt_lightning.serving.feedback import Desk
from gpt_lightning.serving.settings import Source
from gpt_lightning.serving.versions import Versions
from tests.registry.versions import register
from tests.serving.servers import chat, completion, load_seed, read_events, serve

CHAT, TEXT, FEEDBACK = "/v1/chat/completions", "/v1/completions", "/v1/feedback"


@pytest.fixture
def kept(tmp_path: Path) -> Iterator[tuple[TestClient, FeedbackStore]]:
    with (
        FeedbackStore(tmp_path / "feedback.db", redact=redact_contacts) as store,
        serve(desk=Desk(store)) as (client, _),
    ):
        yield client, store


def test_answers_are_kept_as_they_were_answered(kept: tuple[TestClient, FeedbackStore]) -> None:
    client, store = kept
    whole = client.post(CHAT, json=chat("I am ada@example.org", n=2, user="ada")).json()
    events = read_events(client.post(CHAT, json=chat("Hi", stream=True)).text)
    text = client.post(TEXT, json=completion("Once")).json()
    client.post(TEXT, json=completion(["Once", "Twice"]))  # of two prompts: not kept
    client.post(TEXT, json=completion([[1, 2]]))  # of token ids: not kept
    found = {each.id: each for each in store.interactions()}
    assert set(found) == {whole["id"], events[0]["id"], text["id"]}
    first = found[whole["id"]]
    assert list(first.answers) == [redact_contacts(each["message"]["content"]) for each in whole["choices"]]
    assert first.prompt == [{"role": "user", "content": "I am <email>"}]
    assert (first.user, first.model) == (store.hash_user("ada"), "tiny")
    assert first.fingerprint == whole["system_fingerprint"]
    assert first.settings["seed"] == 7
    streamed = "".join(each["choices"][0]["delta"].get("content", "") for each in events if each["choices"])
    assert list(found[events[0]["id"]].answers) == [redact_contacts(streamed)]
    assert found[text["id"]].prompt == "Once"


def test_feedback_is_taken_once(kept: tuple[TestClient, FeedbackStore]) -> None:
    client, store = kept
    assert all(each["feedback"] for each in client.get("/v1/models").json()["data"])  # the page shows its thumbs
    answer = client.post(CHAT, json=chat()).json()["id"]
    said = {"id": answer, "rating": "down", "correction": "Hello!", "user": "ada", "consent": True}
    assert client.post(FEEDBACK, json=said).json()["new"] == 2
    assert client.post(FEEDBACK, json=said).json()["new"] == 0
    assert client.post(FEEDBACK, json={"id": answer, "rating": 4, "idempotency_key": "k"}).json()["keys"] == [
        "k:rating"
    ]
    found = {each.kind: each for each in store.feedback(answer)}
    assert {kind: each.value for kind, each in found.items()} == {"thumb": False, "correction": "Hello!", "rating": 4}
    assert (found["thumb"].user, found["thumb"].consent) == (store.hash_user("ada"), True)
    assert not found["rating"].consent  # nobody said so


@pytest.mark.parametrize(
    ("change", "param"),
    [
        ({"id": "chatcmpl-none"}, "id"),
        ({"rating": 9}, "rating"),
        ({"rating": True}, "rating"),
        ({"rating": None}, "rating"),
        ({"correction": " "}, "correction"),
        ({"choice": 1}, "id"),
        ({"stars": 3}, "stars"),
        ({"consent": "yes"}, "consent"),
    ],
)
def test_wrong_feedback_is_refused(kept: tuple[TestClient, FeedbackStore], change: dict[str, Any], param: str) -> None:
    client, store = kept
    answer = client.post(CHAT, json=chat()).json()["id"]
    response = client.post(FEEDBACK, json={"id": answer, "rating": "up", **change})
    assert (response.status_code, response.json()["error"]["param"]) == (400, param)
    assert store.feedback() == []


def _load(base: str, adapters: Sequence[str]) -> Versions:
    checkpoint = locate(base)
    return load_seed(step_of(checkpoint) or 0, checkpoint)


@pytest.mark.timeout(3600)
@pytest.mark.parametrize(("moves", "clients"), [(6, 2), pytest.param(1000, 8, marks=pytest.mark.slow)])
def test_promotions_and_rollbacks_fail_no_request(tmp_path: Path, moves: int, clients: int) -> None:
    """Each answer is one version's or the other's, whole; the log says which, and afterwards it is as before."""
    folder = tmp_path / "chat"
    first, second = register(folder, 1, 2)
    promote(folder, first.id, "production", who="test")
    store = FeedbackStore(tmp_path / "feedback.db")
    sources = {"tiny": Source(f"{folder}@production")}
    with store, serve(sources, loader=_load, desk=Desk(store), queue=256) as (client, service):

        def move(forth: bool) -> dict[str, Any]:
            old = service.aliases.find("tiny")
            if forth:
                promote(folder, second.id, "production", who="test", why="test", force=True)
            else:
                rollback(folder, "production", who="test", why="test")
            while service.aliases.find("tiny") is old:  # the server looks every second by itself
                assert client.portal is not None
                client.portal.call(service.aliases.refresh)
            found: dict[str, Any] = client.post(CHAT, json=chat()).json()
            return found

        before = client.post(CHAT, json=chat()).json()
        after = move(True)
        expected = {each["system_fingerprint"]: each["choices"] for each in (before, after)}
        assert len(expected) == 2
        over = threading.Event()
        answers: list[dict[str, Any]] = []
        failed: list[dict[str, Any]] = []

        def ask() -> None:
            while not over.is_set():
                response = client.post(CHAT, json=chat())
                (answers if response.status_code == 200 else failed).append(response.json())

        threads = [threading.Thread(target=ask, daemon=True) for _ in range(clients)]
        for each in threads:
            each.start()
        for number in range(moves - 1):
            move(bool(number % 2))
        over.set()
        for each in threads:
            each.join()
        assert failed == []
        assert all(expected[each["system_fingerprint"]] == each["choices"] for each in answers)
        assert {each["system_fingerprint"] for each in answers} == set(expected)
        last = client.post(CHAT, json=chat()).json()
        assert last["choices"] == before["choices"]
        assert len(read_history(folder)) == moves + 1
        versions = {before["system_fingerprint"]: first.id, after["system_fingerprint"]: second.id}
        for answer in [*answers, last]:
            told = store.find_interaction(answer["id"])
            assert told is not None
            assert versions[answer["system_fingerprint"]] in Path(told.version).parts


def test_a_name_of_the_registry_that_breaks_leaves_the_old_version(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    (version,) = register(folder, 1)
    promote(folder, version.id, "production", who="test")
    with serve({"tiny": Source(f"{folder}@production")}, loader=_load) as (client, service):
        before = client.post(CHAT, json=chat()).json()["choices"]
        (folder / "aliases.json").write_text("{")
        assert client.portal is not None
        assert not client.portal.call(service.aliases.refresh)
        assert client.post(CHAT, json=chat()).json()["choices"] == before
