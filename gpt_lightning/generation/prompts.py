r"""Prompt files: JSON lines in, one request each, with settings of their own where a line has them.

    {"prompt": "Once upon", "id": "a1"}
    {"prompt": "The end", "temperature": 0, "max_tokens": 20, "stop": ["\n"]}

Everything is read and checked before the first token is written, so that a mistake in the last line costs seconds.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError, DataError, UserError
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.generation.text import TextTokenizer, encode_prompt

_SAMPLING = tuple(field.name for field in fields(Sampling))
_COUNTS = ("max_tokens", "seed", "n", "logprobs", "draft_tokens")
SETTINGS = (*_SAMPLING, *_COUNTS, "stop", "slide", "adapter")
"""Names that a line may set for itself."""
_WHOLE = (*_COUNTS, "top_k")
_OPEN = ("top_k", "top_p", "min_p", "logprobs", "logit_bias")
"""Settings that may be null."""
_PLAIN: dict[str, tuple[type, str, str]] = {
    "slide": (bool, "true or false", "true, false"),
    "adapter": (str, "a name", 'the name of its folder, or "" for none'),
}
"""Settings of one type: what that is, and its values."""


@dataclass(frozen=True)
class Prompt:
    """A line of a prompt file.

    Attributes:
        number: Of the line, from 1.
        name: Its ``id``, or its number.
        text: The prompt.
        request: What the engine is asked.
    """

    number: int
    name: str | int
    text: str
    request: Request


def build_request(tokenizer: TextTokenizer, prompt: str, settings: Mapping[str, Any]) -> Request:
    """The request for a prompt.

    Args:
        tokenizer: Encodes the prompt.
        prompt: Text, the beginning of a document; may be empty.
        settings: Values by the names of ``SETTINGS``; those left out take their defaults.

    Raises:
        ConfigError: A setting is unknown, of the wrong type or out of range.
        DataError: The tokenizer does not know a character.
    """
    values = {name: _check_type(name, value) for name, value in settings.items()}
    sampling = Sampling(**{name: values.pop(name) for name in _SAMPLING if name in values})
    return Request(encode_prompt(tokenizer, prompt), sampling=sampling, **values)


def _check_type(name: str, value: Any) -> Any:
    if name not in SETTINGS:
        raise ConfigError("unknown setting", got=name, allowed=", ".join(("prompt", "id", *SETTINGS)))
    if value is None and name in _OPEN:
        return None
    if name == "stop":
        value = (value,) if isinstance(value, str) else value
        if isinstance(value, list | tuple) and all(isinstance(each, str) for each in value):
            return tuple(value)
        raise ConfigError("stop is not a string or a list of strings", got=value)
    if name in _PLAIN:
        kind, wanted, allowed = _PLAIN[name]
        if isinstance(value, kind):
            return value
        raise ConfigError(f"{name} is not {wanted}", got=value, allowed=allowed)
    if name == "logit_bias":
        return _check_bias(value)
    kinds, wanted = ((int,), "a whole number") if name in _WHOLE else ((int, float), "a number")
    if isinstance(value, bool) or not isinstance(value, kinds):
        raise ConfigError(f"{name} is not {wanted}", got=value)
    return value if name in _WHOLE else float(value)


def _check_bias(value: Any) -> dict[int, float]:
    try:
        return {int(token): float(bias) for token, bias in dict(value).items()}
    except (TypeError, ValueError):
        raise ConfigError(
            "logit_bias is not a table of token ids and numbers", got=value, allowed='{"50256": -100}'
        ) from None


def read_prompts(path: Path, tokenizer: TextTokenizer, settings: Mapping[str, Any]) -> list[Prompt]:
    """All requests of a file; a line's own settings count more than ``settings``. Empty lines are passed over.

    Raises:
        DataError: The file cannot be read or holds no prompt; a line is not UTF-8, not a JSON object, has no prompt,
            or a setting that cannot be: the message names file and line.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError as problem:
        raise DataError(f"cannot read the prompts {path} ({problem.strerror})", fix="Check --input.") from problem
    prompts = [
        _read_line(line, number, path, tokenizer, settings) for number, line in enumerate(lines, 1) if line.strip()
    ]
    if not prompts:
        raise DataError(f"{path} holds no prompt", allowed='lines such as {"prompt": "Once upon"}')
    return prompts


def _read_line(line: bytes, number: int, path: Path, tokenizer: TextTokenizer, settings: Mapping[str, Any]) -> Prompt:
    place = f"{path} line {number}"
    try:
        found = json.loads(line.decode("utf-8-sig" if number == 1 else "utf-8"))
    except UnicodeDecodeError as problem:
        raise DataError(f"{place} is not UTF-8 (byte {problem.start})", fix="Save the file as UTF-8.") from None
    except ValueError as problem:
        raise DataError(f"{place} is not JSON ({problem})", allowed='{"prompt": "..."}') from None
    if not isinstance(found, dict) or not isinstance(found.get("prompt"), str):
        raise DataError(f"{place} has no prompt", allowed='{"prompt": "..."}', fix="Give every line a text.")
    text, name = found.pop("prompt"), found.pop("id", number)
    if isinstance(name, bool) or not isinstance(name, str | int):
        raise DataError(f"{place} has an id that is neither a string nor a whole number", got=name)
    try:
        return Prompt(number, name, text, build_request(tokenizer, text, {**settings, **found}))
    except UserError as problem:
        raise DataError(f"{place}: {str(problem).rstrip('.')}") from problem
