"""Lines and JSON records of files, with their places for messages.

Back from the tokenization of old corpora to plain text, which is what models are trained on.

GPT-2's numbers on WikiText and the Penn Treebank use such detokenizers (2.5 to 5 points of perplexity, section 3.1 of
the paper); theirs are not published, so ours are stated here. Perplexity is still per word of the *original* text.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from gpt_lightning.errors import DataError


def read_texts(path: Path, field: str) -> list[tuple[Any, str]]:
    """A text a line (or a record a line, in .jsonl), with its place; an empty line of plain text is an empty text.

    Raises:
        DataError: Not there, not UTF-8, not JSON, or a record without the field; names file and line.
    """
    lines = read_lines(path)
    if path.suffix not in (".jsonl", ".ndjson"):
        return [(line, f"{path}:{number}") for number, line in lines]
    return [
        (pick_field(parse_record(line, f"{path}:{number}"), field, f"{path}:{number}"), f"{path}:{number}")
        for number, line in lines
        if line.strip()
    ]


def read_lines(path: Path) -> list[tuple[int, str]]:
    """The lines of a UTF-8 file and their numbers, from 1.

    Raises:
        DataError: It cannot be read; names the line that is not UTF-8.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise DataError(f"Cannot read {path} ({error.strerror})", fix="Check the path.") from error
    lines = data.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    decoded = []
    for number, line in enumerate(lines[:-1] if not lines[-1] else lines, start=1):
        try:
            decoded.append((number, line.decode("utf-8").removesuffix("\r")))
        except UnicodeDecodeError as error:
            raise DataError(
                f"{path}:{number} is not UTF-8 ({error.reason})",
                got=line[max(0, error.start - 8) : error.start + 8],
                fix="Convert the file to UTF-8.",
            ) from error
    return decoded


def parse_record(line: str, place: str) -> dict[str, Any]:
    """The JSON object of a line.

    Raises:
        DataError: It is none.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise DataError(
            f"{place} is not JSON ({error})", got=line[:60], fix="Write one JSON object per line."
        ) from error
    if not isinstance(record, dict):
        raise DataError(f"{place} is not a JSON object", got=type(record).__name__, fix="Write one object per line.")
    return record


def pick_field(record: dict[str, Any], field: str, place: str) -> Any:
    """The value of a field; dots lead into objects and lists (``target.span1_text``, ``answers.0.text``).

    Raises:
        DataError: There is no such field; lists those there are.
    """
    value: Any = record
    for part in field.split("."):
        if isinstance(value, dict) and part in value:
            value = value[part]
        elif isinstance(value, list) and part.isdigit() and int(part) < len(value):
            value = value[int(part)]
        else:
            known = ", ".join(map(str, value)) if isinstance(value, dict) else f"{type(value).__name__}"
            raise DataError(f"{place} has no field {field!r}", got=known[:80], fix="Correct the name of the field.")
    return value


_CONTRACTIONS = re.compile(r" (n't|'s|'re|'ve|'ll|'d|'m)\b", re.IGNORECASE)
_BRACKETS = {"-LRB-": "(", "-RRB-": ")", "-LSB-": "[", "-RSB-": "]", "-LCB-": "{", "-RCB-": "}"}


def keep_text(text: str) -> str:
    """The text as it is."""
    return text


def detokenize_wikitext(text: str) -> str:
    """WikiText: ``@-@``, ``@,@`` and ``@.@`` inside words, spaces around punctuation, brackets and quotes.

    ``<unk>``, headings (`` = Title = ``) and line ends stay.
    """
    text = re.sub(r" @([-,.])@ ", r"\1", text)
    text = re.sub(r" ([,.;:!?%)\]])", r"\1", text)
    text = re.sub(r"([(\[$£]) ", r"\1", text)
    text = re.sub(r'" ([^"\n]*?) "', r'"\1"', text)
    return _CONTRACTIONS.sub(r"\1", text)


def detokenize_ptb(text: str) -> str:
    """The Penn Treebank as prepared by Mikolov, and the Children's Book Test: contractions, quotes, brackets.

    ``<unk>`` and ``N`` (a number) stay.
    """
    for mark, sign in _BRACKETS.items():
        text = text.replace(mark, sign)
    text = re.sub(r"(?:``|'') ?(.*?) ?''", r'"\1"', text)
    text = text.replace("``", '"').replace("''", '"')
    text = _CONTRACTIONS.sub(r"\1", text)
    text = re.sub(r" ([,.;:!?%)\]])", r"\1", text)
    text = re.sub(r"([(\[$#]) ", r"\1", text)
    return re.sub(r" ' (?=\w)", r"' ", text)


DETOKENIZERS = {"none": keep_text, "wikitext": detokenize_wikitext, "ptb": detokenize_ptb}


def count_words(text: str) -> int:
    """Words between spaces, and one end of sentence for every line: how perplexities of these corpora are counted."""
    return len(text.split()) + text.count("\n") + (not text.endswith("\n"))


UNITS = {"word": count_words, "character": len, "byte": lambda text: len(text.encode("utf-8"))}
"""What a published number divides by, of the stored text."""
