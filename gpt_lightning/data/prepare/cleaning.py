"""What a text must be to enter the corpus, and what is done to it first.

Which documents train and which only measure.

``HashSplit`` decides by a seeded hash of the text alone: adding data never moves a document, exact duplicates never
stand on both sides, and order, workers and shards play no part. Corpora of a few documents, above all a single one,
would leave a side empty; ``TailSplit`` cuts the tail off every document instead.
"""

from __future__ import annotations

import hashlib
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass, replace

import numpy as np

from gpt_lightning.data.layouts.examples import Example
from gpt_lightning.data.tokenizers.bpe import replace_surrogates

_CHINESE = ((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


@dataclass(frozen=True)
class Cleaning:
    """The rules; see ``PrepareSettings`` for the meaning of each.

    Duplicates are not among them: whether a text is the first of its kind is known only when all are read.
    """

    normalize_nfc: bool
    min_characters: int
    max_characters: int | None

    def clean(self, text: str) -> tuple[str, int]:
        """The text without what UTF-8 cannot hold, normalized; and how many surrogates became U+FFFD."""
        clean, num_replaced = replace_surrogates(text)
        return (unicodedata.normalize("NFC", clean) if self.normalize_nfc else clean), num_replaced

    def judge(self, text: str) -> str:
        """Why a clean text is left out, in words; empty = it enters."""
        if not text:
            return "empty"
        if len(text) < self.min_characters:
            return f"shorter than {self.min_characters} characters"
        if self.max_characters is not None and len(text) > self.max_characters:
            return f"longer than {self.max_characters} characters"
        return ""


def is_chinese(text: str) -> bool:
    """Whether at least half of the characters are Chinese ones (Unicode's unified ideographs)."""
    if text.isascii():
        return False
    points = np.frombuffer(text.encode("utf-32-le", errors="replace"), dtype="<u4")
    count = sum(int(np.count_nonzero((points >= low) & (points <= high))) for low, high in _CHINESE)
    return 2 * count >= len(points)


class SplitRule(ABC):
    """Divides documents among train, val and test.

    Args:
        val_fraction: Share of validation, in documents (``HashSplit``) or characters (``TailSplit``).
        test_fraction: Share of test.
        seed: Another seed, another division.
    """

    def __init__(self, val_fraction: float, test_fraction: float, seed: int) -> None:
        self.val_fraction, self.test_fraction, self.seed = val_fraction, test_fraction, seed

    @property
    @abstractmethod
    def summary(self) -> str:
        """The rule in words, for the report."""

    @abstractmethod
    def divide(self, text: str) -> list[tuple[str, str]]:
        """``(split, piece)`` of a document; the pieces joined give the text, none is empty."""

    def assign(self, example: Example) -> list[tuple[str, Example]]:
        """The same of an example, whose text is all there is to it."""
        return [(split, replace(example, text=piece)) for split, piece in self.divide(example.text)]


class HashSplit(SplitRule):
    """Whole documents, by a hash of their text, or of what else they have in common with those that may not part.

    Args:
        val_fraction: See ``SplitRule``.
        test_fraction: See ``SplitRule``.
        seed: See ``SplitRule``.
        key: What is hashed, in words.
        stated: Field that says the side itself where it is there.
    """

    def __init__(
        self, val_fraction: float, test_fraction: float, seed: int, key: str = "their text", stated: str | None = None
    ) -> None:
        super().__init__(val_fraction, test_fraction, seed)
        self.key, self.stated = key, stated

    @property
    def summary(self) -> str:
        """The rule in words."""
        rule = f"whole documents by a hash of {self.key} (seed {self.seed})"
        return rule if self.stated is None else f"as the field {self.stated} says, else {rule}"

    def assign(self, example: Example) -> list[tuple[str, Example]]:
        """The example whole."""
        return [(example.side or self.side(example.group or example.key), example)]

    def side(self, text: str) -> str:
        """The split of a document.

        Validation takes the low end of the hash's range and test the high end: enlarging one never moves documents
        of the other.
        """
        key = str(self.seed).encode()[:64]
        digest = hashlib.blake2b(text.encode("utf-8"), digest_size=8, key=key).digest()
        position = int.from_bytes(digest, "little") / 2**64
        if position < self.val_fraction:
            return "val"
        return "test" if position >= 1 - self.test_fraction else "train"

    def divide(self, text: str) -> list[tuple[str, str]]:
        """The document whole."""
        return [(self.side(text), text)]


class TailSplit(SplitRule):
    """The end of each document, cut where a paragraph or line ends; order within it: train, val, test."""

    @property
    def summary(self) -> str:
        """The rule in words."""
        return "the tail of each document (too few documents to divide whole ones)"

    def divide(self, text: str) -> list[tuple[str, str]]:
        """The document in up to three pieces."""
        length = len(text)
        first = _cut_near(text, length * (1 - self.val_fraction - self.test_fraction), self.val_fraction * length / 2)
        second = _cut_near(text, length * (1 - self.test_fraction), self.test_fraction * length / 2)
        if self.val_fraction == 0:
            first = second
        borders = (0, first, max(first, second), length)
        pieces = [(name, text[borders[n] : borders[n + 1]]) for n, name in enumerate(("train", "val", "test"))]
        return [(name, piece) for name, piece in pieces if piece]


def _cut_near(text: str, target: float, slack: float) -> int:
    """The end of a paragraph, else of a line, within ``slack`` characters of ``target`` and nearest to it."""
    aim = round(target)
    low, high = max(0, int(target - slack)), min(len(text), int(target + slack))
    for border in ("\n\n", "\n"):
        before = text.rfind(border, low, aim)
        after = text.find(border, aim, high)
        ends = [position + len(border) for position in (before, after) if position >= 0]
        if ends:
            return min(ends, key=lambda end: abs(end - aim))
    return aim


def choose_rule(texts: Iterable[str], val_fraction: float, test_fraction: float, seed: int) -> SplitRule:
    """``HashSplit`` when it leaves no wanted side empty, else ``TailSplit``.

    Args:
        texts: The corpus; read only until every side has a document.
        val_fraction: See ``SplitRule``.
        test_fraction: See ``SplitRule``.
        seed: See ``SplitRule``.
    """
    rule = HashSplit(val_fraction, test_fraction, seed)
    missing = {"train"} | {name for name, share in (("val", val_fraction), ("test", test_fraction)) if share > 0}
    for text in texts:
        missing.discard(rule.side(text))
        if not missing:
            return rule
    return TailSplit(val_fraction, test_fraction, seed)
