"""What passes through a layout: an example, understood, and the documents that it becomes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy.typing as npt


@dataclass(frozen=True)
class Example:
    """One record, read and understood.

    Attributes:
        text: All that will be encoded: vocabularies are learned from it, and equal texts are duplicates.
        key: What would be the same again on another side of a split, normalized; its hash chooses the side.
        content: What the layout encodes.
        group: What is hashed instead, where the user names a field for it; empty = the key.
        side: The split that the data themselves state; empty = the hash decides.
    """

    text: str
    key: str
    content: Any = None
    group: str = ""
    side: str = ""


@dataclass(frozen=True)
class Encoded:
    """One document.

    Attributes:
        ids: Its tokens, end-of-text in front left out, ``(tokens,)``.
        columns: What stands beside: ``(tokens,)`` for a column per token, ``(width,)`` or a number per document.
    """

    ids: npt.NDArray[Any]
    columns: Mapping[str, Any] = field(default_factory=dict)
