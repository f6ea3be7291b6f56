"""Which runs of n units two bodies of text have in common.

The benchmark is small and the training text is not, so the index is of the benchmark: its n-grams as 64-bit hashes in
a sorted array. The training text then streams by, a block at a time, and every hash is looked up. Memory is that of
the benchmark and one block, whatever the store's size; nothing is sampled. Two different n-grams have the same hash
once in 10^19 pairs: a million of the benchmark against ten thousand million of the text agree falsely with a
probability of one in two thousand.

Was the benchmark in the training text? Items of which a run of n units stands there are marked dirty.

Units are words (in lower case, without punctuation), the characters of Chinese, or the store's own tokens. Runs of 13
words are GPT-3's rule (Brown et al. 2020, appendix C), of 8 GPT-2's. Items shorter than a run cannot be judged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, UInt64

from gpt_lightning.data.store.shards import TokenSplit, TokenStore
from gpt_lightning.data.tokenizers.kinds import Tokenizer
from gpt_lightning.errors import ConfigError
from gpt_lightning.metrics.cutting import choose_cut, cut_text

_PRIME = np.uint64(0x9E3779B97F4A7C15)


def _mix(values: UInt64[np.ndarray, " units"]) -> UInt64[np.ndarray, " units"]:
    """64 well-mixed bits of each unit (SplitMix64's finalizer)."""
    z = values * _PRIME + _PRIME
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    mixed: np.ndarray = z ^ (z >> np.uint64(31))
    return mixed


def hash_ngrams(units: UInt64[np.ndarray, " units"], n: int) -> UInt64[np.ndarray, " ngrams"]:
    """A hash of each run of ``n`` units; none where there are fewer."""
    count = len(units) - n + 1
    if count < 1:
        return np.empty(0, dtype=np.uint64)
    mixed = _mix(units)
    total = np.zeros(count, dtype=np.uint64)
    for place in range(n):
        # Horner's rule modulo 2^64: the order of the units counts.
        total = total * _PRIME + mixed[place : place + count]
    return _mix(total)


@dataclass(frozen=True)
class Overlap:
    """Of an item of a benchmark.

    Attributes:
        ngrams: Runs that it has.
        seen: How many of them the training text has too.
        document: Number of the first document that has one; -1 = none.
    """

    ngrams: int
    seen: int
    document: int


class NgramIndex:
    """The n-grams of a benchmark, and which of them were met.

    Args:
        items: Units of each item.
        n: Length of a run.
    """

    def __init__(self, items: Iterable[UInt64[np.ndarray, " _units"]], n: int) -> None:
        self._n = n
        self._items = [hash_ngrams(units, n) for units in items]
        self._hashes = np.unique(np.concatenate([np.empty(0, dtype=np.uint64), *self._items]))
        self._document = np.full(len(self._hashes), -1, dtype=np.int64)

    def meet(self, units: UInt64[np.ndarray, " units"], document: int) -> None:
        """A part of the training text; parts of one document overlap by ``n - 1`` units."""
        if not len(self._hashes):
            return
        hashes = hash_ngrams(units, self._n)
        places = np.minimum(np.searchsorted(self._hashes, hashes), len(self._hashes) - 1)
        hit: Bool[np.ndarray, " ngrams"] = self._hashes[places] == hashes
        new = places[hit]
        self._document[new[self._document[new] < 0]] = document

    def overlaps(self) -> Iterator[Overlap]:
        """Of each item, in their order."""
        for hashes in self._items:
            documents = self._document[np.searchsorted(self._hashes, hashes)]
            seen = documents[documents >= 0]
            yield Overlap(len(hashes), len(seen), int(seen.min()) if len(seen) else -1)


def number_words(words: Sequence[str], known: dict[str, int]) -> UInt64[np.ndarray, " units"]:
    """Words as numbers; ``known`` grows by those that are new, so that the same word is the same number."""
    return np.array([known.setdefault(word, len(known)) for word in words], dtype=np.uint64)


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
        yield number, units(tokenizer.decode(ids[~np.isin(ids, [tokens.eot_id, *tokenizer.opening])]))


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
