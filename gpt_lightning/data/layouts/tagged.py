"""Texts whose every word has a class: names, parts of speech."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.layouts.base import Encode, cut_ids, normalize, refuse_value, require
from gpt_lightning.data.layouts.examples import Encoded, Example
from gpt_lightning.data.layouts.labelled import NamedClasses, name_label, read_json
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.data.store.columns import IGNORED, Column
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer


class Tagged(NamedClasses):
    """Words of one class each; column ``tags``: at the last token of each word its place among the labels, else -100.

    A record is {"words": ["Ada", "wrote"], "tags": ["name", "other"]}; in a table both are lists as JSON.

    Args:
        words_field: Field of the words.
        tags_field: Field of their classes, as many.
        joiner: What stands between words in the text; "" for Chinese.
        labels: Names of the classes in order; null = those that occur, sorted.
        max_tokens: Longer documents lose their end; null = the run's block_size.
    """

    def __init__(
        self,
        words_field: str = "words",
        tags_field: str = "tags",
        joiner: str = " ",
        labels: list[str] | None = None,
        max_tokens: int | None = None,
    ) -> None:
        super().__init__(words_field, None, labels, max_tokens)
        self.words_field, self.tags_field, self.joiner = words_field, tags_field, joiner

    @property
    def known_field(self) -> str:
        """Field of the classes."""
        return self.tags_field

    @property
    def columns(self) -> tuple[Column, ...]:
        """The class of the word that ends at a token."""
        return (Column("tags", "token", "int32"),)

    def parse(self, document: Document) -> Example:
        """Words and their classes, as many of one as of the other."""
        words = self._list(document, self.words_field, '["Ada", "wrote"]')
        if not words or not all(isinstance(word, str) and word for word in words):
            raise refuse_value(document, self.words_field, words, "a list of words, none of them empty")
        tags = self._read(document, require(document, self.tags_field, self._example()))
        if len(tags) != len(words):
            raise refuse_value(document, self.tags_field, tags, f"as many as the {len(words)} words")
        text = self.joiner.join(words)
        return Example(text, normalize(text), (words, tags))

    def encode(self, example: Example, tokenizer: Tokenizer, encode: Encode, cut: Counter[str]) -> list[Encoded]:
        """One document; too long a text loses its end."""
        words, tags = example.content
        pieces = encode_words(words, self.joiner, encode)
        marks = np.full(sum(map(len, pieces)), IGNORED, dtype=np.int32)
        marks[np.cumsum([len(piece) for piece in pieces]) - 1] = self._store(tags)
        room = None if self.max_tokens is None else self.max_tokens - 1
        ids = cut_ids(np.concatenate(pieces), room, cut)
        return [Encoded(ids, {"tags": marks[: len(ids)]})]

    def _list(self, document: Document, name: str, allowed: str) -> list[Any]:
        value = require(document, name, allowed)
        listed = read_json(value) if isinstance(value, str) else value
        if not isinstance(listed, list | tuple):
            raise refuse_value(document, name, value, f"a list such as {allowed}")
        return list(listed)

    def _example(self) -> str:
        return '["name", "other"]'

    def _read(self, document: Document, value: Any) -> list[str]:
        listed = self._list(document, self.tags_field, self._example())
        return [self._check(document, name_label(document, self.tags_field, each)) for each in listed]

    def _names(self, known: list[str]) -> list[str]:
        return known

    def _store(self, known: list[str]) -> list[int]:
        return self._places(known)


def encode_words(words: list[str], joiner: str, encode: Encode) -> list[npt.NDArray[Any]]:
    """The tokens of each word of a text, with what stands before it; in training and in use the same."""
    return [encode(f"{joiner}{word}" if number else word) for number, word in enumerate(words)]
