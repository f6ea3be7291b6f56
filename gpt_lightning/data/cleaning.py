"""What a text must be to enter the corpus, and what is done to it first."""

from __future__ import annotations

import unicodedata
from dataclasses import dataclass

import numpy as np

from gpt_lightning.data.runs import replace_surrogates

_CHINESE = ((0x3400, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF))


@dataclass(frozen=True)
class Cleaned:
    """A text after cleaning.

    Attributes:
        text: What goes to the tokenizer; None = left out.
        reason: Why it was left out, in words; empty otherwise.
        num_replaced: Surrogates that became U+FFFD.
    """

    text: str | None
    reason: str = ""
    num_replaced: int = 0


@dataclass(frozen=True)
class Cleaning:
    """The rules; see ``PrepareSettings`` for the meaning of each.

    Duplicates are not among them: whether a text is the first of its kind is known only when all are read.
    """

    normalize_nfc: bool
    min_characters: int
    max_characters: int | None

    def apply(self, text: str) -> Cleaned:
        """Replace what UTF-8 cannot hold, normalize, and measure."""
        if not text:
            return Cleaned(None, "empty")
        clean, num_replaced = replace_surrogates(text)
        if self.normalize_nfc:
            clean = unicodedata.normalize("NFC", clean)
        if len(clean) < self.min_characters:
            return Cleaned(None, f"shorter than {self.min_characters} characters")
        if self.max_characters is not None and len(clean) > self.max_characters:
            return Cleaned(None, f"longer than {self.max_characters} characters")
        return Cleaned(clean, num_replaced=num_replaced)


def is_chinese(text: str) -> bool:
    """Whether at least half of the characters are Chinese ones (Unicode's unified ideographs)."""
    if text.isascii():
        return False
    points = np.frombuffer(text.encode("utf-32-le", errors="replace"), dtype="<u4")
    count = sum(int(np.count_nonzero((points >= low) & (points <= high))) for low, high in _CHINESE)
    return 2 * count >= len(points)
