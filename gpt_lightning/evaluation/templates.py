"""Texts with holes: ``Question: {question} Answer: {choice}``."""

from __future__ import annotations

import re
from collections.abc import Mapping

from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.rows import Row

_HOLE = re.compile(r"\{([^{}\n]+)\}")


class Template:
    """A text with fields of a row in braces; dots lead into objects and lists (``{target.span1_text}``).

    Args:
        text: The text; braces around anything else cannot be written.
        setting: Name of the setting, for messages.

    Raises:
        ConfigError: Braces that do not match.
    """

    def __init__(self, text: str, setting: str) -> None:
        rest = _HOLE.sub("", text)
        if "{" in rest or "}" in rest:
            raise ConfigError(
                f"{setting} is not a template", got=text, allowed="{field}", fix="Close every brace around a field."
            )
        self.text = text
        self.fields = list(dict.fromkeys(_HOLE.findall(text)))

    def fill(self, row: Row, values: Mapping[str, str] | None = None) -> str:
        """The text of a row.

        Args:
            row: Its fields; a list is written with commas, anything else but text as Python shows it.
            values: Further fields, which win.

        Raises:
            DataError: The row has no such field.
        """
        known = values or {}
        return _HOLE.sub(lambda hole: known[hole[1]] if hole[1] in known else _write(row.pick(hole[1])), self.text)


def _write(value: object) -> str:
    return ", ".join(map(_write, value)) if isinstance(value, list) else str(value)
