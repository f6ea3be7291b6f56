"""Hugging Face's ``tokenizer.json`` as one of our tokenizers.

A byte-level BPE whose ids are provably the same becomes a tiktoken encoding, which is faster and needs no library.
tiktoken merges whatever pair has the lowest id, Hugging Face the pairs of a list in its order: both give the same ids
exactly when the list is in the order of the ids and makes every token from the two parts that the merges before its
own leave of it, which is checked for every token. And tiktoken drops what its pattern does not match, where the library
keeps it: only patterns that are known to match every text, alike in both engines, are taken (``_PATTERNS``). Everything
else is run by the library itself (``LibraryTokenizer``).

Of special tokens only the ids are taken: text that contains them is ordinary text here. An added token that is written
like a control token (``<tool_call>``, ``[PAD]``) is one, whether or not the file calls it special. What adds tokens
around a text (``post_processor``) only says which token begins a text (Llama's), where ``add_bos_token`` of
tokenizer_config.json does not; end-of-text is put between documents by whoever makes them.

Where a text ends is looked up in this order: ``eos_token`` of tokenizer_config.json, then of special_tokens_map.json,
``eos_token_id`` of generation_config.json, then of config.json, then the usual names.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NoReturn

from gpt_lightning.data.tokenizers.bpe import END_OF_TEXT, PATTERNS, Vocabulary, byte_letters
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer, CharTokenizer, EncodingTokenizer
from gpt_lightning.data.tokenizers.library_tokenizer import LARGEST_FILE, LARGEST_ID, LibraryTokenizer
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.data.tokenizers.tokenizer_json import (
    EACH_CHARACTER,
    GPT2_NAMES,
    GPT2_PATTERN,
    added_token,
    byte_level,
    rewrite_pattern,
    split_token,
)
from gpt_lightning.errors import DataError

FILE, SETTINGS_FILE, OWN_ENTRY = "tokenizer.json", "tokenizer_config.json", "gpt_lightning"
SPECIALS_FILE, MODEL_FILES = "special_tokens_map.json", ("generation_config.json", "config.json")
_USUAL_ENDS = (END_OF_TEXT, "<|end_of_text|>", "</s>", "<eos>", "[EOS]", "[SEP]")
_CONTROL = re.compile(r"[<\[|].*[>\]|]", flags=re.DOTALL)
_NEVER_IN_UTF8 = {0xC0, 0xC1, *range(0xF5, 0x100)}
# SmolLM's and others' numbers, digit by digit. White space before a digit ends there, as before the end of a text.
_GPT2_DIGITS = r"\p{N}|" + GPT2_PATTERN.replace(r" ?\p{N}+|", "").replace(r"|\s+(?!\S)", r"|\s+(?=\p{N})|\s+(?!\S)")
_LLAMA3 = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+"
    r"|\s+(?!\S)|\s+"
)
_PATTERNS = {
    rewrite_pattern(pattern)
    for pattern in (
        *PATTERNS.values(),
        _LLAMA3,
        _LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}"),  # Qwen
        # cl100k_base as tiktoken has it since 0.8; before, it was Llama 3's
        r"'(?i:[sdmt]|ll|ve|re)|[^\r\n\p{L}\p{N}]?+\p{L}++|\p{N}{1,3}+| ?[^\s\p{L}\p{N}]++[\r\n]*+|\s++$|\s*[\r\n]"
        r"|\s+(?!\S)|\s",
        # o200k_base
        r"[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
        r"|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+",
    )
}
"""As files spell them: each matches every text, and both engines cut alike by it (tested on random texts)."""


class _Elsewhere(Exception):
    """Why tiktoken would not, or not provably, give the same ids."""


def read_tokenizer_folder(path: Path) -> Tokenizer:
    """The tokenizer of a folder in Hugging Face's layout.

    Args:
        path: The folder, or its ``tokenizer.json``; the files beside it name the end of a text.

    Raises:
        DataError: No tokenizer there, one without an end of text, or one that needs the library, which is not there.
    """
    folder = path if path.is_dir() else path.parent
    file = folder / FILE if path.is_dir() else path
    settings = read_json_file(folder / SETTINGS_FILE) if (folder / SETTINGS_FILE).is_file() else {}
    own = settings.get(OWN_ENTRY)
    own = own if isinstance(own, dict) else {}
    name, pattern = str(own.get("name") or folder.resolve().name), str(own.get("pattern") or "")
    ends, ids = _read_end_names(folder, settings), read_end_ids(folder)
    try:
        content = read_json_file(file) if file.is_file() else _read_two_files(folder, ends)
        tokenizer = _read_once(json.dumps(content), name, pattern, ends, ids)
        return tokenizer.beginning_with(_find_begin(content, settings, tokenizer.specials)).ending_at(ids)
    except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
        raise DataError(
            f"{file} is not a tokenizer.json ({type(error).__name__}: {error})", fix="Copy the file again."
        ) from error
    except DataError as error:
        raise DataError(f"{file}: {str(error).rstrip('.')}", fix="") from error


def _read_end_names(folder: Path, settings: Mapping[str, Any]) -> tuple[str, ...]:
    """What the folder says an end of text is called, the most binding first."""
    more = read_json_file(folder / SPECIALS_FILE) if (folder / SPECIALS_FILE).is_file() else {}
    ends = (entry.get("content") if isinstance(entry, dict) else entry for entry in _eos_of(settings, more))
    return tuple(end for end in ends if isinstance(end, str))


def _find_begin(content: Mapping[str, Any], settings: Mapping[str, Any], specials: Mapping[str, int]) -> int | None:
    """Id of the token that these files put in front of every text; None = they put none, or the end of a text."""
    adds, named = settings.get("add_bos_token"), settings.get("bos_token")
    if adds is False:
        return None
    named = named.get("content") if isinstance(named, dict) else named
    first = named if adds else _first_of_template(content.get("post_processor") or {})
    return specials.get(first) if isinstance(first, str) else None


def _first_of_template(step: Mapping[str, Any]) -> Any:
    """The special token with which a ``TemplateProcessing`` begins a text; None = it has none."""
    if step.get("type") == "Sequence":
        return next(filter(None, map(_first_of_template, step["processors"])), None)
    start = (step.get("single") or [{}])[0]
    return start.get("SpecialToken", {}).get("id")


def _eos_of(*tables: Mapping[str, Any]) -> list[Any]:
    return [table.get("eos_token") for table in tables]


def read_end_ids(folder: Path) -> tuple[int, ...]:
    """All ids at which a folder's model ends a text: ``eos_token_id``, a number or a list of them.

    Raises:
        DataError: A configuration that is no JSON object.
    """
    found: list[int] = []
    for name in MODEL_FILES:
        value = read_json_file(folder / name).get("eos_token_id") if (folder / name).is_file() else None
        values = value if isinstance(value, list) else [value]
        found += [each for each in values if isinstance(each, int) and not isinstance(each, bool)]
    return tuple(dict.fromkeys(found))


def read_json_file(path: Path) -> dict[str, Any]:
    """A JSON object from a file of at most 256 MB.

    Raises:
        DataError: Unreadable, too large, not JSON, or not an object.
    """
    try:
        if path.stat().st_size > LARGEST_FILE:
            raise ValueError(f"it has {path.stat().st_size} bytes")
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise DataError(f"Cannot read {path} ({error})", fix="Copy the file again.") from error
    if not isinstance(content, dict):
        raise DataError(f"{path} holds no JSON object", got=type(content).__name__, fix="Copy the file again.")
    return content


def _read_two_files(folder: Path, ends: Sequence[str]) -> dict[str, Any]:
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
    known = [end for end in (*ends, *_USUAL_ENDS) if end in vocabulary]
    added = [added_token(end, vocabulary[end]) for end in dict.fromkeys(known)]
    cutting = byte_level(use_regex=True)
    return {"model": model, "added_tokens": added, "pre_tokenizer": cutting, "decoder": cutting}


@lru_cache(maxsize=2)
def _read_once(content: str, name: str, own_pattern: str, ends: tuple[str, ...], ids: tuple[int, ...]) -> Tokenizer:
    """By content: a command asks for the same tokenizer several times, and checking GPT-2's takes a second."""
    known = _mark_control(json.loads(content))
    specials = {entry["content"]: entry["id"] for entry in known["added_tokens"] if entry["special"]}
    end = _choose_end(specials, ends, ids)
    try:
        return _read(known, specials, name, own_pattern, end)
    except _Elsewhere as reason:
        try:
            return LibraryTokenizer(name, known, end)
        except DataError as error:
            raise DataError(f"{str(error).rstrip('.')} (tiktoken cannot stand in: {reason})") from error


