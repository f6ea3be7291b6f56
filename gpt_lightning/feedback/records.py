"""What is kept of a request and its answer, and of what somebody says about it."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from gpt_lightning.errors import DataError

KINDS = {
    "thumb": "true (up) or false (down)",
    "rating": "a whole number, 1 to 5",
    "correction": "a better answer",
    "label": "the name of a class",
}
"""Kind of feedback -> its value."""
MAX_CHARACTERS = 100_000
Prompt = str | Sequence[Mapping[str, str]]
"""A text, or messages with role and content."""


def now() -> str:
    """The time, UTC, to the microsecond: later feedback of a user takes the place of earlier."""
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime()) + f".{time.time_ns() // 1000 % 1_000_000:06d}Z"


@dataclass(frozen=True)
class Interaction:
    """A request and its answer.

    Attributes:
        id: Of the answer, as the server told it.
        model: Name that was asked for.
        version: What stood behind it: a version of the registry, or a folder.
        fingerprint: Of the weights and all else that the answer depends on.
        prompt: What was asked: a text, or messages.
        answers: The choices that were answered.
        settings: The rest of the request.
        seconds: From the request to the whole answer.
        user: Hash of who asked; empty = unknown.
        time: When, UTC.

    Raises:
        DataError: It is something else.
    """

    id: str
    model: str
    version: str
    fingerprint: str
    prompt: Prompt
    answers: Sequence[str]
    settings: Mapping[str, Any] = field(default_factory=dict)
    seconds: float = 0.0
    user: str = ""
    time: str = field(default_factory=now)

    def __post_init__(self) -> None:
        texts = (self.id, self.model, self.version, self.fingerprint, self.user, self.time)
        is_whole = _are_texts(texts) and bool(self.id) and _is_mapping(self.settings)
        if not is_whole or not _is_prompt(self.prompt) or not _are_texts(self.answers) or not self.answers:
            raise DataError(
                "An interaction is not whole",
                got=json.dumps(asdict(self), default=str)[:120],
                allowed="id, model, version, fingerprint, prompt (a text or messages), answers (texts)",
            )


@dataclass(frozen=True)
class Feedback:
    """What somebody says about an answer.

    Attributes:
        interaction: Id of the answer.
        kind: thumb, rating, correction or label.
        value: As ``KINDS`` tells.
        choice: Which of several answers.
        comment: Anything else.
        user: Hash of who says it; empty = unknown.
        consent: Whether the giver agrees that it is trained on.
        time: When, UTC.
        key: The same key is the same feedback; empty = made of all the rest but the time.

    Raises:
        DataError: There is no such kind, or the value is no such thing.
    """

    interaction: str
    kind: str
    value: bool | int | str
    choice: int = 0
    comment: str = ""
    user: str = ""
    consent: bool = False
    time: str = field(default_factory=now)
    key: str = ""

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise DataError("There is no such kind of feedback", got=self.kind, allowed=", ".join(KINDS))
        if not _is_value(self.kind, self.value):
            raise DataError(f"{self.kind} has another value", got=self.value, allowed=KINDS[self.kind])
        texts = (self.interaction, self.comment, self.user, self.time, self.key)
        if not _are_texts(texts) or max(map(len, texts)) > MAX_CHARACTERS:
            raise DataError(
                "Feedback is not whole", got=self.interaction, allowed="texts of 100,000 characters at most"
            )
        if not _is_whole(self.choice, 0):
            raise DataError("choice numbers the answers", got=self.choice, allowed="0 or more")
        if not _is_value("thumb", self.consent):
            raise DataError("consent is yes or no", got=self.consent, allowed="true, false")
        if not self.key:
            parts = [self.interaction, self.kind, self.value, self.choice, self.comment, self.user, self.consent]
            object.__setattr__(self, "key", hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:32])


def _is_value(kind: str, value: object) -> bool:
    if kind == "thumb":
        return isinstance(value, bool)
    if kind == "rating":
        return _is_whole(value, 1, 5)
    return isinstance(value, str) and bool(value.strip()) and len(value) <= MAX_CHARACTERS


def _is_whole(value: object, least: int, most: int = 1 << 30) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most


def _is_mapping(value: object) -> bool:
    return isinstance(value, Mapping)


def _are_texts(value: object) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and all(isinstance(each, str) for each in value)


def _is_prompt(value: object) -> bool:
    if isinstance(value, str):
        return True
    return isinstance(value, Sequence) and bool(value) and all(
        isinstance(each, Mapping) and {"role", "content"} <= each.keys() and _are_texts([each["role"], each["content"]])
        for each in value
    )  # fmt: skip
