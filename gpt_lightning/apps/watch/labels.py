"""Mood and topics of texts: by a trained classifier, by words, by a lexicon (the floor)."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

from gpt_lightning.apps.words import WordLists, pattern_of
from gpt_lightning.errors import DataError

MOODS = ("negative", "neutral", "positive")


class Moods(Protocol):
    """Says the mood of texts."""

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """Mood and its probability, one for each text."""


class Topics(Protocol):
    """Says what texts are about."""

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """Topics, any number of them, for each text."""


class TopicWords:
    """A text is about a topic if it has one of its words.

    Args:
        words: Topic -> words.
    """

    def __init__(self, words: Mapping[str, Sequence[str]]) -> None:
        self._words = WordLists(words)

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, ...]]:
        """As ``Topics`` says."""
        return [self._words.find(text) for text in texts]


class Lexicon:
    """The sum of a text's words: positive above 0, negative below.

    Args:
        weights: Word -> how positive it is.

    >>> lexicon = Lexicon({"strong": 1.0, "loss": -2.0, "大跌": -1.0})
    >>> [mood for mood, _ in lexicon(["A strong quarter", "今天大跌", "Nothing"])]
    ['positive', 'negative', 'neutral']
    """

    def __init__(self, weights: Mapping[str, float]) -> None:
        self._weights = {word.casefold(): weight for word, weight in weights.items()}
        longest_first = sorted(self._weights, key=len, reverse=True)
        self._found = re.compile("|".join(map(pattern_of, longest_first)) or r"(?!)", re.IGNORECASE)

    def __call__(self, texts: Sequence[str]) -> list[tuple[str, float]]:
        """As ``Moods`` says; the probability is a logistic function of the sum, and means no more than its order."""
        return [self._judge(text) for text in texts]

    def _judge(self, text: str) -> tuple[str, float]:
        total = math.fsum(self._weights[word.casefold()] for word in self._found.findall(text))
        mood = MOODS[1 + (total > 0) - (total < 0)]
        return mood, 1 / (1 + math.exp(-min(abs(total), 50.0)))


def read_lexicon(path: Path) -> Lexicon:
    """The lexicon of a file: a word, a tab and a number in each line; # begins a comment.

    Raises:
        DataError: A line is something else, or the file cannot be read.
    """
    weights = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as problem:
        raise DataError(f"The lexicon {path} cannot be read ({problem})") from problem
    for number, line in enumerate(lines, 1):
        word, _, weight = line.partition("#")[0].strip().partition("\t")
        if not word:
            continue
        try:
            weights[word] = float(weight)
        except ValueError:
            raise DataError(f"{path}:{number} is no word of a lexicon", got=line, allowed="WORD<tab>NUMBER") from None
    return Lexicon(weights)
