"""Text as tokenizers can bear it: no lone surrogates, no endless unbroken runs.

BPE merges inside one pre-token take time quadratic in its length: a million ``^`` in a row cost 6 s, and
whitespace or Chinese without punctuation behaves alike. Cut every 50,000 characters, the same text takes a fraction.

Byte-level BPE vocabularies of our own: train one on a corpus, as plain data.

``rustbpe`` finds the merges; it knows no special tokens and cannot save, so both are ours. Encoding is left to
``tiktoken.Encoding``, which gives the same ids from the same pattern and ranks.

Byte-pair encoding on bytes: Sennrich et al. 2016 (arXiv:1508.07909); Radford et al. 2019 (GPT-2), section 2.2.
"""

from __future__ import annotations

import base64
import itertools
import logging
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache
from typing import Any

import rustbpe

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


END_OF_TEXT = "<|endoftext|>"
"""How the end-of-text token is written; text that contains these characters is still ordinary text."""


@dataclass(frozen=True)
class Vocabulary:
    """Everything that determines the ids of a byte-level BPE.

    Attributes:
        name: Shown in messages and folder names, e.g. ``bpe-4096``.
        pattern: Regular expression that splits text before merging (syntax of the Rust crate ``fancy-regex``).
        tokens: Bytes of every ordinary token; the position is both the id and the merge rank. Empty where an id is
            not in use, or a special token's.
        specials: Ids of the special tokens.
        end_of_text: Which of them stands between documents.
        normalization: Unicode form into which text is brought first, e.g. ``NFC``; None = it stays as it is.
        pattern_name: Stands for the pattern in the fingerprint, where several spellings cut text alike.
    """

    name: str
    pattern: str
    tokens: tuple[bytes, ...]
    specials: dict[str, int]
    end_of_text: str = END_OF_TEXT
    normalization: str | None = None
    pattern_name: str | None = None

    def describe(self) -> dict[str, Any]:
        """The same as JSON values; tokens as base64, since they are not always UTF-8."""
        tokens = [base64.b64encode(token).decode("ascii") for token in self.tokens]
        known = {"name": self.name, "pattern": self.pattern, "tokens": tokens, "specials": dict(self.specials)}
        # Left out where it says nothing: earlier versions know the four entries only.
        return {**known, **{name: getattr(self, name) for name, usual in _USUAL if getattr(self, name) != usual}}

    @classmethod
    def from_description(cls, description: dict[str, Any]) -> Vocabulary:
        """Inverse of ``describe``."""
        tokens = tuple(base64.b64decode(token) for token in description["tokens"])
        rest: dict[str, Any] = {name: description.get(name, usual) for name, usual in _USUAL}
        return cls(description["name"], description["pattern"], tokens, dict(description["specials"]), **rest)


_USUAL = (("end_of_text", END_OF_TEXT), ("normalization", None), ("pattern_name", None))


@cache
def byte_letters() -> tuple[str, ...]:
    """The letter that stands for each byte in the files of byte-level vocabularies (GPT-2's table).

    Printable bytes of Latin-1 stand for themselves, the others for the code points from 256 on, in order.
    """
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = iter(range(256, 512))
    return tuple(chr(value if value in printable else next(others)) for value in range(256))


def spell(token: bytes) -> str:
    """A token as byte-level vocabularies write it."""
    letters = byte_letters()
    return "".join([letters[value] for value in token])


_WORDS = r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]++[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+"
_CONTRACTIONS = "'(?i:[sdmt]|ll|ve|re)"
PATTERNS = {
    "gpt4": rf"{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?+\p{{L}}+{_WORDS}",
    # A Chinese clause has no spaces: as one word it would hardly ever occur twice, and training on it takes three
    # times as long. Runs of up to four characters hold nearly all words. Han leave \p{L}, or "abc中文" would be one.
    "chinese": rf"\p{{Han}}{{1,4}}|{_CONTRACTIONS}|[^\r\n\p{{L}}\p{{N}}]?+[\p{{L}}&&[^\p{{Han}}]]+{_WORDS}",
}
"""How text is cut into words before merging, by name: as GPT-4 does, or with Chinese in mind."""
DEFAULT_PATTERN = "gpt4"


def train_vocabulary(texts: Iterable[str], vocab_size: int, pattern: str = DEFAULT_PATTERN) -> Vocabulary:
    """Train a byte-level BPE.

    Args:
        texts: The corpus; read once, never held as a whole.
        vocab_size: Tokens altogether, the 256 bytes and end-of-text included; at least 257. A corpus too small for
            that many merges gives fewer.
        pattern: Name among ``PATTERNS``.

    Returns:
        The same vocabulary for the same texts, whatever the number of threads.
    """
    assert vocab_size > 256
    logging.getLogger("rustbpe").setLevel(logging.WARNING)  # it reports every percent at INFO
    trainer = rustbpe.Tokenizer()
    # Frequencies of pre-tokens are what is learned, so cutting texts at the giant runs changes nothing else.
    pieces = (piece for text in texts for piece in cut_unbroken_runs(text))
    trainer.train_from_iterator(pieces, vocab_size - 1, pattern=PATTERNS[pattern])
    ranks = {int(rank): bytes(token) for token, rank in trainer.get_mergeable_ranks()}
    tokens = tuple(ranks[rank] for rank in range(len(ranks)))
    suffix = "" if pattern == DEFAULT_PATTERN else f"-{pattern}"
    return Vocabulary(f"bpe-{len(tokens) + 1}{suffix}", trainer.get_pattern(), tokens, {END_OF_TEXT: len(tokens)})