def _mark_control(content: Mapping[str, Any]) -> dict[str, Any]:
    """The same with merges as pairs, and with every added token that is written like a control token marked as one."""
    added = []
    for entry in content.get("added_tokens") or []:
        text = str(entry["content"])
        special = bool(entry.get("special")) or _CONTROL.fullmatch(text) is not None
        added.append({**entry, "content": text, "id": _check_id(entry["id"], text), "special": special})
    model = dict(content["model"])
    if "merges" in model:
        merges = [merge.split(" ") if isinstance(merge, str) else list(merge) for merge in model["merges"]]
        wrong = [merge for merge in merges if len(merge) != 2]
        if wrong:
            raise DataError(f"{' '.join(wrong[0])!r} is no merge of two tokens", fix="Copy the file again.")
        model["merges"] = merges
    return {**content, "model": model, "added_tokens": added}


def _choose_end(specials: Mapping[str, int], names: Sequence[str], ids: Sequence[int]) -> str:
    texts = {number: text for text, number in specials.items()}
    known = [name for name in names if name in specials]
    known += [texts[number] for number in ids if number in texts]
    known += [name for name in _USUAL_ENDS if name in specials]
    if not known:
        named = f"none of its {len(specials)} special tokens is" if specials else "it has no special token and names no"
        raise DataError(
            f"this tokenizer has nothing to stand between documents: {named} eos_token or {', '.join(_USUAL_ENDS)}",
            fix=f'Name one in {SETTINGS_FILE} beside it: {{"eos_token": "..."}}.',
        )
    return known[0]


