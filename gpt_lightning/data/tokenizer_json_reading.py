"""Hugging Face's ``tokenizer.json`` as one of our tokenizers, or a refusal with the reason.

A byte-level BPE becomes a tiktoken encoding, which merges whatever pair has the lowest id. Hugging Face merges the
pairs of a list in its order. Both give the same ids exactly when the list is in the order of the ids and makes every
token from the two parts that the merges before its own leave of it; that is checked for every token, because a
vocabulary that nearly fits would be wrong silently. Of special tokens only the ids are taken: text that contains them
is ordinary text here. What adds tokens around a text (``post_processor``) is not taken either: end-of-text is put
between documents by whoever makes them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from gpt_lightning.data.bpe import END_OF_TEXT, Vocabulary
from gpt_lightning.data.tokenizer import Tokenizer
from gpt_lightning.data.tokenizer_json import (
    EACH_CHARACTER,
    GPT2_NAMES,
    GPT2_PATTERN,
    byte_letters,
    rewrite_pattern,
    split_token,
)
from gpt_lightning.data.tokenizers import ByteTokenizer, CharTokenizer, EncodingTokenizer
from gpt_lightning.errors import DataError

FILE, SETTINGS_FILE, OWN_ENTRY = "tokenizer.json", "tokenizer_config.json", "gpt_lightning"
_LARGEST_ID = 1 << 22
_LARGEST_FILE = 1 << 28
_CONTROL = re.compile(r"[<\[|].*[>\]|]", flags=re.DOTALL)
_NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
# SmolLM's and others' numbers, digit by digit. White space before a digit ends there, as before the end of a text.
_GPT2_DIGITS = r"\p{N}|" + GPT2_PATTERN.replace(r" ?\p{N}+|", "").replace(r"|\s+(?!\S)", r"|\s+(?=\p{N})|\s+(?!\S)")


def read_tokenizer_folder(path: Path) -> Tokenizer:
    """The tokenizer of a folder in Hugging Face's layout.

    Args:
        path: The folder, or its ``tokenizer.json``; ``tokenizer_config.json`` beside it names the end of a text.

    Raises:
        DataError: No tokenizer there, or one that cannot be expressed.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / FILE if path.is_dir() else path
    settings = read_json_file(folder / SETTINGS_FILE) if (folder / SETTINGS_FILE).is_file() else {}
    own = settings.get(OWN_ENTRY)
    own = own if isinstance(own, dict) else {}
    end = settings.get("eos_token")
    end = end.get("content") if isinstance(end, dict) else end
    name, pattern = str(own.get("name") or folder.resolve().name), str(own.get("pattern") or "")
    try:
        content = read_json_file(file) if file.is_file() else _read_two_files(folder)
        return _read_once(json.dumps(content), name, pattern, end if isinstance(end, str) else None)
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise DataError(
            f"{file} is not a tokenizer.json ({type(error).__name__}: {error})", fix="Copy the file again."
        ) from error
    except DataError as error:
        raise DataError(f"{file}: {str(error).rstrip('.')}", fix="") from error


def read_json_file(path: Path) -> dict[str, Any]:
    """A JSON object from a file of at most 256 MB.

    Raises:
        DataError: Unreadable, too large, not JSON, or not an object.
    """
    try:
        if path.stat().st_size > _LARGEST_FILE:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"Cannot read {path} ({error})", fix="Copy the file again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object", got=type(content).__name__, fix="Copy the file again.")
    return content


def _read_two_files(folder: Path) -> dict[str, Any]:
    """GPT-2's older layout, ``vocab.json`` and ``merges.txt``, as the content of a ``tokenizer.json``."""
    if not (folder / "vocab.json").is_file() or not (folder / "merges.txt").is_file():
        raise DataError(
            "there is no such file",
            fix="Add it to the folder, or import the model with --tokenizer gpt2, bytes or a file.",
        )
    vocabulary = read_json_file(folder / "vocab.json")
    lines = (folder / "merges.txt").read_text(encoding="utf-8").splitlines()
    merges = [line for line in lines if line and not line.startswith("#version")]
    model = {"type": "BPE", "vocab": vocabulary, "merges": merges}
    ends = [{"content": END_OF_TEXT, "id": vocabulary[END_OF_TEXT], "special": True}]
    return {"model": model, "added_tokens": ends, "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": False}}


