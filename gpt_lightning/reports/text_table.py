"""Tables for terminals: numbers at the right, and no line wider than the screen."""

from __future__ import annotations

import shutil
import sys
import unicodedata
from collections.abc import Sequence

from gpt_lightning.reports.numbers import clean, format_number

_GAP = "  "
_PAINT = {"running": 34, "finished": 32, "stopped": 35, "failed": 31, "crashed": 31, "stale": 33}


def screen_width() -> int:
    """Columns of the terminal; 120 where there is none."""
    return shutil.get_terminal_size((120, 24)).columns


def format_table(headers: Sequence[str], rows: Sequence[Sequence[object]], *, width: int | None = None) -> str:
    """Lines of a table.

    Args:
        headers: Names of the columns, the most important ones first: columns for which there is no room are left out,
            and the last line says which.
        rows: Cells: texts, numbers, None.
        width: Most columns of characters; None = the terminal's.
    """
    limit = width or screen_width()
    texts = [[clean(format_number(cell)).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(_cells(cell) for cell in column) for column in zip(headers, *texts, strict=True)]
    widths[0] = min(widths[0], max(12, limit // 2))
    shown = len(headers)
    while shown > 2 and sum(widths[:shown]) + len(_GAP) * (shown - 1) > limit:
        shown -= 1
    if shown <= 2:
        widths[1] = max(8, min(widths[1], limit - widths[0] - len(_GAP)))
    numbers = [all(row[n] is None or _is_number(row[n]) for row in rows) and bool(rows) for n in range(shown)]
    lines = [_line(row[:shown], widths, numbers) for row in [list(headers), *texts]]
    lines.insert(1, _GAP.join("─" * size for size in widths[:shown]))
    if shown < len(headers):
        lines.append(f"(no room for: {', '.join(headers[shown:])})")
    return "\n".join(line.rstrip() for line in lines) + "\n"


def _is_number(cell: object) -> bool:
    # Numbers that were formatted by whoever made the table count as numbers too.
    return isinstance(cell, (int, float)) or (isinstance(cell, str) and cell[:1].isdigit())


def _line(cells: Sequence[str], widths: Sequence[int], numbers: Sequence[bool]) -> str:
    parts = []
    for cell, width, right in zip(cells, widths, numbers, strict=False):
        text = _cut(cell, width)
        space = " " * (width - _cells(text))
        parts.append(space + text if right else text + space)
    return _GAP.join(parts)


def _cells(text: str) -> int:
    """Columns that a text takes; wide characters take two."""
    return sum(2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text)


def _cut(text: str, width: int) -> str:
    if _cells(text) <= width:
        return text
    kept = ""
    for char in text:
        if _cells(kept + char) > width - 1:
            break
        kept += char
    return kept + "…"


def paint_states(text: str) -> str:
    """``text`` with the names of states in colour, on a terminal."""
    if not sys.stdout.isatty():
        return text
    for state, code in _PAINT.items():
        text = text.replace(f"  {state} ", f"  \x1b[{code}m{state}\x1b[0m ")
    return text
