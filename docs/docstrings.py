"""Examples in docstrings as code: mkdocstrings calls this for every docstring that the site shows."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_EXAMPLE = re.compile(r"^>>> .*(?:\n(?!\s*$).*)*", re.MULTILINE)
"""From a prompt to the next empty line: what doctest reads."""


class Examples(Extension):
    """Fences what doctest runs, and turns the ``::`` in front of an indented block into a colon."""

    def on_object(self, *, obj: Object, **_: Any) -> None:
        """Change a docstring in memory."""
        if obj.docstring is not None:
            text = _EXAMPLE.sub(lambda found: f"```pycon\n{found[0]}\n```", obj.docstring.value)
            obj.docstring.value = re.sub(r"::$", ":", text, flags=re.MULTILINE)
