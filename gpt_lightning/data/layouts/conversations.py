"""Conversations, and what people preferred: whose words the model learns stands in the column ``marks``.

    Conversation  {"messages": [...]}, {"conversations": [...]}, {"prompt": ..., "completion": ...}
                  or {"completion": ...}: running text, all of it learned
    Preference    {"prompt": ..., "chosen": ..., "rejected": ...}     two documents side by side, chosen first
    Rated         {"prompt": ..., "completion": ..., "label": true}   column ``desirable`` as well; in a batch two rows

How a conversation is written is ``transcripts``'s: the same for training, for chat and in an exported model.
"""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.layouts.base import (
    Encode,
    Layout,
    check_max_tokens,
    normalize,
    refuse_value,
    require,
)
from gpt_lightning.data.layouts.dialogs import Dialog, drop_oldest, fit_exchanges, read_dialog
from gpt_lightning.data.layouts.examples import Encoded, Example
from gpt_lightning.data.layouts.transcripts import Transcript, Written
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.data.store.columns import MARKS, Column
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer

_MARKS = Column(MARKS, "token", "uint8")


class Conversation(Layout):
    """Conversations, of which the answers are learned; column ``marks``, 1 on an answer's tokens and its end.

    A conversation that is too long becomes several, each of whole exchanges behind the system message; an exchange that
    is too long alone is left out. Both are counted in the manifest. A completion that answers nothing is running text:
    all of it is learned, in pieces where it is long, so that what a model knew can be repeated beside conversations.

    Args:
        messages_field: Field of a list of messages (OpenAI's: role, content, and weight 0 for an answer that is not
            learned).
        conversations_field: Field of such a list as ShareGPT has it (from, value); taken where the first is missing.
        prompt_field: Field of a question; taken where both are missing.
        completion_field: Field of its answer, or of a text.
        max_tokens: Tokens of the longest conversation; null = the run's block_size.
    """

    is_chat = True

    def __init__(
        self,
        messages_field: str = "messages",
        conversations_field: str = "conversations",
        prompt_field: str = "prompt",
        completion_field: str = "completion",
        max_tokens: int | None = None,
    ) -> None:
        check_max_tokens(max_tokens)
        self.messages_field, self.conversations_field = messages_field, conversations_field
        self.prompt_field, self.completion_field, self.max_tokens = prompt_field, completion_field, max_tokens

    @property
    def columns(self) -> tuple[Column, ...]:
        """The marks."""
        return (_MARKS,)

    @property
    def fields(self) -> tuple[str, ...]:
        """All that a conversation may be in."""
        return (self.messages_field, self.conversations_field, self.prompt_field, self.completion_field)

    def parse(self, document: Document) -> Example:
        """The messages, whatever they are called."""
        name = next((each for each in self.fields[:2] if each in document.fields), None)
        if name is not None:
            dialog = read_dialog(document, name)
        elif self.prompt_field not in document.fields and _is_text(document.fields.get(self.completion_field)):
            text = document.fields[self.completion_field]
            return Example(text, normalize(text))
        else:
            for each, shown in ((self.prompt_field, '"..."'), (self.completion_field, '"..."')):
                require(document, each, shown)
            dialog = _read_prompt(document, self.prompt_field) + _read_answer(document, self.completion_field)
        if not dialog.answers:
            raise refuse_value(
                document, name or self.completion_field, document.fields[name or self.completion_field], "an answer"
            )
        return Example(dialog.text, normalize(dialog.text), dialog)

    def encode(self, example: Example, tokenizer: Tokenizer, encode: Encode, cut: Counter[str]) -> list[Encoded]:
        """One document, or several of whole exchanges."""
        if example.content is None:
            ids = encode(example.text)
            return _encode_text(np.concatenate([np.array(tokenizer.opening, ids.dtype), ids]), self.max_tokens)
        writer, dialog = _Writer(tokenizer, encode, self.max_tokens), example.content
        found = fit_exchanges(dialog, writer.fits)
        kept = sum(len(each.answers) for each in found)
        if found != [dialog]:
            cut["conversations divided"] += len(found) > 1
            cut[f"answers left out: longer than {self.max_tokens} tokens"] += len(dialog.answers) - kept
        return [writer.encode(each) for each in found]


class Preference(Layout):
    """Two answers to one prompt, of which the first was preferred: documents side by side, chosen and rejected.

    Only the answers are marked. A prompt that is too long loses its oldest exchanges; a pair whose last question does
    not fit with both answers is left out. Both are counted in the manifest.

    Args:
        prompt_field: Field of a question, or of a list of messages; where it is missing, what the lists of chosen and
            rejected begin with in common is the prompt.
        chosen_field: Field of the better answer, or of a list of messages.
        rejected_field: Field of the worse.
        max_tokens: Tokens of the longest document; null = the run's block_size.
    """

    rows_per_sample = 2
    key_name = "their prompt, normalized"
    is_chat = True

    def __init__(
        self,
        prompt_field: str = "prompt",
        chosen_field: str = "chosen",
        rejected_field: str = "rejected",
        max_tokens: int | None = None,
    ) -> None:
        check_max_tokens(max_tokens)
        self.prompt_field, self.chosen_field, self.rejected_field = prompt_field, chosen_field, rejected_field
        self.max_tokens = max_tokens

    @property
    def columns(self) -> tuple[Column, ...]:
        """The marks."""
        return (_MARKS,)

    @property
    def fields(self) -> tuple[str, ...]:
        """Prompt and both answers."""
        return (self.prompt_field, self.chosen_field, self.rejected_field)

    def parse(self, document: Document) -> Example:
        """A prompt and two answers."""
        for name in self.fields[1:]:
            require(document, name, '"..."')
        chosen, rejected = (_read_answer(document, name) for name in self.fields[1:])
        if self.prompt_field in document.fields:
            prompt = _read_prompt(document, self.prompt_field)
        else:
            pairs = zip(chosen.messages, rejected.messages, strict=False)
            shared = next((n for n, (one, other) in enumerate(pairs) if one != other), 0)
            prompt = Dialog(chosen.messages[:shared]).given_whole()
            chosen, rejected = (Dialog(each.messages[shared:]) for each in (chosen, rejected))
        for name, answer in zip(self.fields[1:], (chosen, rejected), strict=True):
            if not answer.answers or chosen == rejected or not prompt.messages:
                raise refuse_value(document, name, document.fields[name], "two different answers to one prompt")
        text = f"{prompt.text}{chosen.text}{rejected.text}"
        return Example(text, normalize(prompt.text), (prompt, chosen, rejected))

    def encode(self, example: Example, tokenizer: Tokenizer, encode: Encode, cut: Counter[str]) -> list[Encoded]:
        """Chosen and rejected, behind the same prompt."""
        prompt, *answers = example.content
        return _encode_behind(prompt, answers, _Writer(tokenizer, encode, self.max_tokens), cut)


