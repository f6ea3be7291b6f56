"""Pages of help: an entry for each setting, in the width of the terminal."""

from __future__ import annotations

import re
import shutil
import textwrap
from collections.abc import Mapping

from gpt_lightning.parsing.signatures import Parameter

_INDENT = 30


def tell(parameter: Parameter) -> str:
    """What a page says of a parameter: its text, with the default."""
    text = parameter.text.replace("``", "")
    if parameter.default is None or "Default:" in text:
        return text
    return f"{text} (default: {_plain(parameter.default)})"


def _plain(default: str) -> str:
    """A default as one types it."""
    words = {"None": "null", "True": "true", "False": "false", "field(default_factory=list)": "[]"}
    return words.get(default, re.sub(r"^(\w+)\(\)$", r"\1", default).strip("'"))


def list_classes(known: Mapping[str, Mapping[str, Parameter]]) -> list[str]:
    """Lines for the classes that a setting takes, each with its arguments."""
    lines = []
    for name, parameters in known.items():
        lines += _wrap(f"{name}: {', '.join(parameters)}" if parameters else name)
    return lines


def entry(key: str, text: str) -> list[str]:
    """The lines of a setting."""
    head, body = f"  --{key}", _wrap(text)
    if len(head) >= _INDENT - 1:
        return [head, *body]
    return [f"{head:<{_INDENT}}{body[0].lstrip() if body else ''}".rstrip(), *body[1:]]


def _wrap(text: str) -> list[str]:
    width = max(_INDENT + 20, min(100, shutil.get_terminal_size().columns))
    return [f"{'':{_INDENT}}{line}" for line in textwrap.wrap(text, width - _INDENT, break_on_hyphens=False)]
