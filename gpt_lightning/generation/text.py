"""From token ids to characters while they arrive; a character may be spread over several tokens."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable


@runtime_checkable
class TextTokenizer(Protocol):
    """What generation needs of a tokenizer."""

    @property
    def begin_id(self) -> int:
        """Id of the token in front of a text."""

    @property
    def end_ids(self) -> Sequence[int]:
        """Ids at which a text is over."""

    def encode(self, text: str) -> Any:
        """Ids of ``text``, a sequence of integers (a NumPy array will do)."""

    def decode_bytes(self, ids: Sequence[int]) -> bytes:
        """UTF-8 bytes of ``ids``; the bytes of a list are those of its members in a row."""


def encode_prompt(tokenizer: TextTokenizer, prompt: str) -> list[int]:
    """Ids of a prompt: the beginning of a document, so behind the token that stands in front of every document.

    A model has met the first words of a text there and nowhere else, in training as in evaluation; an imported one
    behind the begin-of-text that its own folder names.
    """
    return [tokenizer.begin_id, *(int(token) for token in tokenizer.encode(prompt))]


class StreamDecoder:
    """Emits whole characters only: bytes of an unfinished one wait for the next token.

    All pieces joined equal ``decode_bytes(ids).decode("utf-8", errors="replace")``.

    Args:
        tokenizer: Gives the bytes of a token.
    """

    def __init__(self, tokenizer: TextTokenizer) -> None:
        self._tokenizer = tokenizer
        self._decoder = codecs.getincrementaldecoder("utf-8")(errors="replace")

    def feed(self, token: int) -> str:
        """The characters that ``token`` completes; often none, for a token inside a character."""
        return self._decoder.decode(self._tokenizer.decode_bytes([token]))

    def flush(self) -> str:
        """The end of the stream: U+FFFD for a character that was never completed, else nothing."""
        return self._decoder.decode(b"", final=True)


class StopWatch:
    """Lets text through until a stop string appears in it, wherever the borders of its pieces are.

    An end of the text that could be the beginning of a stop string is held back.

    Args:
        stops: Strings of one character or more. Of several, the one that is complete first ends the text; of those that
            are complete at the same character, the longest.

    Attributes:
        found: The stop string that ended the text.
    """

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops, self._held = tuple(stops), ""
        self.found: str | None = None

    def feed(self, piece: str) -> str:
        """What may be shown now; nothing any more once a stop string was found."""
        if self.found is not None:
            return ""
        text = self._held + piece
        # By where they end: what begins first may still be unfinished here, and would depend on the piece's border.
        ends = [(text.find(stop) + len(stop), -len(stop), stop) for stop in self._stops if stop in text]
        if ends:
            end, size, self.found = min(ends)
            self._held = ""
            return text[: end + size]
        held = max((_overlap(text, stop) for stop in self._stops), default=0)
        shown, self._held = text[: len(text) - held], text[len(text) - held :]
        return shown

    def flush(self) -> str:
        """What was held back, at the end of the stream."""
        rest, self._held = self._held, ""
        return rest


def _overlap(text: str, stop: str) -> int:
    """Length of the longest end of ``text`` with which ``stop`` begins; ``stop`` itself is not in it."""
    return next((size for size in range(min(len(stop) - 1, len(text)), 0, -1) if text.endswith(stop[:size])), 0)
