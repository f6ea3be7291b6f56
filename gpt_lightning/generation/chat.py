"""A conversation with a model: what was said, what of it the model can still see, and the next answer."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

from gpt_lightning.data.layouts.chat_formats import Message
from gpt_lightning.data.layouts.transcripts import Transcript
from gpt_lightning.errors import DataError
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.weights.loading import LoadedModel


class Conversation(ABC):
    """What was said to a model and by it, wherever the model is.

    Args:
        system: What the model is told first; empty = nothing.

    Attributes:
        messages: All that was said, the system message excepted.
        system: What the model is told first.
        forgotten: Messages that no longer fit.
    """

    def __init__(self, system: str = "") -> None:
        self.messages: list[Message] = []
        self.system, self.forgotten = system, 0

    def ask(self, question: str) -> Iterator[str]:
        """The answer, in pieces as it is written; what is written when the iterator is closed stays as the answer.

        Raises:
            DataError: The question does not fit into the model's positions, or has characters that it does not know;
                it is then not part of the conversation.
        """
        self.messages.append(Message("user", question))
        try:
            return self.begin()
        except DataError:
            self.messages.pop()
            raise

    def regenerate(self) -> Iterator[str]:
        """Another answer to the last question.

        Raises:
            DataError: Nothing was asked.
        """
        if not self.messages:
            raise DataError("there is no answer to write anew", fix="Ask something first.")
        if self.messages[-1].role == "assistant":
            self.messages.pop()
        return self.begin()

    def reset(self) -> None:
        """Forget everything but the system message."""
        self.messages, self.forgotten = [], 0

    def save(self, path: Path) -> None:
        """Write the conversation, one JSON object per message.

        Raises:
            DataError: The file exists or cannot be written.
        """
        lines = [json.dumps(asdict(message), ensure_ascii=False) + "\n" for message in [*self.told, *self.messages]]
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write("".join(lines))
        except OSError as problem:
            raise DataError(
                f"cannot save to {path} ({problem.strerror})", fix="Choose a new file in a folder that exists."
            ) from problem

    @property
    def told(self) -> list[Message]:
        """The system message, if there is one."""
        return [Message("system", self.system)] if self.system else []

    @abstractmethod
    def begin(self) -> Iterator[str]:
        """The answer to what was said, in pieces; it becomes the last message, as far as it was written.

        Raises:
            DataError: There will be none.
        """

    def take_down(self, pieces: Iterator[str]) -> Iterator[str]:
        """An answer's pieces, kept as a message when it is over, however it ends."""
        found: list[str] = []
        try:
            for each in pieces:
                # The model begins with the space behind the speaker's name.
                piece = each if found else each.lstrip()
                if piece:
                    found.append(piece)
                    yield piece
        finally:
            self.messages.append(Message("assistant", "".join(found).rstrip()))


class Chat(Conversation):
    """A conversation with a model of this process.

    When it outgrows the model's positions, the oldest questions are left out with their answers, until a quarter of
    the positions (or ``max_tokens``, if that is less) is free for the answer. The system message stays.

    Args:
        loaded: The model with its tokenizer.
        sampling: How tokens are chosen.
        max_tokens: Most tokens of an answer.
        seed: Fixes the answers, each of which has draws of its own.
        system: What the model is told first; empty = nothing.
    """

    def __init__(
        self, loaded: LoadedModel, *, sampling: Sampling, max_tokens: int = 200, seed: int = 1337, system: str = ""
    ) -> None:
        self._loaded, self._sampling, self._max_tokens, self._seed = loaded, sampling, max_tokens, seed
        self._transcript = Transcript(loaded.tokenizer)
        super().__init__(system)
        self._answers = 0

    def begin(self) -> Iterator[str]:
        """As in ``Conversation``.

        Raises:
            DataError: The question does not fit into the model's positions, or has characters that it does not know.
        """
        request = self._request()
        self._answers += 1
        # An engine of its own, so that an interruption at any moment leaves nothing half done behind.
        engine = Engine(self._loaded.model, self._loaded.tokenizer, slots=1)
        return self.take_down(event.text for event in engine.stream(request))

    def _request(self) -> Request:
        positions = self._loaded.model.block_size
        room = min(self._max_tokens, max(1, positions // 4))
        for first in range(len(self.messages)):
            if self.messages[first].role != "user":
                continue
            ids = self._transcript.encode([*self.told, *self.messages[first:]])
            if len(ids) + room <= positions:
                self.forgotten = first
                return Request(
                    ids,
                    max_tokens=self._max_tokens,
                    sampling=self._sampling,
                    seed=self._seed + self._answers,
                    stop=self._transcript.stop,
                    stop_ids=self._transcript.stop_ids,
                    slide=False,
                )
        raise DataError(
            "the message is too long for the model",
            got=f"{len(ids)} tokens",
            allowed=f"{positions - room} with what surrounds it",
            fix="Say it in fewer words.",
        )
