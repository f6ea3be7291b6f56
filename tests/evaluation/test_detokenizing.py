from __future__ import annotations

import pytest

from gpt_lightning.evaluation.texts.text_files import count_words, detokenize_ptb, detokenize_wikitext


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        ("a well @-@ known 1 @,@ 000 and 3 @.@ 5", "a well-known 1,000 and 3.5"),
        ('He said , " yes " . It \'s ( very ) good !', 'He said, "yes". It\'s (very) good!'),
        (" = Title = \n text \n", " = Title = \n text \n"),
        ("the <unk> did n't", "the <unk> didn't"),
    ],
)
def test_wikitext(stored: str, plain: str) -> None:
    assert detokenize_wikitext(stored) == plain


@pytest.mark.parametrize(
    ("stored", "plain"),
    [
        ("it does n't matter , he said", "it doesn't matter, he said"),
        ("`` Come here , '' said -LRB- the -RRB- cat .", '"Come here," said (the) cat.'),
        ("the company 's $ N million", "the company's $N million"),
    ],
)
def test_ptb(stored: str, plain: str) -> None:
    assert detokenize_ptb(stored) == plain


def test_words_with_an_end_for_each_line() -> None:
    assert count_words(" a b \n c \n") == 5
    assert count_words("a b") == 3
