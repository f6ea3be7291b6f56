"""Lists of words by name, and which of them a text has."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence


class WordLists:
    """The names whose words a text has.

    Words of Latin letters count as whole words, in any case; others wherever they stand, as Chinese has no spaces.

    Args:
        words: Name -> words; one without words is never found.

    >>> WordLists({"oil": ["crude oil", "原油"], "tea": []}).find("Crude oil falls, and 原油 too")
    ('oil',)
    """

    def __init__(self, words: Mapping[str, Sequence[str]]) -> None:
        self._patterns = {
            name: re.compile("|".join(map(pattern_of, each)), re.IGNORECASE) for name, each in words.items() if each
        }

    def find(self, text: str) -> tuple[str, ...]:
        """In the order in which they were given."""
        return tuple(name for name, found in self._patterns.items() if found.search(text))


def pattern_of(word: str) -> str:
    """A regular expression for a word."""
    bound = r"\b" if word.isascii() else ""
    return f"{bound}{re.escape(word)}{bound}"
