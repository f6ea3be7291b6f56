r"""Texts with something known about them: one of several classes, any of several, or a number.

    Labelled       {"text": "...", "label": "good"}             column label   int32, the place among the labels
    MultiLabelled  {"text": "...", "labels": ["a", "b"]}        column labels  uint8, 1 for each that holds
    Regression     {"text": "...", "value": 3.5}                column value   float32

With ``pair_field`` a record holds two texts (a question and its duplicate, a premise and a hypothesis): they become one
document, the end-of-text token between them, which no text can hold.

Labels are the names that occur, sorted (as numbers where all are), or given in order. Their order is in the manifest.
"""

from __future__ import annotations

import copy
import json
import math
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.layouts.base import (
    Encode,
    Layout,
    check_max_tokens,
    cut_ids,
    normalize,
    refuse_value,
    require,
)
from gpt_lightning.data.layouts.examples import Encoded, Example
from gpt_lightning.data.readers.formats.records import TextField
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.data.store.columns import Column
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.errors import ConfigError, DataError


class LabelledLayout(Layout):
    """A text, or two, and what is known about it."""

    def __init__(self, text_field: str, pair_field: str | None, max_tokens: int | None) -> None:
        for spec in (text_field, *([pair_field] if pair_field is not None else ())):
            TextField(spec)
        check_max_tokens(max_tokens)
        self.text_field, self.pair_field, self.max_tokens = text_field, pair_field, max_tokens

    @property
    @abstractmethod
    def known_field(self) -> str:
        """Field of what is known."""

    @property
    def fields(self) -> tuple[str, ...]:
        """Those of the texts, and the one of what is known."""
        pair = [] if self.pair_field is None else TextField(self.pair_field).fields
        return tuple(dict.fromkeys([*TextField(self.text_field).fields, *pair, self.known_field]))

    @property
    def num_parts(self) -> int | None:
        """Texts of a record; None = any number, of words."""
        return 1 if self.pair_field is None else 2

    def read_texts(self, document: Document) -> list[str]:
        """The texts of a record, whether anything is known about them or not."""
        specs = [self.text_field, *([self.pair_field] if self.pair_field is not None else ())]
        return [TextField(spec).pick(document.fields, document.name) for spec in specs]

    def parse(self, document: Document) -> Example:
        """Texts and what is known."""
        texts = self.read_texts(document)
        known = self._read(document, require(document, self.known_field, self._example()))
        return Example("\n".join(texts), normalize("\x1f".join(texts)), (texts, known))

    def encode(self, example: Example, tokenizer: Tokenizer, encode: Encode, cut: Counter[str]) -> list[Encoded]:
        """One document."""
        texts, known = example.content
        ids, _ = self.tokenize(texts, tokenizer.eot_id, encode, cut)
        return [Encoded(ids, {self.columns[0].name: self.store_answer(known)})]

    def tokenize(
        self, texts: Sequence[str], eot_id: int, encode: Encode, cut: Counter[str]
    ) -> tuple[npt.NDArray[Any], list[int]]:
        """Texts as the tokens of one document, in training and in use the same.

        What is too long loses its end, of a pair the longer one first. End-of-text in front is left out.

        Args:
            texts: From ``read_texts``.
            eot_id: What stands between the two of a pair.
            encode: Text -> ids.
            cut: Counts what was shortened.

        Returns:
            The ids, and the place of the last one of whatever has an answer: the document, or each word.
        """
        room = None if self.max_tokens is None else self.max_tokens - 1
        parts = [encode(text) for text in texts]
        if len(parts) == 1:
            ids = cut_ids(parts[0], room, cut)
        else:
            first, second = _cut_pair(parts, None if room is None else room - 1, cut)
            ids = np.concatenate([first, np.array([eot_id], dtype=first.dtype), second])
        return ids, [len(ids) - 1]

    def describe_item(self, texts: Sequence[str], said: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
        """What is said of the answers of one document, with what they are about: plain data."""
        return {"text": texts[0] if len(texts) == 1 else list(texts), **said[0]}

    @abstractmethod
    def _example(self) -> str:
        """What the field may hold, for messages."""

    @abstractmethod
    def _read(self, document: Document, value: Any) -> Any:
        """What is known, understood."""

    @abstractmethod
    def store_answer(self, known: Any) -> Any:
        """What is known as the numbers of a column."""


class NamedClasses(LabelledLayout):
    """What is known are names of classes."""

    def __init__(
        self,
        text_field: str,
        pair_field: str | None,
        labels: list[str] | None,
        max_tokens: int | None,
    ) -> None:
        super().__init__(text_field, pair_field, max_tokens)
        if labels is not None and (len(labels) < 2 or len(set(labels)) < len(labels)):
            raise ConfigError(
                "layout.labels are the names of the classes in order",
                got=labels,
                allowed="two or more, no two the same; null = those that occur",
                fix="Correct the list.",
            )
        self.labels = None if labels is None else [str(label) for label in labels]

    def learn(self, examples: Iterable[Example]) -> Layout:
        """The names that occur in order, or those that are given."""
        if self.labels is not None:
            return self
        found = sort_labels({name for example in examples for name in self._names(example.content[1])})
        if len(found) < 2:
            raise DataError(
                f"The field {self.known_field!r} tells nothing apart",
                got=found[:1],
                allowed="two labels or more",
                fix="Correct the name of the field in data.layout, or the data.",
            )
        learned = copy.copy(self)
        learned.labels = found
        return learned

    @abstractmethod
    def _names(self, known: Any) -> list[str]:
        """The names that hold for one text."""

    def _places(self, names: Iterable[str]) -> list[int]:
        assert self.labels is not None
        return [self.labels.index(name) for name in names]

    def _check(self, document: Document, name: str) -> str:
        if self.labels is not None and name not in self.labels:
            raise refuse_value(document, self.known_field, name, f"one of {', '.join(self.labels)}")
        return name


class Labelled(NamedClasses):
    """Texts of one class each; column ``label``: its place among the labels.

    Args:
        text_field: Field of the text, or a template such as "{title} {body}".
        label_field: Field of the class: a word or a whole number.
        pair_field: Field of a second text, for pairs; null = there is one text.
        labels: Names of the classes in order; null = those that occur, sorted.
        max_tokens: Longer documents lose their end; null = the run's block_size.
    """

    def __init__(
        self,
        text_field: str = "text",
        label_field: str = "label",
        pair_field: str | None = None,
        labels: list[str] | None = None,
        max_tokens: int | None = None,
    ) -> None:
        super().__init__(text_field, pair_field, labels, max_tokens)
        self.label_field = label_field

    @property
    def known_field(self) -> str:
        """Field of the class."""
        return self.label_field

    @property
    def columns(self) -> tuple[Column, ...]:
        """The class."""
        return (Column("label", "document", "int32"),)

    def _example(self) -> str:
        return '"a"'

    def _read(self, document: Document, value: Any) -> str:
        return self._check(document, name_label(document, self.known_field, value))

    def _names(self, known: str) -> list[str]:
        return [known]

    def store_answer(self, known: str) -> int:
        """Its place among the labels."""
        return self._places([known])[0]


class MultiLabelled(NamedClasses):
    """Texts of any number of classes each, none among them; column ``labels``: 1 for each that holds.

    Args:
        text_field: Field of the text, or a template such as "{title} {body}".
        labels_field: Field of the classes: a list, or in a table a list as JSON.
        pair_field: Field of a second text, for pairs; null = there is one text.
        labels: Names of the classes in order; null = those that occur, sorted.
        max_tokens: Longer documents lose their end; null = the run's block_size.
    """

    def __init__(
        self,
        text_field: str = "text",
        labels_field: str = "labels",
        pair_field: str | None = None,
        labels: list[str] | None = None,
        max_tokens: int | None = None,
    ) -> None:
        super().__init__(text_field, pair_field, labels, max_tokens)
        self.labels_field = labels_field

    @property
    def known_field(self) -> str:
        """Field of the classes."""
        return self.labels_field

    @property
    def columns(self) -> tuple[Column, ...]:
        """One number for each class."""
        return (Column("labels", "document", "uint8", len(self.labels or ()) or 1),)

    def _example(self) -> str:
        return '["a", "b"]'

    def _read(self, document: Document, value: Any) -> list[str]:
        listed = read_json(value) if isinstance(value, str) else value
        if not isinstance(listed, list | tuple):
            raise refuse_value(document, self.known_field, value, f"a list such as {self._example()}")
        names = [name_label(document, self.known_field, each) for each in listed]
        return [self._check(document, name) for name in dict.fromkeys(names)]

    def _names(self, known: list[str]) -> list[str]:
        return known

    def store_answer(self, known: list[str]) -> npt.NDArray[np.uint8]:
        """A mark for each label."""
        marks = np.zeros(len(self.labels or ()), dtype=np.uint8)
        marks[self._places(known)] = 1
        return marks


class Regression(LabelledLayout):
    """Texts with a number each; column ``value``.

    Args:
        text_field: Field of the text, or a template such as "{title} {body}".
        value_field: Field of the number.
        pair_field: Field of a second text, for pairs; null = there is one text.
        max_tokens: Longer documents lose their end; null = the run's block_size.
    """

    def __init__(
        self,
        text_field: str = "text",
        value_field: str = "value",
        pair_field: str | None = None,
        max_tokens: int | None = None,
    ) -> None:
        super().__init__(text_field, pair_field, max_tokens)
        self.value_field = value_field

    @property
    def known_field(self) -> str:
        """Field of the number."""
        return self.value_field

    @property
    def columns(self) -> tuple[Column, ...]:
        """The number."""
        return (Column("value", "document", "float32"),)

    def _example(self) -> str:
        return "3.5"

    def _read(self, document: Document, value: Any) -> float:
        try:
            number = float(value)
        except (TypeError, ValueError):
            number = math.nan
        if isinstance(value, bool) or not math.isfinite(number):
            raise refuse_value(document, self.known_field, value, "a finite number")
        return number

    def store_answer(self, known: float) -> float:
        """The number."""
        return known


def name_label(document: Document, name: str, value: object) -> str:
    """A label as its name.

    Raises:
        BadRecord: It is neither a word nor a whole number.
    """
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer():
        value = int(value)  # a table with gaps has its whole numbers as floats
    if not isinstance(value, str | int) or value == "":
        raise refuse_value(document, name, value, "a word or a whole number")
    return str(value)


def sort_labels(names: Iterable[str]) -> list[str]:
    """Names in order: as numbers where all are whole ones."""
    found = list(names)
    if all(name.removeprefix("-").isdecimal() for name in found):
        return sorted(found, key=lambda name: (int(name), name))
    return sorted(found)


def read_json(text: str) -> object:
    """What a cell of a table holds as JSON; the cell itself where it is none."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _cut_pair(parts: Sequence[npt.NDArray[Any]], room: int | None, cut: Counter[str]) -> list[npt.NDArray[Any]]:
    """Two texts in so many tokens: the longer one loses its end first."""
    first, second = len(parts[0]), len(parts[1])
    if room is None or first + second <= room:
        return list(parts)
    cut[f"texts cut to {room + 2} tokens"] += 1
    shorter = min(first, second, room // 2)
    sizes = (shorter, room - shorter) if first <= second else (room - shorter, shorter)
    return [part[:size] for part, size in zip(parts, sizes, strict=True)]
