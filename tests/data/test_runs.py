from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.data.tokenizers.bpe import cut_unbroken_runs, replace_surrogates

LIMIT = 100_000


@settings(deadline=None)
@given(parts=st.lists(st.tuples(st.sampled_from(["a", " ", "中", "\n", "ab c"]), st.integers(0, 130_000)), max_size=5))
def test_pieces_join_to_the_text_and_no_run_is_long(parts: list[tuple[str, int]]) -> None:
    text = "".join(unit * (count // len(unit)) for unit, count in parts)
    pieces = cut_unbroken_runs(text)
    assert "".join(pieces) == text
    for piece in pieces:
        assert max((len(run) for run in re.findall(r"\S+|\s+", piece)), default=0) < LIMIT


@pytest.mark.parametrize("text", ["", "a", "a" * 49_999, "word " * 100_000, " " + "a" * 49_999 + " " + "b" * 49_999])
def test_ordinary_text_is_not_cut(text: str) -> None:
    assert cut_unbroken_runs(text) == [text]


@given(text=st.text(alphabet=st.characters()))
def test_text_without_surrogates_is_unchanged(text: str) -> None:
    expected = "".join("\ufffd" if "\ud800" <= character <= "\udfff" else character for character in text)
    clean, count = replace_surrogates(text)
    assert clean == expected
    assert count == sum("\ud800" <= character <= "\udfff" for character in text)


def test_surrogates_are_counted() -> None:
    assert replace_surrogates("a\ud800\udc00é\udfff") == ("a\ufffd\ufffdé\ufffd", 3)
