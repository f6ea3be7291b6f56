from __future__ import annotations

import itertools

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.data.tokenizers.bpe import train_vocabulary
from gpt_lightning.data.tokenizers.kinds import EncodingTokenizer

TEXTS = ["the cat sat on the mat", "the bat and the rat sat", "中文 中文 the then there"] * 5


def merge_by_rank(word: bytes, ranks: dict[bytes, int]) -> list[int]:
    """Byte-pair encoding as defined: merge the neighbours of lowest rank until none can be merged."""
    parts = [bytes([value]) for value in word]
    while True:
        candidates = [(ranks[a + b], n) for n, (a, b) in enumerate(itertools.pairwise(parts)) if a + b in ranks]
        if not candidates:
            return [ranks[part] for part in parts]
        _, n = min(candidates)
        parts[n : n + 2] = [parts[n] + parts[n + 1]]


def test_training_is_deterministic_and_has_the_size_asked_for() -> None:
    first, second = (train_vocabulary(iter(TEXTS), 280) for _ in range(2))
    assert first == second
    assert len(first.tokens) == 279
    assert first.specials == {"<|endoftext|>": 279}
    assert sorted(first.tokens[:256]) == [bytes([value]) for value in range(256)]


def test_a_small_corpus_gives_a_small_vocabulary() -> None:
    vocabulary = train_vocabulary(["ab"], 1000)
    assert len(vocabulary.tokens) == 257
    assert vocabulary.name == "bpe-258"


@settings(max_examples=50, deadline=None)
@given(word=st.text(alphabet="theacsrbmn", min_size=1))
def test_ids_are_those_of_the_definition(word: str) -> None:
    vocabulary = _trained
    ranks = {token: rank for rank, token in enumerate(vocabulary.tokens)}
    expected = merge_by_rank(word.encode(), ranks)
    np.testing.assert_array_equal(EncodingTokenizer(vocabulary).encode(word), expected)


_trained = train_vocabulary(TEXTS, 290)
