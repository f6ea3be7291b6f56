"""From a document of a reader to an example: cleaned, understood by the layout, and with the side it belongs to."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from gpt_lightning.data.layouts.base import Layout, Text
from gpt_lightning.data.layouts.examples import Example
from gpt_lightning.data.prepare.chunks import Chunk
from gpt_lightning.data.prepare.cleaning import Cleaning, HashSplit, SplitRule, choose_rule
from gpt_lightning.data.readers.bad_records import BadRecord
from gpt_lightning.data.readers.readers import Document, Reader

_SIDES = {
    "train": "train", "training": "train",
    "val": "val", "valid": "val", "validation": "val", "dev": "val", "eval": "val",
    "test": "test", "testing": "test",
}  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """What became of a document.

    Attributes:
        example: What it says; None = left out.
        reason: Why it was left out, in words; empty otherwise.
        problem: What was wrong with it, where it is left out as bad.
        num_replaced: Surrogates that became U+FFFD.
    """

    example: Example | None
    reason: str = ""
    problem: str = ""
    num_replaced: int = 0


@dataclass(frozen=True)
class Intake:
    """What enters the corpus, and as what; see ``PrepareSettings`` for the meaning of each.

    Attributes:
        cleaning: What a text must be.
        layout: What a record is.
        group_field: Field of what may not stand on two sides.
        split_field: Field of the side itself.
        skips_bad: Whether a record that the layout does not understand is left out.
    """

    cleaning: Cleaning
    layout: Layout = field(default_factory=Text)
    group_field: str | None = None
    split_field: str | None = None
    skips_bad: bool = False

    @property
    def is_plain(self) -> bool:
        """Whether all there is are texts."""
        return self.layout.is_text and self.group_field is None and self.split_field is None

    def describe(self) -> list[Any]:
        """JSON values that determine the examples, beside the cleaning; nothing for texts alone."""
        return [] if self.is_plain else [self.layout.describe(), self.group_field, self.split_field]

    def take(self, document: Document) -> Taken:
        """Clean and understand a document.

        Raises:
            BadRecord: The layout does not understand it, unless such are left out.
        """
        if document.problem:
            return Taken(None, "bad records", document.problem)
        text, num_replaced = self.cleaning.clean(document.text)
        try:
            if self.is_plain:
                example = Example(text, text)
            else:
                fields, more = _clean(document.fields, self.cleaning)
                num_replaced += more
                example = self._understand(replace(document, text=text, fields=fields))
        except BadRecord as error:
            if not self.skips_bad:
                raise
            return Taken(None, "bad records", error.brief)
        reason = self.cleaning.judge(example.text)
        return Taken(None if reason else example, reason, num_replaced=0 if reason else num_replaced)

    def _understand(self, document: Document) -> Example:
        example = self.layout.parse(document)
        if self.group_field is not None:
            example = replace(example, group=_read(document, self.group_field))
        if self.split_field is not None and self.split_field in document.fields:
            stated = _read(document, self.split_field).lower()
            if stated not in _SIDES:
                raise BadRecord(
                    f"{document.name} names no split in the field {self.split_field!r}",
                    got=stated,
                    allowed="train, val, test",
                    fix="Correct data.split_field.",
                )
            example = replace(example, side=_SIDES[stated])
        return example

    def choose_rule(
        self, examples: Iterable[Example], val_fraction: float, test_fraction: float, seed: int
    ) -> SplitRule:
        """How examples are divided: only plain text may be cut at its tail where there are too few to divide.

        Args:
            examples: Of the corpus, in order.
            val_fraction: See ``SplitRule``.
            test_fraction: See ``SplitRule``.
            seed: See ``SplitRule``.
        """
        if self.is_plain:
            return choose_rule((example.text for example in examples), val_fraction, test_fraction, seed)
        key = self.layout.key_name if self.group_field is None else f"their field {self.group_field}"
        return HashSplit(val_fraction, test_fraction, seed, key, self.split_field)

    def iterate(self, readers: Sequence[Reader], units: Iterable[Chunk]) -> Iterator[Example]:
        """The examples of units in order."""
        for unit in units:
            for document in unit.iterate_documents(readers):
                taken = self.take(document)
                if taken.example is not None:
                    yield taken.example


def _read(document: Document, name: str) -> str:
    value = document.fields.get(name)
    if not isinstance(value, str | int | float):
        raise BadRecord(
            f"{document.name} has no word or number in the field {name!r}",
            got=type(value).__name__ if value is not None else f"fields {', '.join(document.fields) or 'none'}",
            allowed="records (.jsonl, .csv, .parquet ...) with this field",
            fix="Correct data.group_field or data.split_field.",
        )
    return str(value).strip()


def _clean(value: Any, cleaning: Cleaning) -> tuple[Any, int]:
    """A value of a record with all its texts cleaned, and the surrogates replaced in it."""
    if isinstance(value, str):
        return cleaning.clean(value)
    if isinstance(value, Mapping):
        pairs = {name: _clean(each, cleaning) for name, each in value.items()}
        return {name: each for name, (each, _) in pairs.items()}, sum(count for _, count in pairs.values())
    if isinstance(value, list | tuple):
        found = [_clean(each, cleaning) for each in value]
        return [each for each, _ in found], sum(count for _, count in found)
    return value, 0