def _read(content: Mapping[str, Any], specials: Mapping[str, int], name: str, own_pattern: str, end: str) -> Tokenizer:
    """As a tokenizer of ours."""
    model = content["model"]
    kind = model.get("type", "BPE")
    if kind == "WordLevel":
        return _read_chars(content, specials)
    if kind != "BPE":
        _refuse(f"its model is {kind}")
    _check_plain(content)
    ranks = _read_ranks(model["vocab"], specials)
    merges = model.get("merges") or []
    if not merges and _is_bytes(content, ranks, specials):
        return ByteTokenizer()
    _check_merges(ranks, merges, whole_words=bool(model.get("ignore_merges")))
    pattern, pattern_name = _read_pattern(content.get("pre_tokenizer") or {}, own_pattern)
    tokens = [b""] * (max(ranks.values()) + 1)
    for token, number in ranks.items():
        tokens[number] = token
    form = content.get("normalizer")
    vocabulary = Vocabulary(
        name,
        pattern,
        tuple(tokens),
        dict(specials),
        end_of_text=end,
        normalization=None if form is None else str(form["type"]),
        pattern_name=pattern_name,
    )
    return EncodingTokenizer(vocabulary)


def _refuse(reason: str) -> NoReturn:
    raise _Elsewhere(reason)


def _check_id(number: Any, text: str) -> int:
    if not isinstance(number, int) or isinstance(number, bool) or not 0 <= number < LARGEST_ID:
        raise DataError(f"the id of {text!r} is {number!r}", allowed=f"0 to {LARGEST_ID - 1}")
    return number


def _check_plain(content: Mapping[str, Any]) -> None:
    """Options of a BPE that change ids and that tiktoken does not have."""
    model, form = content["model"], content.get("normalizer")
    ordinary = [entry["content"] for entry in content["added_tokens"] if not entry["special"]]
    if ordinary:
        _refuse(f"the added token {ordinary[0]!r} stands for ordinary text")
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
        raise DataError("two of its tokens have one id", fix="Copy the file again.")
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


def _check_merges(ranks: Mapping[bytes, int], merges: Sequence[Sequence[str]], *, whole_words: bool) -> None:
    values = {letter: value for value, letter in enumerate(byte_letters())}
    pairs: set[tuple[bytes, bytes]] = set()
    made: set[bytes] = set()
    latest = -1
    for merge in merges:
        if any(letter not in values for part in merge for letter in part):
            _refuse(f"its merge {' '.join(merge)!r} is none of bytes")
        first, second = (bytes([values[letter] for letter in part]) for part in merge)
        number = ranks.get(first + second)
        if number is None:
            raise DataError(f"its merge {' '.join(merge)!r} makes no token", fix="Copy the file again.")
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
    if written not in _PATTERNS:
        _refuse(f"it cuts text by {written!r}, which is not known to match every text")
    if own and rewrite_pattern(own) == written:
        return own, None
    return written, own if own.startswith("tiktoken:") else None
