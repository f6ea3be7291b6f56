"""Records that cannot be used: refused (the default), or left out, counted and named (``data.bad_records``)."""

from __future__ import annotations

from gpt_lightning.errors import DataError

BAD_RECORDS = ("refuse", "skip")
"""What ``data.bad_records`` may say."""
MOST_NAMED = 20
"""Of those left out; all are counted."""


class BadRecord(DataError):
    """One record of a file cannot be used; the others can."""

    def __init__(self, problem: str, *, got: object, allowed: str = "", fix: str = "") -> None:
        super().__init__(problem, got=got, allowed=allowed, fix=f"{fix} Or leave such out: data.bad_records skip.")
        self.brief = f"{problem}: got {got!r}"