class Rated(Layout):
    """An answer to a prompt, and whether it was liked; columns ``marks`` and ``desirable``.

    In a batch every one is two rows: as it is, and its prompt with another record's answer.

    Args:
        prompt_field: Field of a question, or of a list of messages.
        completion_field: Field of the answer.
        label_field: Field of the judgement: true or false.
        max_tokens: Tokens of the longest document; null = the run's block_size.
    """

    rows_per_sample = 2
    mismatched = True
    key_name = "their prompt, normalized"
    is_chat = True

    def __init__(
        self,
        prompt_field: str = "prompt",
        completion_field: str = "completion",
        label_field: str = "label",
        max_tokens: int | None = None,
    ) -> None:
        check_max_tokens(max_tokens)
        self.prompt_field, self.completion_field, self.label_field = prompt_field, completion_field, label_field
        self.max_tokens = max_tokens

    @property
    def columns(self) -> tuple[Column, ...]:
        """The marks, and the judgement."""
        return (_MARKS, Column("desirable", "document", "uint8"))

    @property
    def fields(self) -> tuple[str, ...]:
        """Prompt, answer and judgement."""
        return (self.prompt_field, self.completion_field, self.label_field)

    def parse(self, document: Document) -> Example:
        """A prompt, an answer and a judgement."""
        for name in self.fields:
            require(document, name, "true" if name == self.label_field else '"..."')
        value = document.fields[self.label_field]
        words = {"true": 1, "1": 1, "yes": 1, "false": 0, "0": 0, "no": 0}
        if (liked := words.get(str(value).strip().lower())) is None:
            raise refuse_value(document, self.label_field, value, "true or false")
        prompt, answer = _read_prompt(document, self.prompt_field), _read_answer(document, self.completion_field)
        return Example(f"{prompt.text}{answer.text}", normalize(prompt.text), (prompt, answer, liked))

    def encode(self, example: Example, tokenizer: Tokenizer, encode: Encode, cut: Counter[str]) -> list[Encoded]:
        """The answer behind its prompt."""
        prompt, answer, liked = example.content
        found = _encode_behind(prompt, [answer], _Writer(tokenizer, encode, self.max_tokens), cut)
        return [Encoded(each.ids, {**each.columns, "desirable": liked}) for each in found]


class _Writer:
    """Writes conversations of a certain length."""

    def __init__(self, tokenizer: Tokenizer, encode: Encode, max_tokens: int | None) -> None:
        self._transcript, self._max_tokens = Transcript(tokenizer, encode), max_tokens
        # Whoever stores a document puts end-of-text in front.
        self._stored_from = 0 if tokenizer.opening else 1

    def write(self, dialog: Dialog) -> Written:
        return self._transcript.write(dialog.messages, dialog.given)

    def fits(self, dialog: Dialog) -> bool:
        return self._max_tokens is None or len(self.write(dialog).ids) + 1 - self._stored_from <= self._max_tokens

    def encode(self, dialog: Dialog) -> Encoded:
        written, start = self.write(dialog), self._stored_from
        return Encoded(written.ids[start:], {MARKS: written.marks[start:].astype(np.uint8)})


def _encode_behind(prompt: Dialog, answers: list[Dialog], writer: _Writer, cut: Counter[str]) -> list[Encoded]:
    """Answers behind one prompt, which is shortened until all of them fit; nothing when they never do."""
    given = prompt.given_whole()
    for shorter in drop_oldest(given, lambda each: all(writer.fits(each + answer) for answer in answers)):
        cut["prompts that lost their oldest exchanges"] += shorter != given
        return [writer.encode(shorter + answer) for answer in answers]
    cut["records left out: too long even with the last question alone"] += 1
    return []


def _is_text(value: object) -> bool:
    return isinstance(value, str) and bool(value.strip())


def _encode_text(ids: npt.NDArray[Any], max_tokens: int | None) -> list[Encoded]:
    """Running text in pieces that leave room for the end-of-text in front of each."""
    room = len(ids) if max_tokens is None else max_tokens - 1
    pieces = [ids[start : start + room] for start in range(0, len(ids), room)]
    return [Encoded(piece, {MARKS: np.ones(len(piece), dtype=np.uint8)}) for piece in pieces]


def _read_prompt(document: Document, name: str) -> Dialog:
    return read_dialog(document, name).given_whole()


def _read_answer(document: Document, name: str) -> Dialog:
    return read_dialog(document, name, "assistant")
