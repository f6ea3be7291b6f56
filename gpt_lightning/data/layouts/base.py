"""What every layout is: a record of a file -> an example -> documents of tokens with columns beside them."""

from __future__ import annotations

import copy
import unicodedata
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt

from gpt_lightning.data.layouts.examples import Encoded, Example
from gpt_lightning.data.readers.bad_records import BadRecord
from gpt_lightning.data.readers.formats.records import shorten
from gpt_lightning.data.readers.readers import Document
from gpt_lightning.data.store.columns import Column, LayoutRecord
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.errors import ConfigError

Encode = Callable[[str], npt.NDArray[Any]]
"""Ordinary text -> ids, watched by whoever proves that the tokenizer loses nothing."""


class Layout(ABC):
    """What the documents of a corpus are, and what stands beside their tokens.

    A subclass keeps its arguments as public attributes of the same names: they are what tells two stores apart.

    Attributes:
        max_tokens: Tokens of the longest document, end-of-text included; None = any length.
        labels: Names of the classes in order; None = none, or not learned yet.
        rows_per_sample: Rows of a batch that one record gives and that stay side by side.
        mismatched: Whether the second of them is the prompt with another record's answer, see ``stream.mismatched``.
        key_name: What an example's key is, in words.
        is_chat: Whether documents are conversations.
    """

    rows_per_sample: ClassVar[int] = 1
    mismatched: ClassVar[bool] = False
    key_name: ClassVar[str] = "their text, normalized"
    is_chat: ClassVar[bool] = False
    max_tokens: int | None = None
    labels: list[str] | None = None

    @property
    def columns(self) -> tuple[Column, ...]:
        """What stands beside the tokens; nothing in text alone."""
        return ()

    @property
    def is_text(self) -> bool:
        """Whether documents are running text, which may be cut anywhere and divided at its tail."""
        return not self.columns

    @property
    def record(self) -> LayoutRecord | None:
        """What is known of a store of it before a document is read; None = one of running text."""
        if self.is_text:
            return None
        return LayoutRecord(
            name=type(self).__name__,
            columns=self.columns,
            labels=tuple(self.labels or ()),
            rows_per_sample=self.rows_per_sample,
            mismatched=self.mismatched,
        )

    @property
    def fields(self) -> tuple[str, ...]:
        """Fields of a record that are looked for."""
        return ()

    @abstractmethod
    def parse(self, document: Document) -> Example:
        """Understand a record.

        Raises:
            BadRecord: It lacks a field, or holds something else; names the place.
        """

    @abstractmethod
    def encode(self, example: Example, tokenizer: Tokenizer, encode: Encode, cut: Counter[str]) -> list[Encoded]:
        """The documents of an example; none when not even the least of it fits into ``max_tokens``.

        Args:
            example: From ``parse``.
            tokenizer: For its special tokens.
            encode: What its text is encoded with.
            cut: Counts what was shortened or left out, by what was done.
        """

    def learn(self, examples: Iterable[Example]) -> Layout:
        """The layout with what must be known of the whole corpus first: the names of the classes."""
        return self

    def limited_to(self, max_tokens: int) -> Layout:
        """The same where nothing else is said about the length of documents."""
        if self.is_text or self.max_tokens is not None:
            return self
        limited = copy.copy(self)
        limited.max_tokens = max_tokens
        return limited

    def describe(self) -> dict[str, Any]:
        """Plain values that tell one layout from another."""
        return {"class": type(self).__name__, **vars(self)}

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.describe() == other.describe()

    def __hash__(self) -> int:
        return hash(type(self))


class Text(Layout):
    """Running text: nothing stands beside it."""

    key_name = "their text"

    def parse(self, document: Document) -> Example:
        """The text as it is."""
        return Example(document.text, document.text)

    def encode(self, example: Example, tokenizer: Tokenizer, encode: Encode, cut: Counter[str]) -> list[Encoded]:
        """All of it."""
        ids = encode(example.text)
        return [Encoded(np.concatenate([np.array(tokenizer.opening, ids.dtype), ids]) if tokenizer.opening else ids)]


def normalize(text: str) -> str:
    """What makes two texts the same to a reader: Unicode's NFKC, without case, one space for any white space."""
    return " ".join(unicodedata.normalize("NFKC", text).casefold().split())


def check_max_tokens(max_tokens: int | None) -> None:
    """Refuse a length in which nothing fits.

    Raises:
        ConfigError: It is below 2.
    """
    if max_tokens is not None and max_tokens < 2:
        raise ConfigError("layout.max_tokens is a length", got=max_tokens, allowed=">= 2, or null", fix="Raise it.")


def require(document: Document, name: str, allowed: str) -> Any:
    """A field of a record that must be there.

    Args:
        document: The record.
        name: Of the field.
        allowed: What it should hold, for the message.

    Raises:
        BadRecord: It is missing or null.
    """
    if name not in document.fields:
        found = f"fields {', '.join(map(str, document.fields))}" if document.fields else "none of the fields asked for"
        raise BadRecord(
            f"{document.name} has nothing in the field {name!r}",
            got=found,
            allowed=f'records (.jsonl, .csv, .parquet ...) such as {{"{name}": {allowed}}}',
            fix="Set the names of the fields in data.layout.",
        )
    return document.fields[name]


def refuse_value(document: Document, name: str, value: object, allowed: str) -> BadRecord:
    """The error for a field that holds something else than it should."""
    return BadRecord(
        f"{document.name} has something else in the field {name!r}",
        got=shorten(repr(value)),
        allowed=allowed,
        fix="Mend it, or set the names of the fields in data.layout.",
    )


def cut_ids(ids: npt.NDArray[Any], room: int | None, cut: Counter[str]) -> npt.NDArray[Any]:
    """The first tokens, as many as there is room for."""
    if room is None or len(ids) <= room:
        return ids
    cut[f"texts cut to {room + 1} tokens"] += 1
    return np.asarray(ids[:room])
