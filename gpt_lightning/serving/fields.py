"""The parameters of a request, by tables: each name is read by a rule, refused with a reason, or unknown.

A rule takes a JSON value and returns ours, or raises ``ValueError`` with what would have been allowed. ``null`` counts
as left out, as in OpenAI's API. Nothing is ignored: a parameter that is not honoured is refused unless its value asks
for nothing.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gpt_lightning.parsing.suggest import did_you_mean
from gpt_lightning.serving.api_errors import ApiError

Rule = Callable[[Any], Any]
_SHOWN = 60
_SEED = 1 << 63
_MOST_STOPS = 4


@dataclass(frozen=True)
class Refused:
    """A documented parameter that this server does not honour.

    Attributes:
        reason: A whole sentence.
        neutral: Values that ask for nothing, and pass.
    """

    reason: str
    neutral: tuple[Any, ...] = ()


def read_fields(body: Any, rules: Mapping[str, Rule], refused: Mapping[str, Refused]) -> dict[str, Any]:
    """The values of a request that are given.

    Args:
        body: The parsed JSON.
        rules: What is honoured.
        refused: What is documented and not honoured.

    Raises:
        ApiError: The body is no object; a parameter is unknown, not honoured, or has a value that cannot be.
    """
    if not isinstance(body, dict):
        raise ApiError("The body is not a JSON object.", code="invalid_body")
    values = {}
    for name, value in body.items():
        if value is None:
            continue
        if name in rules:
            values[name] = _read(name, value, rules[name])
        elif name in refused:
            _refuse(name, value, refused[name])
        else:
            advice = did_you_mean(name[:_SHOWN], rules) or f"Known: {', '.join(sorted(rules))}."
            raise ApiError(
                f"There is no parameter {_show(name)}. {advice}", param=name[:_SHOWN], code="unknown_parameter"
            )
    return values


def require(values: Mapping[str, Any], name: str) -> Any:
    """A value that must be there.

    Raises:
        ApiError: It is not.
    """
    if name not in values:
        raise ApiError(f"{name} is missing.", param=name, code="missing_required_parameter")
    return values[name]


def _read(name: str, value: Any, rule: Rule) -> Any:
    try:
        return rule(value)
    except ValueError as problem:
        raise ApiError(
            f"{name} cannot be {_show(value)} (allowed: {problem}).", param=name, code="invalid_value"
        ) from None


def _refuse(name: str, value: Any, refusal: Refused) -> None:
    # By text: 1 == True in Python.
    if not any(json.dumps(value) == json.dumps(each) for each in refusal.neutral):
        raise ApiError(
            f"{name} is not supported: {refusal.reason}. Leave it out.", param=name, code="unsupported_parameter"
        )


def _show(value: Any) -> str:
    try:
        text = json.dumps(value, ensure_ascii=True)
    except (RecursionError, ValueError):
        text = type(value).__name__
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}..."


def number(least: float, most: float, *, above: bool = False) -> Rule:
    """A number of a range; ``above`` = the lower end excluded."""
    allowed = f"a number {'above' if above else 'from'} {least:g} to {most:g}"

    def read(value: Any) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not _within(value, least, most):
            raise ValueError(allowed)
        if above and value == least:
            raise ValueError(allowed)
        return float(value)

    return read


def _within(value: float, least: float, most: float) -> bool:
    # A whole number may be too large to become a float; comparing does not convert it.
    return least <= value <= most


def whole(least: int, most: int) -> Rule:
    """A whole number of a range."""

    def read(value: Any) -> int:
        if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
            raise ValueError(f"a whole number from {least:,} to {most:,}")
        return value

    return read


def flag(value: Any) -> bool:
    """True or false."""
    if not isinstance(value, bool):
        raise ValueError("true or false")
    return value


def text(value: Any) -> str:
    """A string that can be written as UTF-8: half a surrogate pair, which JSON can hold, cannot."""
    if not isinstance(value, str):
        raise ValueError("a string")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise ValueError("text of whole Unicode characters") from None
    return value


def stops(value: Any) -> tuple[str, ...]:
    """Strings that end a text, one or several."""
    found = (value,) if isinstance(value, str) else value
    if not isinstance(found, list | tuple) or not 1 <= len(found) <= _MOST_STOPS or "" in found:
        raise ValueError(f"a string, or 1 to {_MOST_STOPS} of them, none empty")
    return tuple(text(each) for each in found)


def bias(value: Any) -> dict[int, float]:
    """Numbers by token ids."""
    allowed = "an object of token ids and numbers from -100 to 100"
    if not isinstance(value, dict):
        raise ValueError(allowed)
    read = number(-100, 100)
    found = {}
    for key, added in value.items():
        if not (key.isascii() and key.isdigit() and len(key) <= 9):
            raise ValueError(allowed)
        try:
            found[int(key)] = read(added)
        except ValueError:
            raise ValueError(allowed) from None
    return found


def one_of(*choices: Any) -> Rule:
    """One of several values."""

    def read(value: Any) -> Any:
        if value not in choices:
            raise ValueError(", ".join(json.dumps(each) for each in choices))
        return value

    return read


def list_of(rule: Rule, most: int, what: str) -> Rule:
    """A list of 1 to ``most`` things."""

    def read(value: Any) -> list[Any]:
        if not isinstance(value, list) or not 1 <= len(value) <= most:
            raise ValueError(f"a list of 1 to {most:,} {what}")
        return [rule(each) for each in value]

    return read


def stream_options(value: Any) -> bool:
    """Whether a stream ends with its usage."""
    allowed = '{"include_usage": true or false}'
    if not isinstance(value, dict) or not set(value) <= {"include_usage", "include_obfuscation"}:
        raise ValueError(allowed)
    if value.get("include_obfuscation"):
        raise ValueError(f"{allowed}; nothing is padded here")
    wanted = value.get("include_usage", False)
    if not isinstance(wanted, bool):
        raise ValueError(allowed)
    return wanted


SAMPLING: dict[str, Rule] = {
    "temperature": number(0, 2),
    "top_p": number(0, 1, above=True),
    "presence_penalty": number(-2, 2),
    "frequency_penalty": number(-2, 2),
    "logit_bias": bias,
    # Beyond OpenAI's.
    "top_k": whole(1, 1 << 31),
    "min_p": number(0, 1),
    "repetition_penalty": number(0, 100, above=True),
}
"""How tokens are chosen; the names are those of ``generation.sampling.Sampling``."""
WRITING: dict[str, Rule] = {
    **SAMPLING,
    "model": text,
    "n": whole(1, 128),
    "seed": whole(-_SEED, _SEED - 1),
    "stop": stops,
    "stream": flag,
    "stream_options": stream_options,
    "user": text,
    "max_tokens": whole(0, 1 << 31),
    "draft_tokens": whole(0, 64),
}
"""What both endpoints that write take."""


def finite(value: str) -> float:
    """A JSON number; 1e999 is none.

    Raises:
        ValueError: It is not finite.
    """
    found = float(value)
    if not math.isfinite(found):
        raise ValueError("a number is too large")
    return found


def refuse_constant(value: str) -> Any:
    """NaN and infinities are no JSON.

    Raises:
        ValueError: Always.
    """
    raise ValueError(f"{value} is no JSON")


def parse_json(body: bytes) -> Any:
    """A request's body.

    Raises:
        ApiError: It is not JSON in UTF-8, or nested too deeply.
    """
    try:
        return json.loads(body.decode("utf-8"), parse_float=finite, parse_constant=refuse_constant)
    except UnicodeDecodeError as problem:
        raise ApiError(f"The body is not UTF-8 (byte {problem.start}).", code="invalid_body") from None
    except RecursionError:
        raise ApiError("The body is nested too deeply.", code="invalid_body") from None
    except ValueError as problem:
        raise ApiError(f"The body is not JSON ({str(problem)[:_SHOWN]}).", code="invalid_body") from None


_MOST_TEXTS = 1024


def token_lists(value: Any, most: int) -> list[str | list[int]]:
    """Prompts in each of OpenAI's four shapes: a text, several, token ids, several lists of them."""
    if isinstance(value, str):
        return [text(value)]
    if not isinstance(value, list) or not value:
        raise ValueError("a string, strings, token ids, or lists of token ids")
    if all(_is_id(each) for each in value):
        return [value]
    if len(value) > most:
        raise ValueError(f"at most {most:,} prompts")
    return [text(each) if isinstance(each, str) else _ids(each) for each in value]