@lru_cache(maxsize=2)
def _read_once(content: str, name: str, own_pattern: str, end: str | None) -> Tokenizer:
    """By content: a command asks for the same tokenizer several times, and checking GPT-2's takes a second."""
    return _read(json.loads(content), name, own_pattern, end)


def _read(content: Mapping[str, Any], name: str, own_pattern: str, end: str | None) -> Tokenizer:
    model = content["model"]
    specials = _read_specials(content.get("added_tokens") or [])
    kind = model.get("type", "BPE")
    if kind == "WordLevel":
        return _read_chars(content, specials)
    if kind != "BPE":
        _refuse(f"its model is {kind}")
    _check_plain(content)
    ranks = _read_ranks(model["vocab"], specials)
    merges = [tuple(merge.split(" ")) if isinstance(merge, str) else tuple(merge) for merge in model.get("merges", [])]
    if not merges and _is_bytes(content, ranks, specials):
        return ByteTokenizer()
    _check_merges(ranks, merges, whole_words=bool(model.get("ignore_merges")))
    pattern, pattern_name = _read_pattern(content.get("pre_tokenizer") or {}, own_pattern)
    if not specials:
        _refuse("it has no special token to stand between documents")
    ends = [text for text in (END_OF_TEXT, end) if text in specials]
    if not ends:
        _refuse(f"none of its special tokens is {END_OF_TEXT} or the eos_token of {SETTINGS_FILE}")
    tokens = [b""] * (max(ranks.values()) + 1)
    for token, number in ranks.items():
        tokens[number] = token
    form = content.get("normalizer")
    vocabulary = Vocabulary(
        name,
        pattern,
        tuple(tokens),
        specials,
        end_of_text=str(ends[0]),
        normalization=None if form is None else str(form["type"]),
        pattern_name=pattern_name,
    )
    try:
        return EncodingTokenizer(vocabulary)
    except ValueError as error:
        _refuse(f"tiktoken does not understand how it cuts text ({error})")


def _refuse(reason: str) -> NoReturn:
    raise DataError(
        f"this tokenizer cannot be rebuilt here: {reason}",
        allowed="a byte-level BPE as GPT-2, Llama 3 and Qwen have it",
        fix="Pass another with --tokenizer, or continue with a model whose tokenizer is one.",
    )


