"""JSON that is read to decide something, with a checksum over itself: a flipped digit is no other number."""

from __future__ import annotations

import hashlib
import json
from typing import Any

SEAL = "sha256"
"""Name of the checksum among the entries."""


def seal(content: dict[str, Any]) -> dict[str, Any]:
    """The same with a checksum in it."""
    return {**content, SEAL: _digest(content)}


def unseal(sealed: dict[str, Any]) -> dict[str, Any]:
    """The content without its checksum; what was written before there were any is taken as it is.

    Raises:
        ValueError: The checksum is that of another content.
    """
    content = {name: value for name, value in sealed.items() if name != SEAL}
    if SEAL in sealed and sealed[SEAL] != (found := _digest(content)):
        raise ValueError(f"its content has SHA-256 {found[:12]}, it states {str(sealed[SEAL])[:12]}")
    return content


def _digest(content: dict[str, Any]) -> str:
    # Spaces and the order of names are no content.
    return hashlib.sha256(json.dumps(content, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
