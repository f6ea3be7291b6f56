"""Our tokenizers as Hugging Face's ``tokenizer.json``, written without any of its libraries.

    encoding    BPE over bytes; the merges are found again by merging every token below its own rank
    bytes       the same without merges
    chars       WordLevel, every character a word; an unknown one is an error there as it is here
    tokenizers  what it was read from, without what stands around a text

Three traps, each measured on thousands of random strings:

- Special ids: a converter that counts them on from the last token shifts those of cl100k and o200k by one. Every
  special token is also an entry of the vocabulary, which holds its place even behind a gap.
- Patterns: the library's engine (Oniguruma) reads ``{1,3}+`` as "groups repeated", and ``$`` as the end of a line;
  ``rewrite_pattern`` writes what tiktoken's engine means.
- A whole word that is a token is taken as it is by tiktoken, merged or not: ``ignore_merges``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from gpt_lightning.data.tokenizers.bpe import byte_letters, spell
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer, CharTokenizer, EncodingTokenizer
from gpt_lightning.data.tokenizers.library_tokenizer import LibraryTokenizer
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer

GPT2_PATTERN = r"'(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
"""What the library's ``ByteLevel`` cuts by (Radford et al. 2019), in tiktoken's syntax."""
GPT2_NAMES = ("tiktoken:gpt2", "tiktoken:r50k_base", "tiktoken:p50k_base", "tiktoken:p50k_edit")
"""Names of patterns that cut as ``GPT2_PATTERN`` does."""
EACH_CHARACTER = r"[\s\S]"
_BOUNDED_POSSESSIVE = re.compile(r"((?:\\[pP]\{\w+\}|\\\w|\[[^\]]*\]|\.)\{\d+(?:,\d*)?\})\+")
_END = re.compile(r"(?<!\\)\$")


def describe_as_json(tokenizer: Tokenizer) -> dict[str, Any]:
    """The content of ``tokenizer.json``.

    Args:
        tokenizer: One of ours.
    """
    frame = frame_texts(tokenizer, tokenizer.begin_id) if tokenizer.opening else None
    if isinstance(tokenizer, LibraryTokenizer):
        more = [added_token(name, tokenizer.specials[name]) for name in tokenizer.added]
        added = [*tokenizer.content["added_tokens"], *more]
        return {**tokenizer.content, "added_tokens": added, "post_processor": frame}
    model, cutting, decoder = _PARTS[type(tokenizer)](tokenizer)
    form = tokenizer.normalization if isinstance(tokenizer, EncodingTokenizer) else None
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [added_token(text, number) for text, number in tokenizer.specials.items()],
        "normalizer": None if form is None else {"type": form},
        "pre_tokenizer": cutting,
        "post_processor": frame,
        "decoder": decoder,
        "model": model,
    }


def frame_texts(tokenizer: Tokenizer, number: int) -> dict[str, Any]:
    """The entry ``post_processor`` of a ``tokenizer.json``: a token in front of a text, and between a pair.

    Args:
        tokenizer: Whose.
        number: Id of the token.
    """
    end = tokenizer.pieces[number].decode("utf-8")
    mark = {"SpecialToken": {"id": end, "type_id": 0}}
    first, second = ({"Sequence": {"id": name, "type_id": 0}} for name in "AB")
    return {
        "type": "TemplateProcessing",
        "single": [mark, first],
        "pair": [mark, first, mark, second],
        "special_tokens": {end: {"id": end, "ids": [number], "tokens": [end]}},
    }


def added_token(text: str, number: int) -> dict[str, Any]:
    """The entry of a special token."""
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    return {"id": number, "content": text, **flags, "special": True}


def rewrite_pattern(pattern: str) -> str:
    """A regular expression in tiktoken's syntax as the ``tokenizers`` library reads it."""
    return _END.sub(r"\\z", _BOUNDED_POSSESSIVE.sub(r"(?>\1)", pattern))


def split_token(token: bytes, ranks: Mapping[bytes, int]) -> list[bytes]:
    """What a token consists of when only the merges before its own were made; two parts where one merge makes it."""
    limit = ranks[token]
    parts = [token[place : place + 1] for place in range(len(token))]
    while len(parts) > 2:
        candidates = [ranks.get(parts[place] + parts[place + 1], limit) for place in range(len(parts) - 1)]
        lowest = min(candidates)
        if lowest >= limit:
            break
        place = candidates.index(lowest)
        parts[place : place + 2] = [parts[place] + parts[place + 1]]
    return parts


def _describe_encoding(tokenizer: EncodingTokenizer) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    ranks = {
        piece: number for number, piece in enumerate(tokenizer.pieces) if piece and number not in tokenizer.special_ids
    }
    pairs = (split_token(token, ranks) for token in ranks if len(token) > 1)
    # A token that no merge makes can still be a whole word.
    merges = [[spell(pair[0]), spell(pair[1])] for pair in pairs if len(pair) == 2]
    vocabulary = {spell(token): number for token, number in ranks.items()} | tokenizer.specials
    if tokenizer.pattern_name in GPT2_NAMES:
        cutting: dict[str, Any] = byte_level(use_regex=True)
    else:
        split = {
            "type": "Split",
            "pattern": {"Regex": rewrite_pattern(tokenizer.pattern)},
            "behavior": "Isolated",
            "invert": False,
        }
        cutting = {"type": "Sequence", "pretokenizers": [split, byte_level(use_regex=False)]}
    return _bpe(vocabulary, merges), cutting, byte_level(use_regex=True)


def _describe_bytes(tokenizer: ByteTokenizer) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    vocabulary = {letter: number for number, letter in enumerate(byte_letters())} | tokenizer.specials
    return _bpe(vocabulary, []), byte_level(use_regex=False), byte_level(use_regex=True)


def _describe_chars(tokenizer: CharTokenizer) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    vocabulary = {character: number for number, character in enumerate(tokenizer.characters)} | tokenizer.specials
    # No token is the unknown one: naming one that does not exist turns an unseen character into an error.
    model = {"type": "WordLevel", "vocab": vocabulary, "unk_token": "<unknown>"}
    split = {"type": "Split", "pattern": {"Regex": EACH_CHARACTER}, "behavior": "Isolated", "invert": False}
    return model, split, {"type": "Fuse"}


def _bpe(vocabulary: dict[str, int], merges: list[list[str]]) -> dict[str, Any]:
    nothing = dict.fromkeys(("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix"))
    flags = {"fuse_unk": False, "byte_fallback": False, "ignore_merges": bool(merges)}
    ordered = dict(sorted(vocabulary.items(), key=lambda entry: entry[1]))
    return {"type": "BPE", **nothing, **flags, "vocab": ordered, "merges": merges}


def byte_level(*, use_regex: bool) -> dict[str, Any]:
    """The step that spells bytes as letters; with ``use_regex`` it also cuts by ``GPT2_PATTERN``."""
    return {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": use_regex}


_PARTS: dict[type[Tokenizer], Callable[[Any], tuple[dict[str, Any], dict[str, Any], dict[str, Any]]]] = {
    EncodingTokenizer: _describe_encoding,
    ByteTokenizer: _describe_bytes,
    CharTokenizer: _describe_chars,
}
"""Model, pre-tokenizer and decoder of every kind."""
