r"""A conversation as the tokens a model reads.

    marked   <|im_start|>role\n ... <|im_end|>, where the tokenizer has these two as special tokens
    plain    User: ... / Assistant: ..., for every other model

Messages are encoded one by one and the special ids put between them, never as one string: what a user types is always
ordinary text, even where it looks like a mark.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from gpt_lightning.data.tokenizers import Tokenizer

_BEGIN, _END = "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class Message:
    """Something said.

    Attributes:
        role: system, user or assistant.
        content: The text.
    """

    role: str
    content: str


class Transcript(ABC):
    """How a conversation is written down for the model.

    Attributes:
        stop: Strings that end an answer.
        stop_ids: Tokens that end an answer.
    """

    stop: tuple[str, ...] = ()
    stop_ids: tuple[int, ...]

    @abstractmethod
    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the conversation, up to where the next answer begins."""


class Marked(Transcript):
    """Each message between two special tokens.

    Args:
        tokenizer: Has them.
        begin: Id of the one before the role.
        end: Id of the one behind the text.
    """

    def __init__(self, tokenizer: Tokenizer, begin: int, end: int) -> None:
        self._tokenizer, self._begin, self._end = tokenizer, begin, end
        self.stop_ids = (end, tokenizer.eot_id)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """As in ``Transcript``."""
        ids: list[int] = []
        for message in messages:
            ids += [self._begin, *self._text(f"{message.role}\n"), *self._text(message.content), self._end]
            ids += self._text("\n")
        return [*ids, self._begin, *self._text("assistant\n")]

    def _text(self, text: str) -> list[int]:
        return [int(token) for token in self._tokenizer.encode(text)]


class Plain(Transcript):
    """A script of two speakers; an answer ends where the user would speak again.

    Args:
        tokenizer: Of the model.
    """

    _NAMES: ClassVar = {"user": "User: ", "assistant": "Assistant: ", "system": ""}
    stop = ("\nUser:",)

    def __init__(self, tokenizer: Tokenizer) -> None:
        self._tokenizer = tokenizer
        self.stop_ids = (tokenizer.eot_id,)

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """As in ``Transcript``."""
        text = "".join(f"{self._NAMES[message.role]}{message.content}\n" for message in messages)
        return [int(token) for token in self._tokenizer.encode(f"{text}Assistant:")]


def choose_transcript(tokenizer: Tokenizer) -> Transcript:
    """Marked where the tokenizer can, else plain."""
    specials = {tokenizer.decode([token]): token for token in tokenizer.special_ids}
    if _BEGIN in specials and _END in specials:
        return Marked(tokenizer, specials[_BEGIN], specials[_END])
    return Plain(tokenizer)