def _read_specials(added: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    specials = {}
    for entry in added:
        text, number = str(entry["content"]), entry["id"]
        if not entry.get("special") and not _CONTROL.fullmatch(text):
            _refuse(f"the added token {text!r} stands for ordinary text")
        specials[text] = _check_id(number, text)
    return specials


def _check_id(number: Any, text: str) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < _LARGEST_ID:
        _refuse(f"the id of {text!r} is {number!r}")
    return number


def _check_plain(content: Mapping[str, Any]) -> None:
    """Options of a BPE that change ids and that tiktoken does not have."""
    model, form = content["model"], content.get("normalizer")
    for option in ("dropout", "unk_token", "continuing_subword_prefix", "end_of_word_suffix", "byte_fallback"):
        # GPT-2's own file names an unknown token that a vocabulary of all bytes never needs.
        if model.get(option) and option != "unk_token":
            _refuse(f"its model has {option} {model[option]!r}")
    if form is not None and form.get("type") not in ("NFC", "NFKC", "NFD", "NFKD"):
        _refuse(f"it changes text by the normalizer {form.get('type')!r}")


def _read_ranks(vocabulary: Mapping[str, Any], specials: Mapping[str, int]) -> dict[bytes, int]:
    """Bytes of every ordinary token -> id."""
    values = {letter: value for value, letter in enumerate(byte_letters())}
    ranks: dict[bytes, int] = {}
    for text, number in vocabulary.items():
        if text in specials:
            continue
        if not text or any(letter not in values for letter in text):
            _refuse(f"its token {text!r} is not spelled in bytes")
        ranks[bytes([values[letter] for letter in text])] = _check_id(number, text)
    if len({*ranks.values(), *specials.values()}) < len(ranks) + len(specials):
        _refuse("two of its tokens have one id")
    missing = [value for value in range(256) if bytes([value]) not in ranks and value not in _NEVER_IN_UTF8]
    if missing:
        _refuse(f"it has no token for the byte {missing[0]} and {len(missing) - 1} others")
    return ranks


def _is_bytes(content: Mapping[str, Any], ranks: Mapping[bytes, int], specials: Mapping[str, int]) -> bool:
    cutting = content.get("pre_tokenizer") or {}
    whole = cutting.get("type") == "ByteLevel" and cutting.get("use_regex") is False
    plain = all(len(token) == 1 and number == token[0] for token, number in ranks.items())
    return whole and plain and specials == ByteTokenizer().specials


def _read_chars(content: Mapping[str, Any], specials: Mapping[str, int]) -> Tokenizer:
    characters = [text for text in content["model"]["vocab"] if text not in specials]
    cutting = content.get("pre_tokenizer") or {}
    regex = (cutting.get("pattern") or {}).get("Regex")
    if any(len(text) != 1 for text in characters) or regex != EACH_CHARACTER or content.get("normalizer"):
        _refuse("its model is WordLevel and its words are not single characters")
    tokenizer = CharTokenizer(characters)
    known = {character: number for number, character in enumerate(tokenizer.characters)} | tokenizer.specials
    if content["model"]["vocab"] | dict(specials) != known:
        _refuse("its characters are not in the order of their code points, end-of-text last")
    return tokenizer


def _check_merges(ranks: Mapping[bytes, int], merges: Sequence[tuple[str, ...]], *, whole_words: bool) -> None:
    values = {letter: value for value, letter in enumerate(byte_letters())}
    pairs: set[tuple[bytes, bytes]] = set()
    made: set[bytes] = set()
    latest = -1
    for merge in merges:
        if len(merge) != 2 or any(letter not in values for part in merge for letter in part):
            _refuse(f"{merge!r} is no merge of bytes")
        first, second = (bytes([values[letter] for letter in part]) for part in merge)
        number = ranks.get(first + second)
        if number is None:
            _refuse(f"its merge {' '.join(merge)!r} makes no token")
        if number < latest:
            _refuse(f"its merges are not in the order of their ids (at {' '.join(merge)!r})")
        latest = number
        pairs.add((first, second))
        made.add(first + second)
    for token in ranks:
        if len(token) == 1:
            continue
        parts = split_token(token, ranks)
        if (len(parts) != 2 or (parts[0], parts[1]) not in pairs) and (token in made or not whole_words):
            _refuse(f"its merges do not make the token {token!r} as byte pair encoding would")


def _read_pattern(cutting: Mapping[str, Any], own: str) -> tuple[str, str | None]:
    """The regular expression that cuts words, and its name where it has one."""
    steps = list(cutting["pretokenizers"]) if cutting.get("type") == "Sequence" else [cutting]
    last = steps[-1]
    if last.get("type") != "ByteLevel" or last.get("add_prefix_space"):
        _refuse(f"it cuts text by {', '.join(str(step.get('type')) for step in steps)}")
    regex = last.get("use_regex", True)
    if len(steps) == 1 and regex:
        return GPT2_PATTERN, own if own in GPT2_NAMES else GPT2_NAMES[0]
    first = steps[0]
    if len(steps) == 2 and regex and first.get("type") == "Digits" and first.get("individual_digits"):
        return _GPT2_DIGITS, None
    if len(steps) != 2 or regex or first.get("type") != "Split" or "Regex" not in first.get("pattern", {}):
        _refuse(f"it cuts text by {', '.join(str(step.get('type')) for step in steps)}")
    if (first.get("behavior"), bool(first.get("invert"))) not in (("Isolated", False), ("Removed", True)):
        _refuse(f"it drops text when cutting ({first.get('behavior')})")
    written = str(first["pattern"]["Regex"])
    if own and rewrite_pattern(own) == written:
        return own, None
    return written, own if own.startswith("tiktoken:") else None
