"""From what a setting says to a tokenizer: a name, a size to learn, a saved file, a folder of Hugging Face."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

from gpt_lightning.data.tokenizers.bpe import DEFAULT_PATTERN, PATTERNS, replace_surrogates, train_vocabulary
from gpt_lightning.data.tokenizers.kinds import (
    ByteTokenizer,
    CharTokenizer,
    EncodingTokenizer,
    from_description,
)
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.data.tokenizers.tokenizer_json_reading import read_tokenizer_folder
from gpt_lightning.errors import DataError


def read_tokenizer(path: Path) -> Tokenizer:
    """Load a tokenizer saved by ``write_tokenizer``, or one in Hugging Face's layout.

    Raises:
        DataError: Unreadable, not JSON, not a tokenizer, or one that cannot be expressed.
    """
    if path.is_dir():
        return read_tokenizer_folder(path)
    try:
        description = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise DataError(f"Cannot read the tokenizer file {path} ({error})", fix="Check the path.") from error
    if not isinstance(description, dict):
        raise DataError(f"{path} is not a saved tokenizer", got=type(description).__name__, fix="Check the path.")
    if "model" in description:
        return read_tokenizer_folder(path)
    return from_description(description)


def resolve(spec: str, texts: Iterable[str] = ()) -> Tokenizer:
    """The tokenizer that a spec asks for, see the module's table.

    Args:
        spec: ``bytes``, ``chars``, ``bpe:SIZE``, ``bpe:SIZE:PATTERN``, the name of a tiktoken encoding or the path
            of a saved tokenizer.
        texts: The corpus; read only by ``chars`` and ``bpe``, which learn from it.

    Raises:
        DataError: The spec means nothing, or the vocabulary cannot be found.
    """
    if spec == "bytes":
        return ByteTokenizer()
    if spec == "chars":
        return CharTokenizer.from_texts(texts)
    if spec.startswith("bpe:"):
        size, pattern = parse_bpe(spec)
        return EncodingTokenizer(train_vocabulary(_clean(texts), size, pattern))
    if is_tokenizer_file(spec):
        return read_tokenizer(Path(spec).expanduser())
    return EncodingTokenizer(spec)


def is_tokenizer_file(spec: str) -> bool:
    """Whether a spec means a file: tiktoken's names hold neither a slash nor a suffix."""
    return "/" in spec or spec.endswith(".json")


def _clean(texts: Iterable[str]) -> Iterable[str]:
    return (replace_surrogates(text)[0] for text in texts)


def is_learned(spec: str) -> bool:
    """Whether a spec means a vocabulary learned from the corpus."""
    return spec == "chars" or spec.startswith("bpe:")


def parse_bpe(spec: str) -> tuple[int, str]:
    """Size and pattern of ``bpe:SIZE`` or ``bpe:SIZE:PATTERN``.

    Raises:
        DataError: The size is no number or out of range, or there is no such pattern.
    """
    digits, _, pattern = spec.removeprefix("bpe:").partition(":")
    # rustbpe panics below 256, and a panic is no Exception.
    if not (digits.isascii() and digits.isdigit() and 257 <= int(digits) <= 1 << 24):
        raise DataError(
            "The size of a trained vocabulary is a number of tokens, 256 of them the bytes",
            got=spec,
            allowed=f"bpe:257 to bpe:{1 << 24}",
            fix="Write bpe:4096.",
        )
    if pattern and pattern not in PATTERNS:
        raise DataError("No such pattern", got=spec, allowed=", ".join(PATTERNS), fix=f"Write bpe:{digits}:chinese.")
    return int(digits), pattern or DEFAULT_PATTERN
