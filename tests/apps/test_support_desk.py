"""Customer service while it is served: answers, hand-offs, people, the log that state follows from, and feedback."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from starlette.testclient import TestClient

from gpt_lightning.apps.support.assistant import Assistant
from gpt_lightning.apps.support.conversations import Conversations
from gpt_lightning.apps.support.desk import Origin, SupportDesk
from gpt_lightning.apps.support.matching import Matcher, Mixture
from gpt_lightning.apps.support.records import Asked, Entry, SupportSettings, read_entries
from gpt_lightning.apps.support.retrieval import Coverage, Words
from gpt_lightning.apps.support.service import SupportEndpoints
from gpt_lightning.apps.support.writing import Writer
from gpt_lightning.errors import ConfigError, DataError, MachineError
from gpt_lightning.feedback.datasets import Rules, write_build
from gpt_lightning.feedback.redaction import redact_contacts
from gpt_lightning.feedback.store import FeedbackStore
from gpt_lightning.serving.app import build_app
from gpt_lightning.serving.feedback import Desk
from gpt_lightning.serving.server import build_service
from gpt_lightning.serving.settings import Source
from tests.serving.servers import load, load_all

_ENTRIES = [
    Entry("back", "In 30 days.", (("How long can I return it?",),)),
    Entry("pay", "By card.", (("How can I pay?",),)),
    Entry("firm", "A colleague makes an offer.", (("offer for a firm",),), handoff=True),
    Entry("pay-zh", "刷卡。", (("怎么付款？",),), language="zh"),
]
_AGENT = {"authorization": "Bearer secret"}


class Place:
    """A folder that is served in this process, and can be served again."""

    def __init__(self, path: Path, stack: ExitStack) -> None:
        self._stack = stack
        self.audit, self.store = path / "audit.jsonl", stack.enter_context(FeedbackStore(path / "feedback.db"))
        known = [Asked(entry.wordings[0][0], number) for number, entry in enumerate(_ENTRIES)]
        words = Words(_ENTRIES, known)
        matcher = Matcher(_ENTRIES, [words, Coverage(words)], Mixture({"BM25": 0.5, "coverage": 12.0}, 5.0))
        self.assistant = Assistant(_ENTRIES, matcher, 0.3, SupportSettings())

    def serve(self) -> TestClient:
        conversations = self._stack.enter_context(closing(Conversations(self.audit)))
        desk = SupportDesk(self.assistant, conversations, self.store, Origin("run-1", "fp_1"), consent=True)
        service, metrics = build_service(
            {"tiny": Source("1")}, lambda base, adapters: load_all(base, adapters), desk=Desk(self.store, consent=True)
        )
        routes = SupportEndpoints(service, desk, "secret", consent=True).routes
        return self._stack.enter_context(TestClient(build_app(service, metrics, any_host=True, routes=routes)))

    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.audit.read_text(encoding="utf-8").splitlines()]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    with ExitStack() as stack:
        yield Place(tmp_path, stack)


def ask(client: TestClient, **body: Any) -> dict[str, Any]:
    answer = client.post("/v1/support", json=body)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def act(client: TestClient, name: str, code: int = 200, **body: Any) -> dict[str, Any]:
    answer = client.post(f"/v1/support/queue/{name}", json=body, headers=_AGENT)
    assert answer.status_code == code, answer.text
    found: dict[str, Any] = answer.json()
    return found


def queue(client: TestClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = client.get("/v1/support/queue", headers=_AGENT).json()["data"]
    return found


def texts(found: dict[str, Any]) -> list[str]:
    return [each["text"] for each in found["messages"]]


def test_answers_rules_and_what_nobody_knows(place: Place) -> None:
    client = place.serve()
    known = ask(client, text="how can I pay")
    assert (known["state"], texts(known), known["offers"]) == ("assistant", ["how can I pay", "By card."], [])
    assert texts(ask(client, text="怎么付款")) == ["怎么付款", "刷卡。"]
    for text, reason in (
        ("zebra crossing", "unsure"),
        ("how can I pay, I want a human", "person"),
        ("我要找人工", "person"),
        ("offer for a firm", "entry"),
        ("How can I pay? My LAWYER asks", "legal"),
        ("the issue of pursuing it", "unsure"),  # "sue" is a word, and no part of one
    ):
        found = ask(client, text=text)
        assert (found["state"], queue(client)[-1]["reason"]) == ("waiting", reason), text
    assert texts(ask(client, text="offer for a firm"))[1] == "A colleague makes an offer."
    wish = ask(client, conversation=known["conversation"], person=True)
    assert (wish["state"], len(wish["messages"])) == ("waiting", 1)
    assert ask(client, conversation=known["conversation"], person=True)["messages"] == []
    # Who waits for a person is not answered by the assistant.
    assert texts(ask(client, conversation=known["conversation"], text="how can I pay")) == ["how can I pay"]


def test_a_person_takes_over_answers_and_closes(place: Place) -> None:
    client = place.serve()
    name = ask(client, text="zebra crossing")["conversation"]
    whole = client.get(f"/v1/support/queue/{name}", params={"person": "Ada"}, headers=_AGENT).json()
    assert whole["messages"][1]["facts"]["threshold"] == 0.3
    assert act(client, name, person="Ada", action="take")["state"] == "person"
    assert act(client, name, 409, person="Bo", text="Hi")["error"]["code"] == "conversation_taken"
    act(client, name, person="Ada", text="At the corner.")
    act(client, name, person="Ada", text="On the left.")
    seen = client.get(f"/v1/support/{name}", params={"after": 2}).json()
    assert [(each["number"], each["role"], each["text"]) for each in seen["messages"]] == [
        (3, "person", "At the corner."),
        (4, "person", "On the left."),
    ]
    assert "facts" not in seen["messages"][0]
    assert act(client, name, person="Bo", action="take")["person"] == "Bo"
    assert act(client, name, person="Bo", action="close")["state"] == "closed"
    assert act(client, name, 409, person="Bo", text="more")["error"]["code"] == "conversation_closed"
    assert queue(client) == []
    assert ask(client, conversation=name, text="how can I pay")["state"] == "assistant"
    kinds = [each["kind"] for each in place.events()]
    assert kinds == ["asked", "answered", "seen", "taken", "said", "said", "taken", "closed", "asked", "answered"]
    answered = place.events()[1]
    assert (answered["version"], answered["fingerprint"], answered["reason"]) == ("run-1", "fp_1", "unsure")
    assert [each["person"] for each in place.events() if "person" in each] == ["Ada"] * 4 + ["Bo"] * 2


def test_what_is_shown_twice_is_noted_once(place: Place) -> None:
    client = place.serve()
    name = ask(client, text="zebra")["conversation"]
    for person in ("Ada", "Ada", "Bo"):
        client.get(f"/v1/support/queue/{name}", params={"person": person}, headers=_AGENT)
    ask(client, conversation=name, text="hello?")
    client.get(f"/v1/support/queue/{name}", params={"person": "Ada"}, headers=_AGENT)
    seen = [(each["person"], each["messages"]) for each in place.events() if each["kind"] == "seen"]
    assert seen == [("Ada", 2), ("Bo", 2), ("Ada", 3)]


def test_a_customer_says_which_question_was_meant(place: Place) -> None:
    client = place.serve()
    place.assistant.threshold = 0.999999
    asked = ask(client, text="can I pay")
    assert asked["state"] == "waiting"
    assert asked["offers"][0] == {"entry": "pay", "question": "How can I pay?"}
    name = asked["conversation"]
    wrong = client.post("/v1/support", json={"conversation": name, "entry": "firm"})
    assert (wrong.status_code, wrong.json()["error"]["param"]) == (400, "entry")
    chosen = ask(client, conversation=name, entry="pay")
    assert (chosen["state"], texts(chosen)) == ("assistant", ["How can I pay?", "By card."])
    assert queue(client) == []
    (said,) = place.store.feedback()
    assert (said.kind, said.value) == ("correction", "By card.")


def test_state_follows_from_the_log(place: Place) -> None:
    client = place.serve()
    first, second = (ask(client, text=text)["conversation"] for text in ("zebra", "how can I pay"))
    act(client, first, person="Ada", text="It is striped.")
    before = [client.get(f"/v1/support/{name}").json() for name in (first, second)], queue(client)
    with place.audit.open("ab") as file:
        file.write(b'{"time": "2026", "kind": "ask')  # cut by a kill
    again = place.serve()
    assert ([again.get(f"/v1/support/{name}").json() for name in (first, second)], queue(again)) == before
    ask(again, conversation=second, text="怎么付款")
    assert [each["kind"] for each in place.events()][-2:] == ["asked", "answered"]
    place.audit.write_text("[1]\n")
    with pytest.raises(DataError, match=r"audit.jsonl line 1 is no event"):
        Conversations(place.audit)


def test_a_full_disk_leaves_no_half_line(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(Conversations(place.audit)) as conversations:
        talk = conversations.open()
        conversations.record(talk, "asked", text="one", language="en")
        monkeypatch.setattr("os.fsync", lambda file: (_ for _ in ()).throw(OSError(28, "No space left on device")))
        with pytest.raises(MachineError, match="No space left"):
            conversations.record(talk, "asked", text="two", language="en")
        monkeypatch.undo()
        conversations.record(talk, "asked", text="three", language="en")
        assert [each.text for each in talk.messages] == ["one", "three"]
    assert [each["text"] for each in place.events()] == ["one", "three"]


def test_texts_are_redacted_before_they_are_written(place: Place) -> None:
    with closing(Conversations(place.audit, redact_contacts)) as conversations:
        talk = conversations.open()
        conversations.record(talk, "asked", text="I am ada@example.org", language="en")
        assert talk.messages[0].text == "I am ada@example.org"
    assert place.events()[0]["text"] == "I am <email>"


def test_what_people_answer_is_learned(place: Place, tmp_path: Path) -> None:
    """A thumb, and a person's first answer; built into rows, which the files of ``faq`` may be."""
    client = place.serve()
    pay, zebra = ask(client, text="how can I pay"), ask(client, text="where is the zebra")
    rated = client.post("/v1/feedback", json={"id": pay["messages"][1]["id"], "rating": "down"})
    assert rated.json()["new"] == 1
    act(client, zebra["conversation"], person="Ada", text="In the zoo.")
    act(client, zebra["conversation"], person="Ada", text="Bye.")
    assert [(each["kind"], each["id"]) for each in place.events() if each["kind"] == "rated"] == [
        ("rated", pay["messages"][1]["id"])
    ]
    said = {each.kind: each.value for each in place.store.feedback()}
    assert said == {"thumb": False, "correction": "In the zoo."}
    write_build(place.store, tmp_path / "build", Rules(gate_fraction=0.0))
    rows = tmp_path / "build" / "train" / "conversations.jsonl"
    faq = tmp_path / "faq.jsonl"
    faq.write_text('{"question": "open?", "answer": "From 9."}\n')
    learned = read_entries([faq, rows])[1]
    assert (learned.answer, learned.wordings) == ("In the zoo.", (("where is the zebra",),))


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/v1/support", {"text": "a", "person": True}, 400, "text"),
        ("/v1/support", {"text": "x" * 4001}, 400, "text"),
        ("/v1/support", {"text": " "}, 400, "text"),
        ("/v1/support", {"conversation": "nobody", "text": "a"}, 404, None),
        ("/v1/support", {"txt": "a"}, 400, "txt"),
        ("/v1/support/queue/nobody", {"person": "Ada", "action": "take"}, 404, None),
        ("/v1/support/queue/nobody", {"person": "Ada"}, 400, "action"),
        ("/v1/support/queue/nobody", {"action": "take"}, 400, "person"),
        ("/v1/support/queue/nobody", {"person": "Ada", "action": "sleep"}, 400, "action"),
    ],
)
def test_mistakes_are_named(place: Place, path: str, body: dict[str, Any], code: int, param: str | None) -> None:
    answer = place.serve().post(path, json=body, headers=_AGENT)
    assert (answer.status_code, answer.json()["error"]["param"]) == (code, param)
    assert not place.audit.read_bytes()


