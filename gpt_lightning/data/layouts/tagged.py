"""Texts whose every word has a class: names, parts of speech."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
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

    @property
    def num_parts(self) -> int | None:
        """Any."""
        return None

    def read_texts(self, document: Document) -> list[str]:
        """The words."""
        words = self._list(document, self.words_field, '["Ada", "wrote"]')
        if not words or not all(isinstance(word, str) and word for word in words):
            raise refuse_value(document, self.words_field, words, "a list of words, none of them empty")
        return words

    def parse(self, document: Document) -> Example:
        """Words and their classes, as many of one as of the other."""
        words = self.read_texts(document)
        tags = self._read(document, require(document, self.tags_field, self._example()))
        if len(tags) != len(words):
            raise refuse_value(document, self.tags_field, tags, f"as many as the {len(words)} words")
        text = self.joiner.join(words)
        return Example(text, normalize(text), (words, tags))

    def encode(self, example: Example, tokenizer: Tokenizer, encode: Encode, cut: Counter[str]) -> list[Encoded]:
        """One document."""
        words, tags = example.content
        ids, ends = self.tokenize(words, tokenizer.eot_id, encode, cut)
        marks = np.full(len(ids), IGNORED, dtype=np.int32)
        marks[ends] = self.store_answer(tags)[: len(ends)]
        return [Encoded(ids, {"tags": marks})]

    def tokenize(
        self, texts: Sequence[str], eot_id: int, encode: Encode, cut: Counter[str]
    ) -> tuple[npt.NDArray[Any], list[int]]:
        """Words with what stands between them; words behind the end have no answer."""
        pieces = [encode(f"{self.joiner}{word}" if number else word) for number, word in enumerate(texts)]
        ids = cut_ids(np.concatenate(pieces), None if self.max_tokens is None else self.max_tokens - 1, cut)
        ends = np.cumsum([len(piece) for piece in pieces]) - 1
        return ids, [int(end) for end in ends if end < len(ids)]

    def describe_item(self, texts: Sequence[str], said: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """Every word with its label; those behind the end are left out."""
        return {"words": [{"word": word, **each} for word, each in zip(texts, said, strict=False)]}

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

    def store_answer(self, known: list[str]) -> list[int]:
        """The place of each among the labels."""
        return self._places(known)
