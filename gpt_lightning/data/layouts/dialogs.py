"""From the records of others to messages: OpenAI's, ShareGPT's, and prompts with completions; and what fits of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from gpt_lightning.data.layouts.base import refuse_value
from gpt_lightning.data.layouts.chat_formats import PLAIN, ROLES, Message
from gpt_lightning.data.layouts.labelled import read_json
from gpt_lightning.data.readers.readers import Document

_OTHER_ROLES = {"human": "user", "gpt": "assistant", "bot": "assistant", "model": "assistant", "developer": "system"}
_MESSAGE = '[{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]'


@dataclass(frozen=True)
class Dialog:
    """A conversation.

    Attributes:
        messages: What was said.
        given: Numbers of answers that the model is given and does not learn.
    """

    messages: tuple[Message, ...]
    given: frozenset[int] = frozenset()

    def __add__(self, other: Dialog) -> Dialog:
        moved = {len(self.messages) + number for number in other.given}
        return Dialog((*self.messages, *other.messages), self.given | moved)

    @property
    def answers(self) -> list[int]:
        """Numbers of the messages that the model learns to write."""
        roles = enumerate(message.role for message in self.messages)
        return [number for number, role in roles if role == "assistant" and number not in self.given]

    @property
    def text(self) -> str:
        """All of it as the plain format has it: whatever a vocabulary has to know."""
        return "".join(segment.text for segment in PLAIN.segments(self.messages, (), "", "") if not segment.special)

    def given_whole(self) -> Dialog:
        """The same, and nothing of it is learned: the prompt of something else."""
        return Dialog(self.messages, frozenset(range(len(self.messages))))

    def divide(self) -> tuple[Dialog, list[Dialog]]:
        """What the model is told first, and the exchanges: questions with their answers."""
        first = next((n for n, message in enumerate(self.messages) if message.role != "system"), len(self.messages))
        borders = [
            number
            for number in range(first, len(self.messages))
            if number == first or (self.messages[number].role != "assistant" and _answers(self.messages[number - 1]))
        ]
        pieces = [self._part(start, stop) for start, stop in zip(borders, [*borders[1:], None], strict=True)]
        return self._part(0, first), pieces

    def _part(self, start: int, stop: int | None) -> Dialog:
        messages = self.messages[start:stop]
        moved = {number - start for number in self.given}
        return Dialog(messages, frozenset(moved & set(range(len(messages)))))


def _answers(message: Message) -> bool:
    return message.role == "assistant"


def read_dialog(document: Document, name: str, speaker: str = "user") -> Dialog:
    """A field as a conversation.

    Args:
        document: The record.
        name: Of the field: a list of messages, OpenAI's or ShareGPT's (in a table as JSON), or a text.
        speaker: Who says the text.

    Raises:
        BadRecord: It holds something else.
    """
    value = document.fields[name]
    listed = read_json(value) if isinstance(value, str) and value.lstrip().startswith("[") else value
    if isinstance(listed, str):
        listed = [{"role": speaker, "content": listed}]
    if not isinstance(listed, Sequence) or not listed:
        raise refuse_value(document, name, value, _MESSAGE)
    found = [_read_message(document, name, each) for each in listed]
    given = frozenset(number for number, (_, learned) in enumerate(found) if not learned)
    messages = tuple(message for message, _ in found)
    told = [number for number, message in enumerate(messages) if message.role == "system"]
    if told and told != list(range(len(told))):
        raise refuse_value(document, name, value, "system messages before all others")
    return Dialog(messages, given)


def _read_message(document: Document, name: str, value: object) -> tuple[Message, bool]:
    if not isinstance(value, Mapping):
        raise refuse_value(document, name, value, _MESSAGE)
    said = value.get("role", value.get("from"))
    role = _OTHER_ROLES.get(said, said) if isinstance(said, str) else said
    content = value.get("content", value.get("value"))
    if isinstance(content, list) and all(isinstance(part, Mapping) and "text" in part for part in content):
        content = "".join(str(part["text"]) for part in content)
    if role not in ROLES or not isinstance(content, str):
        raise refuse_value(document, name, value, f"a role of {', '.join(ROLES)} and a text")
    if role == "assistant" and not content.strip():
        raise refuse_value(document, name, value, "an answer that says something")
    return Message(role, content), bool(value.get("weight", 1))


def drop_oldest(prompt: Dialog, fits: Callable[[Dialog], bool]) -> Iterator[Dialog]:
    """The prompt, shortened by whole exchanges from its beginning until it fits, at most once; none does = nothing.

    What the model is told first stays, and so does the last question.
    """
    told, exchanges = prompt.divide()
    for first in range(max(1, len(exchanges))):
        shorter = sum(exchanges[first:], told)
        if fits(shorter):
            yield shorter
            return


def fit_exchanges(dialog: Dialog, fits: Callable[[Dialog], bool]) -> list[Dialog]:
    """A conversation as as many as it takes, each of whole exchanges behind what the model is told first.

    Every exchange is in one of them, except those that do not fit even alone.
    """
    if fits(dialog):
        return [dialog]
    told, exchanges = dialog.divide()
    found: list[Dialog] = []
    held: Dialog | None = None
    for exchange in exchanges:
        longer = (held if held is not None else told) + exchange
        if fits(longer):
            held = longer
            continue
        if held is not None:
            found.append(held)
        alone = told + exchange
        held = alone if fits(alone) else None
    return [each for each in [*found, *([held] if held is not None else [])] if each.answers]
