r"""A conversation as the tokens a model reads and writes: one object for training, for ``chat`` and for export.

    training   ``write``: ids, and marks on what the model shall learn to write
    chat       ``encode``: ids up to where the next answer begins; always the beginning of what ``write`` gives
    export     ``template``: the same in Jinja; what it gives other programs is tested against the two

Text between special tokens is encoded as one, except where an answer begins: so a prompt ends where training saw it
end, whatever the answer's first character would melt with. Special ids are put between, never parsed.

    >>> from gpt_lightning.data.layouts.chat_formats import Message
    >>> from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
    >>> transcript = Transcript(ByteTokenizer())
    >>> talk = [Message("user", "Hi"), Message("assistant", "Yes?")]
    >>> ByteTokenizer().decode(transcript.encode(talk[:1]))
    '<|endoftext|>User: Hi\nAssistant:'
    >>> written = transcript.write(talk)
    >>> ByteTokenizer().decode([id for id, mark in zip(written.ids, written.marks) if mark])
    ' Yes?<|endoftext|>'
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.layouts.chat_formats import Message, Segment, choose_format
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer


@dataclass(frozen=True)
class Written:
    """A conversation as it is trained on.

    Attributes:
        ids: All of it, what begins a text in front (``Tokenizer.begin_id``), ``(tokens,)``.
        marks: 1 where a token is the model's own: words of an answer and the token that ends it, ``(tokens,)``.
    """

    ids: npt.NDArray[np.int64]
    marks: npt.NDArray[np.uint8]


class Transcript:
    """How a conversation is written down for a model.

    Args:
        tokenizer: The model's.
        encode: Encodes ordinary text; None = the tokenizer does.

    Attributes:
        format: Which one it reads.
        stop: Strings that end an answer.
        stop_ids: Tokens that end an answer.
    """

    def __init__(self, tokenizer: Tokenizer, encode: Callable[[str], npt.NDArray[Any]] | None = None) -> None:
        self._encode, self.format = encode or tokenizer.encode, choose_format(tokenizer)
        self.stop, self.stop_ids = self.format.stop, self.format.end_ids(tokenizer)
        self._specials = tokenizer.specials
        written = {number: text for text, number in self._specials.items()}
        self._borders = written[tokenizer.begin_id], written[tokenizer.eot_id]

    def encode(self, messages: Sequence[Message]) -> list[int]:
        """Ids of the conversation, up to where the next answer begins."""
        written = self._join([*self._list_segments(messages), *self.format.open("assistant")])
        return list(map(int, written.ids))

    def write(self, messages: Sequence[Message], given: Collection[int] = ()) -> Written:
        """The whole conversation for training.

        Args:
            messages: What was said.
            given: Numbers of answers that are given to the model, as questions are: nothing of them is marked.
        """
        return self._join(self._list_segments(messages), given)

    def render(self, messages: Sequence[Message]) -> str:
        """The conversation as text without its special tokens: what a vocabulary has to know."""
        return "".join(segment.text for segment in self._list_segments(messages) if not segment.special)

    @property
    def template(self) -> str:
        """The same in Jinja, for other programs."""
        return self.format.template(self._specials)

    def _list_segments(self, messages: Sequence[Message]) -> list[Segment]:
        return list(self.format.segments(messages, tuple(self._specials), *self._borders))

    def _join(self, segments: Iterable[Segment], given: Collection[int] = ()) -> Written:
        ids: list[npt.NDArray[Any]] = [np.empty(0, dtype=np.int64)]
        marks: list[npt.NDArray[np.uint8]] = [np.empty(0, dtype=np.uint8)]
        for (special, message), group in groupby(segments, key=lambda each: (each.special, each.message)):
            texts = [segment.text for segment in group]
            own = [self._specials[text] for text in texts] if special else self._encode("".join(texts))
            ids.append(np.asarray(own, dtype=np.int64))
            marks.append(np.full(len(own), message is not None and message not in given, dtype=np.uint8))
        return Written(np.concatenate(ids), np.concatenate(marks))
