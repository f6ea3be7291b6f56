"""Was the benchmark in the training text? Items of which a run of n units stands there are marked dirty.

Units are words (in lower case, without punctuation), the characters of Chinese, or the store's own tokens. Runs of 13
words are GPT-3's rule (Brown et al. 2020, appendix C), of 8 GPT-2's. Items shorter than a run cannot be judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import UInt64

from gpt_lightning.data.shards import TokenSplit, TokenStore
from gpt_lightning.data.tokenizers import Tokenizer
from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.ngrams import NgramIndex, Overlap
from gpt_lightning.metrics.cutting import choose_cut, cut_text

UNITS = ("auto", "word", "character", "token")
_BLOCK = 1 << 20


@dataclass(frozen=True)
class Checked:
    """An item of the benchmark, as it was looked for.

    Attributes:
        name: Where it comes from.
        key: The key that evaluations know it by.
        overlap: What was found.
    """

    name: str
    key: str
    overlap: Overlap


class TextUnits:
    """Text -> numbers of its units, the same unit always the same number.

    Args:
        cut: How text is cut, see ``metrics.cutting``.
    """

    def __init__(self, cut: str) -> None:
        self._cut = cut
        self._known: dict[str, int] = {}

    def __call__(self, text: str) -> UInt64[np.ndarray, " units"]:
        """Words that the benchmark does not have share one number, so that memory does not grow with the store."""
        return np.array([self._known.get(unit, 0) for unit in cut_text(text, self._cut)], dtype=np.uint64)

    def learn(self, texts: Iterable[str]) -> None:
        """The units of the benchmark, numbered from 1."""
        for text in texts:
            for unit in cut_text(text, self._cut):
                self._known.setdefault(unit, len(self._known) + 1)


def check_store(
    store: TokenStore, items: Sequence[tuple[str, str, str]], *, n: int, unit: str = "auto", split: str = "train"
) -> tuple[list[Checked], str]:
    """Look for every item in a split of a store.

    Args:
        store: What was trained on.
        items: Name, key and text of each item.
        n: Length of a run.
        unit: word, character or token; auto = characters where the items are Chinese, else words.
        split: Of the store.

    Returns:
        What was found for each item, and the unit.

    Raises:
        ConfigError: ``n`` or ``unit`` is none.
        DataError: There is no such split.
    """
    if n < 1:
        raise ConfigError("n counts units", got=n, allowed="1 or more", fix="Use 13.")
    if unit not in UNITS:
        raise ConfigError("No such unit", got=unit, allowed=", ".join(UNITS))
    if unit == "auto":
        unit = "character" if choose_cut(text for _, _, text in items) in ("zh", "char") else "word"
    tokens = store.split(split)
    if unit == "token":
        wanted = [store.tokenizer.encode(text).astype(np.uint64) for _, _, text in items]
        parts = _token_parts(tokens, n)
    else:
        units = TextUnits("zh" if unit == "character" else "intl")
        units.learn(text for _, _, text in items)
        wanted = [units(text) for _, _, text in items]
        parts = _text_parts(tokens, store.tokenizer, units, n)
    index = NgramIndex(wanted, n)
    for number, part in parts:
        index.meet(part, number)
    found = zip(items, index.overlaps(), strict=True)
    return [Checked(name, key, overlap) for (name, key, _), overlap in found], unit


def _token_parts(tokens: TokenSplit, n: int) -> Iterator[tuple[int, UInt64[np.ndarray, " _units"]]]:
    """Runs of ids and their document; end-of-text between documents belongs to no item."""
    for number, start, length in _spans(tokens, overlap=n - 1):
        yield number, tokens.gather(np.array([start]), length)[0].astype(np.uint64)


def _text_parts(
    tokens: TokenSplit, tokenizer: Tokenizer, units: TextUnits, n: int
) -> Iterator[tuple[int, UInt64[np.ndarray, " _units"]]]:
    # A word has seldom more than a few tokens; at 64 a unit, a run is whole in one part or the other.
    for number, start, length in _spans(tokens, overlap=64 * n):
        ids = tokens.gather(np.array([start]), length)[0]
        yield number, units(tokenizer.decode(ids[ids != tokens.eot_id]))


def _spans(tokens: TokenSplit, overlap: int) -> Iterator[tuple[int, int, int]]:
    """Document, first token and length of parts that cover the split; parts of a document overlap."""
    start = 0
    for number, end in enumerate(tokens.document_ends.tolist()):
        while True:
            length = min(_BLOCK + overlap, end - start)
            yield number, start, length
            if start + length >= end:
                break
            start += _BLOCK
        start = end