def test_people_bring_their_token_and_customers_see_no_scores(place: Place) -> None:
    client = place.serve()
    name = ask(client, text="zebra")["conversation"]
    for path in ("/v1/support/queue", f"/v1/support/queue/{name}"):
        for headers in ({}, {"authorization": "Bearer wrong"}):
            assert client.get(path, headers=headers).status_code == 401
    assert client.post(f"/v1/support/queue/{name}", json={"person": "x", "text": "y"}).status_code == 401
    assert client.get(f"/v1/support/queue/{name}", params={"person": ""}, headers=_AGENT).status_code == 400
    assert client.get(f"/v1/support/{name}", params={"after": "-1"}).status_code == 400
    assert "candidates" not in client.get(f"/v1/support/{name}").text
    assert client.get("/v1/support").json() == {"object": "support", "consent": True}
    for path in ("/", "/agent"):
        page = client.get(path)
        assert "default-src 'none'" in page.headers["content-security-policy"]
        assert "--accent" in page.text
        assert "http" not in page.text.replace("http-equiv", "")


def test_settings_that_cannot_be_are_refused() -> None:
    with pytest.raises(ConfigError, match="none for zh"):
        SupportSettings(handoff_texts={"en": "Wait."})
    with pytest.raises(ConfigError, match="suggestions"):
        SupportSettings(suggestions=0)


class Drafts(Writer):
    """A writer whose drafts a test has made."""

    def __init__(self, *drafts: str) -> None:
        self._drafts = list(drafts)

    def draft(self, question: str, known: str) -> str:
        return self._drafts.pop(0)


def test_generated_answers_keep_to_the_known_ones() -> None:
    writer = Drafts("You pay by card here.", "You can pay by card, of course.", "By card.", "", "刷卡就行。")
    said = [
        writer.write("q", known) for known in ("Pay by card here.", "By card.", "By card.", "By card.", "请刷卡就行。")
    ]
    assert said == ["You pay by card here.", "By card.", "By card.", "By card.", "刷卡就行。"]
    unlearned = Writer(load("1").loaded, max_tokens=4)
    assert unlearned.write("How can I pay?", "By card.") == "By card."
    assert unlearned.draft("How can I pay? " * 50, "By card.") == ""
    with pytest.raises(ConfigError, match="retrieved, generated"):
        SupportSettings(answers="invented")
