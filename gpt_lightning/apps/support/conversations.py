"""Conversations as what has happened in them: a file of events, a JSON line each, from which all state follows.

    asked      a customer's message, its language
    answered   what the assistant said, by which weights, what it weighed against what, why a person takes over
    taken      a person has taken over            said    a person's answer
    closed     by whom                            rated   what the customer thinks of an answer
    seen       a person has been shown the messages up to a number

An event is told to others when it is on the disk. The file is the audit log and the state at once: opened again, it is
read from the beginning, and a line that a kill has cut is the only thing that is lost; nobody was told of it.
"""

from __future__ import annotations

import errno
import json
import os
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt_lightning.errors import DataError, MachineError
from gpt_lightning.feedback.records import now

ASSISTANT, WAITING, PERSON, CLOSED = "assistant", "waiting", "person", "closed"
"""Who has to speak: the assistant, nobody yet, a person, nobody any more."""


@dataclass(frozen=True)
class Message:
    """Something that was said.

    Attributes:
        number: Of the conversation's messages, from 1.
        id: Of an answer; "" = a customer's.
        role: customer, assistant or person.
        text: What was said.
        time: When, UTC.
        facts: What else the event holds.
    """

    number: int
    id: str
    role: str
    text: str
    time: str
    facts: Mapping[str, Any]


@dataclass
class Conversation:
    """Where a conversation stands.

    Attributes:
        id: Whoever knows it may read and write in it.
        state: One of the four.
        messages: In order.
        language: Of the customer's latest message.
        reason: Why a person has been called; "" = none was.
        person: Who has taken over.
        since: When the state began.
        seen: Number of the latest message that each person was shown.
    """

    id: str
    state: str = ASSISTANT
    messages: list[Message] = field(default_factory=list)
    language: str = "en"
    reason: str = ""
    person: str = ""
    since: str = ""
    seen: dict[str, int] = field(default_factory=dict)

    def apply(self, event: Mapping[str, Any]) -> None:
        """Take an event in."""
        _EFFECTS[event["kind"]](self, event)

    def become(self, state: str, event: Mapping[str, Any]) -> None:
        """Go into a state, if it is another."""
        if state != self.state:
            self.state, self.since = state, event["time"]

    def hear(self, role: str, event: Mapping[str, Any]) -> None:
        """A message is added."""
        number = len(self.messages) + 1
        self.messages.append(Message(number, event.get("id", ""), role, event["text"], event["time"], event))

    def transcript(self) -> list[dict[str, str]]:
        """All messages as models read them: what people said counts as the assistant's."""
        return [
            {"role": "user" if each.role == "customer" else "assistant", "content": each.text} for each in self.messages
        ]


def _asked(conversation: Conversation, event: Mapping[str, Any]) -> None:
    conversation.hear("customer", event)
    conversation.language = event["language"]
    if conversation.state == CLOSED:
        conversation.reason = conversation.person = ""
        conversation.become(ASSISTANT, event)


def _answered(conversation: Conversation, event: Mapping[str, Any]) -> None:
    conversation.hear("assistant", event)
    conversation.reason = event["reason"]
    conversation.become(WAITING if event["reason"] else ASSISTANT, event)


def _taken(conversation: Conversation, event: Mapping[str, Any]) -> None:
    conversation.person = event["person"]
    conversation.become(PERSON, event)


def _said(conversation: Conversation, event: Mapping[str, Any]) -> None:
    conversation.hear("person", event)
    _taken(conversation, event)


def _closed(conversation: Conversation, event: Mapping[str, Any]) -> None:
    conversation.become(CLOSED, event)


def _rated(conversation: Conversation, event: Mapping[str, Any]) -> None:
    """Changes nothing."""


def _seen(conversation: Conversation, event: Mapping[str, Any]) -> None:
    conversation.seen[event["person"]] = event["messages"]


_EFFECTS: Mapping[str, Callable[[Conversation, Mapping[str, Any]], None]] = {
    "asked": _asked, "answered": _answered, "taken": _taken, "said": _said, "closed": _closed, "rated": _rated,
    "seen": _seen,
}  # fmt: skip


class Conversations:
    """All conversations of a folder.

    Args:
        path: The file of events; made where it is missing.
        redact: What is taken out of texts before they are written.

    Attributes:
        answers: Id of an answer -> id of its conversation.

    Raises:
        DataError: A line is no event.
        MachineError: The file cannot be opened.
    """

    def __init__(self, path: Path, redact: Callable[[str], str] = str) -> None:
        self._path, self._redact, self._lock = path, redact, threading.Lock()
        self._all: dict[str, Conversation] = {}
        self.answers: dict[str, str] = {}
        try:
            self._file = os.open(path, os.O_RDWR | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as problem:
            raise MachineError(f"{path} cannot be opened ({problem.strerror})") from problem
        try:
            self._read()
        except BaseException:
            os.close(self._file)
            raise

    def _read(self) -> None:
        written = self._path.read_bytes()
        whole = written.rfind(b"\n") + 1
        if whole < len(written):
            os.truncate(self._file, whole)
        for number, line in enumerate(written[:whole].splitlines(), 1):
            try:
                self._apply(json.loads(line))
            except (ValueError, KeyError, TypeError) as problem:
                raise DataError(
                    f"{self._path} line {number} is no event ({problem!r})", fix="Move the file away to begin anew."
                ) from problem

    def close(self) -> None:
        """Give the file back."""
        os.close(self._file)

    def open(self) -> Conversation:
        """A new conversation; its first event makes it known to others."""
        return Conversation(secrets.token_urlsafe(18))

    def find(self, name: str) -> Conversation | None:
        """The conversation of an id."""
        return self._all.get(name)

    def list_open(self) -> list[Conversation]:
        """Those in which a person has to speak or does, the longest waiting first."""
        found = [each for each in self._all.values() if each.state in (WAITING, PERSON)]
        return sorted(found, key=lambda each: (each.state != WAITING, each.since))

    def record(self, conversation: Conversation, kind: str, **facts: Any) -> None:
        """An event: written, then taken in.

        Args:
            conversation: In which it happened.
            kind: One of those above.
            facts: What else there is to it: plain data.

        Raises:
            MachineError: The disk refuses; nothing has happened then.
        """
        event = {"time": now(), "conversation": conversation.id, "kind": kind, **facts}
        kept = {**event, "text": self._redact(event["text"])} if "text" in event else event
        with self._lock:
            self._write((json.dumps(kept, ensure_ascii=False) + "\n").encode())
            self._all.setdefault(conversation.id, conversation)
            self._apply(event)

    def _write(self, line: bytes) -> None:
        """All of a line, or nothing: half of one would spoil the next."""
        before = os.fstat(self._file).st_size
        try:
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError as problem:
            os.ftruncate(self._file, before)
            raise MachineError(f"{self._path} cannot be written ({problem.strerror})") from problem

    def _apply(self, event: Mapping[str, Any]) -> None:
        name = event["conversation"]
        self._all.setdefault(name, Conversation(name)).apply(event)
        if event["kind"] == "answered":
            self.answers[event["id"]] = name
