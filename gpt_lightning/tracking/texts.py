"""Texts of the Text tab, as Markdown."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class WorstToken:
    """A token that the model did not expect.

    Attributes:
        loss: Nats.
        before: The text in front of it.
        token: Its own text.
        window: Number of its validation window.
        position: In the window.
    """

    loss: float
    before: str
    token: str
    window: int
    position: int


def describe_code(text: str, language: str = "") -> str:
    """Text that is shown as it is."""
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}{language}\n{text}\n{fence}\n"


def describe_table(headers: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """A table whose cells are shown as they are."""
    lines = [f"| {' | '.join(headers)} |", f"|{'---|' * len(headers)}"]
    lines += [f"| {' | '.join(_cell(entry) for entry in row)} |" for row in rows]
    return "\n".join(lines) + "\n"


def write_setting(value: object) -> str:
    """A value as one types it in a config file.

    >>> write_setting(None), write_setting(True), write_setting([1, None]), write_setting("text")
    ('null', 'true', '[1, null]', 'text')
    """
    return value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)


def _cell(value: object) -> str:
    text = re.sub(r"([\\`*_{}\[\]<>()#+!|~-])", r"\\\1", " ".join(write_setting(value).split()))
    return text or " "


def describe_changes(old: Mapping[str, object], new: Mapping[str, object], old_name: str, new_name: str) -> str:
    """Flat settings that differ between two configurations.

    >>> print(describe_changes({"a": 1, "b": 2}, {"a": 1, "b": 3}, "default", "here"))
    | setting | default | here |
    |---|---|---|
    | b | 2 | 3 |
    <BLANKLINE>
    """
    absent = "(not set)"
    rows = [
        (key, old.get(key, absent), new.get(key, absent))
        for key in sorted(old.keys() | new.keys())
        if old.get(key, absent) != new.get(key, absent)
    ]
    return describe_table(("setting", old_name, new_name), rows) if rows else "Nothing differs.\n"


def describe_facts(facts: Mapping[str, Any]) -> str:
    """Names and values as a table; nested ones with dotted names."""
    return describe_table(("", ""), _walk(facts))


def _walk(facts: Mapping[str, Any], prefix: str = "") -> Iterable[tuple[str, object]]:
    for key, value in facts.items():
        if isinstance(value, Mapping) and value:
            yield from _walk(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def describe_sample(prompt: str, continuation: str) -> str:
    """A prompt and how the model goes on."""
    return f"Prompt\n\n{describe_code(prompt)}\ngoes on\n\n{describe_code(continuation)}"


def describe_worst(tokens: Sequence[WorstToken]) -> str:
    """The worst predicted tokens with the text before them."""
    rows = [
        (f"{entry.loss:.2f}", entry.window, entry.position, repr(entry.before), repr(entry.token)) for entry in tokens
    ]
    return describe_table(("loss, nats", "window", "position", "text before", "token"), rows)
