"""What is taken out of texts before they are written down."""

from __future__ import annotations

import importlib
import re
from collections.abc import Callable

from gpt_lightning.errors import ConfigError

Redact = Callable[[str], str]
_MARKS = (
    (re.compile(r"[\w.+-]+@[\w-]+(?:\.[\w-]+)+"), "<email>"),
    # Seven digits or more, however they are grouped: phone, card, account and identity numbers.
    (re.compile(r"(?<![\w.])\+?\d(?:[ ()./-]{0,2}\d){6,}[Xx]?(?!\w)"), "<number>"),
)


def redact_contacts(text: str) -> str:
    """A text without e-mail addresses and without long numbers (phone, card, identity).

    >>> redact_contacts("Write to ada@example.org or call +49 (30) 1234-567, room 12.")
    'Write to <email> or call <number>, room 12.'
    """
    for pattern, mark in _MARKS:
        text = pattern.sub(mark, text)
    return text


def find_redaction(name: str) -> Redact | None:
    """The redaction of a name.

    Args:
        name: ``none``, ``contacts``, or ``package.module.function`` of somebody's own.

    Raises:
        ConfigError: There is no such function.
    """
    known: dict[str, Redact | None] = {"none": None, "contacts": redact_contacts}
    if name in known:
        return known[name]
    module, _, function = name.rpartition(".")
    try:
        found: Redact = getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            "There is no such redaction", got=name, allowed="none, contacts, or package.module.function"
        ) from error
    return found
