"""Text as tokenizers can bear it: no lone surrogates, no endless unbroken runs.

BPE merges inside one pre-token take time quadratic in its length: a million ``^`` in a row cost 6 s, and
whitespace or Chinese without punctuation behaves alike. Cut every 50,000 characters, the same text takes a fraction.
"""

from __future__ import annotations

import itertools
import re

_BLOCK = 50_000
_LONE_SURROGATE = re.compile("[\ud800-\udfff]")
_SPACE = re.compile(r"\s")


def replace_surrogates(text: str) -> tuple[str, int]:
    """Replace surrogates, which UTF-8 cannot hold, by U+FFFD.

    Returns:
        The text and how many were replaced.
    """
    if text.isascii():
        return text, 0
    return _LONE_SURROGATE.subn("\ufffd", text)


def cut_unbroken_runs(text: str) -> list[str]:
    """Cut text inside runs without any space (or of nothing but space) so that none exceeds 100,000 characters.

    Ordinary text comes back whole. Runs shorter than 50,000 characters are never cut: a cut may change ids there.

    Returns:
        Pieces that joined give the text.
    """
    if len(text) < _BLOCK:
        return [text]
    # A run of two blocks covers an aligned one wholly, and in ordinary text the search ends after a few characters:
    # linear in the worst case, where a pattern such as \S{100000,} would start anew at every character.
    cuts = {0, len(text)}
    for start in range(0, len(text) - _BLOCK + 1, _BLOCK):
        block = text[start : start + _BLOCK]
        if _SPACE.search(block) is None or block.isspace():
            cuts.update((start, start + _BLOCK))
    borders = sorted(cuts)
    return [text[start:end] for start, end in itertools.pairwise(borders)]
