"""Short answers: exact match, token F1, edit distance. The best of several references counts."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float

from gpt_lightning.metrics.cutting import check_cut, normalize_answer
from gpt_lightning.metrics.overlap import Answer
from gpt_lightning.metrics.scores import Score, divide


class ExactMatch(Score[Answer]):
    """Share of texts equal to a reference, in percent; spaces at the ends do not count.

    Args:
        cut: Compare as SQuAD does (no case, punctuation and articles), with this cut; None = character by character.
    """

    size = 2

    def __init__(self, cut: str | None = None) -> None:
        self._cut = None if cut is None else check_cut(cut)

    def measure(self, outcome: Answer) -> Sequence[float]:
        """1 for a match; 1."""
        prediction = self._normalize(outcome.prediction)
        return [float(any(prediction == self._normalize(each) for each in outcome.references)), 1.0]

    def _normalize(self, text: str) -> object:
        return text.strip() if self._cut is None else normalize_answer(text, self._cut)

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``exact_match``."""
        return {"exact_match": 100 * divide(sums[0], sums[1])}


class Same(Score[Answer]):
    """Share of texts equal to a reference to the last character, spaces included, in percent."""

    size = 2

    def measure(self, outcome: Answer) -> Sequence[float]:
        """1 for a match; 1."""
        return [float(outcome.prediction in outcome.references), 1.0]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``exact_match``."""
        return {"exact_match": 100 * divide(sums[0], sums[1])}


class Ended(Score[Answer]):
    """Share of texts that their writer ended, in percent."""

    size = 2

    def measure(self, outcome: Answer) -> Sequence[float]:
        """1 for an end; 1."""
        return [float(outcome.ended), 1.0]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``ended``."""
        return {"ended": 100 * divide(sums[0], sums[1])}


class TokenF1(Score[Answer]):
    """Mean F1 of the bags of words of answer and reference, in percent (SQuAD; by characters for Chinese).

    Args:
        cut: How text is cut into words, see ``cutting``; not ``auto``.
    """

    size = 2

    def __init__(self, cut: str) -> None:
        self._cut = check_cut(cut)

    def measure(self, outcome: Answer) -> Sequence[float]:
        """F1 with the best reference, 0 to 1; 1."""
        prediction = normalize_answer(outcome.prediction, self._cut)
        return [max(_overlap(prediction, normalize_answer(each, self._cut)) for each in outcome.references), 1.0]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``token_f1``."""
        return {"token_f1": 100 * divide(sums[0], sums[1])}

    def describe(self) -> str:
        """The cut."""
        return f"F1|tok:{self._cut}|norm:squad"


def _overlap(prediction: list[str], reference: list[str]) -> float:
    if not prediction or not reference:
        return float(prediction == reference)
    common = sum((Counter(prediction) & Counter(reference)).values())
    return 2 * common / (len(prediction) + len(reference))


class EditDistance(Score[Answer]):
    """Levenshtein distance in characters: a mean, as a similarity (1 - distance / longer text), and per character.

    ``character_error_rate`` is the sum of distances over the sum of the references' lengths.
    """

    size = 4
    lower_is_better = ("edit_distance", "character_error_rate")

    def measure(self, outcome: Answer) -> Sequence[float]:
        """Distance to the nearest reference, similarity, length of that reference, 1."""
        distance, reference = min(
            (count_edits(outcome.prediction, each), each) for each in dict.fromkeys(outcome.references)
        )
        longer = max(len(outcome.prediction), len(reference))
        return [float(distance), 1 - distance / longer if longer else 1.0, float(len(reference)), 1.0]

    def compute(self, sums: Float[np.ndarray, " size"]) -> dict[str, float]:
        """``edit_distance`` (characters), ``edit_similarity`` and ``character_error_rate`` (percent)."""
        return {
            "edit_distance": divide(sums[0], sums[3]),
            "edit_similarity": 100 * divide(sums[1], sums[3]),
            "character_error_rate": 100 * divide(sums[0], sums[2]),
        }


def count_edits(first: str, second: str) -> int:
    """Insertions, deletions and substitutions of one character that turn ``first`` into ``second``.

    Bit-parallel (Myers 1999, in Hyyro's form 2003): a column of the table is a few operations on long integers, some
    fifty times faster than filling the table in Python.
    """
    if not first:
        return len(second)
    places: dict[str, int] = {}
    for index, character in enumerate(first):
        places[character] = places.get(character, 0) | 1 << index
    full, last, distance = (1 << len(first)) - 1, 1 << (len(first) - 1), len(first)
    up, down = full, 0
    for character in second:
        match = places.get(character, 0)
        diagonal = (((match & up) + up) ^ up) | match | down
        right = down | ~(diagonal | up) & full
        left = up & diagonal
        distance += bool(right & last) - bool(left & last)
        right = (right << 1 | 1) & full
        up = ((left << 1) & full) | ~(diagonal | right) & full
        down = right & diagonal
    return distance
