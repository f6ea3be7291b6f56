"""What happens when somebody says something: assistant, conversations and store of feedback put together."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from gpt_lightning.apps.support.assistant import Assistant, Candidate, Reply
from gpt_lightning.apps.support.conversations import ASSISTANT, PERSON, WAITING, Conversation, Conversations
from gpt_lightning.apps.support.records import detect_language
from gpt_lightning.feedback.records import Feedback, Interaction
from gpt_lightning.feedback.store import FeedbackStore

_NAME = "support"


@dataclass(frozen=True)
class Origin:
    """What answers are made by.

    Attributes:
        version: Folder of the model.
        fingerprint: Of its weights.
        writer: Folder of the model that words the answers; "" = they are as they were written.
    """

    version: str
    fingerprint: str
    writer: str = ""


class SupportDesk:
    """Takes what customers and people say, one thing after the other.

    Args:
        assistant: Answers.
        conversations: Remember.
        store: Keeps answers, and what people would have said instead.
        origin: Of the answers.
        consent: Whether it may be trained on.
    """

    def __init__(
        self, assistant: Assistant, conversations: Conversations, store: FeedbackStore, origin: Origin, *, consent: bool
    ) -> None:
        self.assistant, self.conversations = assistant, conversations
        self._store, self._origin, self._consent = store, origin, consent

    def ask(self, conversation: Conversation, text: str) -> None:
        """A customer's message: answered, unless a person has the word.

        Raises:
            MachineError: The disk refuses.
        """
        self.conversations.record(conversation, "asked", text=text, language=detect_language(text))
        if conversation.state == ASSISTANT:
            self._tell(conversation, self.assistant.reply(text))

    def call_person(self, conversation: Conversation) -> None:
        """A customer wishes for a person; once is enough.

        Raises:
            MachineError: The disk refuses.
        """
        if conversation.state not in (WAITING, PERSON):
            self._tell(conversation, self.assistant.call_person(conversation.language))

    def choose(self, conversation: Conversation, entry: str) -> bool:
        """A customer tells which of the offered questions was meant; whether that was one of them.

        A person who was called for being unsure only, and has not come yet, is not needed any more.

        Raises:
            MachineError: The disk refuses.
        """
        offered = offers(conversation)
        reply = self.assistant.choose(entry, conversation.language)
        if reply is None or entry not in [each["entry"] for each in offered]:
            return False
        self._correct(conversation, reply.text, "")
        question = reply.candidates[0].question
        self.conversations.record(conversation, "asked", text=question, language=conversation.language)
        self._tell(conversation, reply)
        return True

    def take(self, conversation: Conversation, person: str) -> None:
        """A person takes over.

        Raises:
            MachineError: The disk refuses.
        """
        self.conversations.record(conversation, "taken", person=person)

    def say(self, conversation: Conversation, person: str, text: str) -> None:
        """A person's answer. The first one behind a hand-off is what the assistant should have said.

        Raises:
            MachineError: The disk refuses.
        """
        if conversation.messages[-1].role != "person":
            self._correct(conversation, text, person)
        self.conversations.record(conversation, "said", person=person, id=_name_answer(), text=text)

    def finish(self, conversation: Conversation, person: str) -> None:
        """A person has nothing more to say.

        Raises:
            MachineError: The disk refuses.
        """
        self.conversations.record(conversation, "closed", person=person)

    def show(self, conversation: Conversation, person: str) -> None:
        """A person is shown all messages; noted where there are new ones.

        Raises:
            MachineError: The disk refuses.
        """
        count = len(conversation.messages)
        if conversation.seen.get(person, 0) < count:
            self.conversations.record(conversation, "seen", person=person, messages=count)

    def suggest(self, conversation: Conversation) -> Sequence[Candidate]:
        """The likeliest answers to what the customer said last."""
        said = [each.text for each in conversation.messages if each.role == "customer"]
        return self.assistant.suggest(said[-1]) if said else ()

    def _tell(self, conversation: Conversation, reply: Reply) -> None:
        name, user = _name_answer(), self._store.hash_user(conversation.id)
        asked = conversation.transcript() or [{"role": "user", "content": ""}]
        weighed = {"reason": reply.reason, "threshold": self.assistant.threshold}
        version, fingerprint = self._origin.version, self._origin.fingerprint
        kept = Interaction(name, _NAME, version, fingerprint, asked, [reply.text], weighed, user=user)
        self._store.add_interaction(kept)
        self.conversations.record(
            conversation, "answered", id=name, text=reply.text, reason=reply.reason, offered=reply.offered,
            candidates=[asdict(each) for each in reply.candidates], threshold=self.assistant.threshold,
            **asdict(self._origin),
        )  # fmt: skip

    def _correct(self, conversation: Conversation, text: str, person: str) -> None:
        """Keep a better answer than the assistant's latest."""
        answers = [each for each in conversation.messages if each.role == "assistant"]
        if answers and any(each.role == "customer" for each in conversation.messages):
            said = Feedback(
                answers[-1].id, "correction", text, user=self._store.hash_user(person), consent=self._consent
            )
            self._store.add_feedback(said)


def offers(conversation: Conversation) -> Sequence[dict[str, str]]:
    """Questions of which a customer may tell that it was meant: those of the latest answer, until a person comes."""
    if conversation.state != WAITING:
        return ()
    latest = next(each for each in reversed(conversation.messages) if each.role == "assistant")
    return [
        {"entry": each["entry"], "question": each["question"]}
        for each in latest.facts["candidates"]
        if each["entry"] in latest.facts["offered"]
    ]


def _name_answer() -> str:
    return f"support-{secrets.token_hex(12)}"