def texts(value: Any) -> list[list[str]]:
    """What is to be labelled: a text, several, or several in parts (the two of a pair, words)."""
    given = [value] if isinstance(value, str) else value
    if not isinstance(given, list) or not 0 < len(given) <= _MOST_TEXTS:
        raise ValueError(f"a string, or 1 to {_MOST_TEXTS:,} strings or lists of strings")
    parts = [each if isinstance(each, list) else [each] for each in given]
    if not all(parts):
        raise ValueError("a string, strings, or lists of strings that are not empty")
    return [[text(part) for part in each] for each in parts]


def _ids(value: Any) -> list[int]:
    if not isinstance(value, list) or not value or not all(_is_id(each) for each in value):
        raise ValueError("a string, strings, token ids, or lists of token ids")
    return value


def _is_id(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 1 << 31


def message_parts(value: Any) -> str:
    """What is said in a message: a string, or parts of type text."""
    if isinstance(value, str):
        return text(value)
    if not isinstance(value, list):
        raise ValueError("a content that is a string, or parts of type text")
    parts: Sequence[Any] = value
    if not all(isinstance(each, dict) and set(each) == {"type", "text"} and each["type"] == "text" for each in parts):
        raise ValueError('parts {"type": "text", "text": "..."}; this model reads text only')
    return "\n".join(text(each["text"]) for each in parts)
