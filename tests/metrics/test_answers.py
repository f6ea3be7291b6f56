"""Exact match, F1 and edit distance against their definitions."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torchmetrics.functional.text import char_error_rate

from gpt_lightning.metrics.answers import EditDistance, ExactMatch, TokenF1, count_edits
from gpt_lightning.metrics.overlap import Answer
from gpt_lightning.metrics.scores import Score, measure_all

ANSWERS = [
    Answer("The Eiffel Tower", ("Eiffel tower!", "the tower")),
    Answer("in 1889", ("1889", "in the year 1889")),
    Answer("", ("Paris",)),
    Answer("Paris ", ("Paris",)),
]


def measured(score: Score[Answer], answers: list[Answer]) -> dict[str, float]:
    return score.compute(measure_all(score, answers).sum(axis=0))


def table_of_edits(first: str, second: str) -> int:
    """The textbook's table (Wagner and Fischer 1974)."""
    row = list(range(len(second) + 1))
    for i, a in enumerate(first, start=1):
        before, row[0] = row[0], i
        for j, b in enumerate(second, start=1):
            before, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, before + (a != b))
    return row[-1]


@settings(max_examples=200, deadline=None)
@given(st.text("ab好", max_size=70), st.text("ab好", max_size=70))
def test_edits_are_the_tables(first: str, second: str) -> None:
    assert count_edits(first, second) == table_of_edits(first, second) == count_edits(second, first)


def test_edit_distance_over_texts() -> None:
    pairs = [Answer("kitten", ("sitting",)), Answer("好", ("您好",)), Answer("", ("",))]
    expected = {"edit_distance": 4 / 3, "edit_similarity": 100 * (4 / 7 + 1 / 2 + 1) / 3}
    found = measured(EditDistance(), pairs)
    rate = char_error_rate([p.prediction for p in pairs], [p.references[0] for p in pairs])
    assert found["character_error_rate"] == pytest.approx(100 * float(rate), rel=1e-6)
    assert {name: found[name] for name in expected} == pytest.approx(expected)


def test_the_nearest_reference_counts() -> None:
    assert measured(EditDistance(), [Answer("cat", ("dog", "cart"))])["edit_distance"] == 1


def test_exact_match_and_f1_by_hand() -> None:
    assert measured(ExactMatch(), ANSWERS)["exact_match"] == 25
    assert measured(ExactMatch("13a"), ANSWERS)["exact_match"] == 50
    # "in 1889" with "in the year 1889" (the article goes): 2 of 2 and 2 of 3 words.
    assert measured(TokenF1("13a"), ANSWERS)["token_f1"] == pytest.approx(100 * (1 + 0.8 + 0 + 1) / 4)


def test_chinese_f1_is_by_characters() -> None:
    found = measured(TokenF1("zh"), [Answer("北京大学", ("北京",))])
    assert found["token_f1"] == pytest.approx(100 * 2 * 2 / (4 + 2))
    assert measured(ExactMatch("zh"), [Answer("“北京”。", ("北京",))])["exact_match"] == 100


def test_nothing_measured_is_nan() -> None:
    for score in (ExactMatch(), TokenF1("zh"), EditDistance()):
        assert all(np.isnan(value) for value in score.compute(np.zeros(score.size)).values())
