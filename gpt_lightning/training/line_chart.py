"""Curves over steps as a drawing in characters; ``pages.charts`` makes pictures of them.

Written by hand because a plotting library would be the largest dependency by far for two polylines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

_TERMINAL_COLOURS = (34, 31, 32, 35, 33, 36, 37)
_BRAILLE = 0x2800
_DOTS = ((0x01, 0x02, 0x04, 0x40), (0x08, 0x10, 0x20, 0x80))
"""Bits of a braille character's 2 x 4 dots, by column and row."""


@dataclass(frozen=True)
class Curve:
    """One curve.

    Attributes:
        name: For the legend.
        points: (x, y) from left to right, at least one.
    """

    name: str
    points: list[tuple[float, float]]

    def at(self, x: float) -> float | None:
        """Height at ``x``, on the straight line between its neighbours; None outside the curve."""
        before = None
        for place, height in self.points:
            if place == x:
                return height
            if place > x:
                return None if before is None else _between(before, (place, height), x)
            before = (place, height)
        return None


def _between(left: tuple[float, float], right: tuple[float, float], x: float) -> float:
    share = (x - left[0]) / (right[0] - left[0])
    return left[1] + share * (right[1] - left[1])


def draw_text(curves: list[Curve], *, width: int = 72, height: int = 16, colours: bool = False) -> str:
    """The curves in characters, with axes and a legend; from y = 0 on.

    Args:
        curves: At least one.
        width: Columns of the drawing without its axis.
        height: Lines of it.
        colours: Tell the curves apart by escape sequences; otherwise several are drawn with a letter each.
    """
    right, top = find_limits(curves)
    letters = len(curves) > 1 and not colours
    cells: dict[tuple[int, int], tuple[int, int]] = {}
    for number, curve in enumerate(curves):
        for column, row in _dots(curve, right, top, width * 2, height * 4):
            place = (column // 2, row // 4)
            bits, owner = cells.get(place, (0, number))
            bits = bits if owner == number else 0
            cells[place] = (bits | _DOTS[column % 2][row % 4], number)
    lines = []
    for row in range(height):
        label = {0: top, height // 2: top / 2, height - 1: 0.0}.get(row)
        text = "".join(_character(cells.get((column, row)), letters, colours) for column in range(width))
        lines.append(f"{'' if label is None else f'{label:.3g}':>9} ┤{text.rstrip()}")
    middle = f"{right / 2:,.0f}"
    lines.append(" " * 10 + "└" + "─" * width)
    end = f"{right:,.0f} steps"
    start = "0".ljust(width // 2 - len(middle) // 2) + middle
    lines.append(" " * 11 + start + end.rjust(width - len(start)))
    for number, curve in enumerate(curves):
        mark = chr(ord("a") + number % 26) if letters else _paint("━━", number, colours)
        lines.append(f"{'':11}{mark}  {curve.name}")
    return "\n".join(lines) + "\n"


def find_limits(curves: list[Curve]) -> tuple[float, float]:
    """Largest step and largest height, neither of them 0."""
    right = max(x for curve in curves for x, _ in curve.points)
    top = max(y for curve in curves for _, y in curve.points)
    return max(right, 1.0), top or 1.0


def _dots(curve: Curve, right: float, top: float, columns: int, rows: int) -> Iterator[tuple[int, int]]:
    """Dots of a curve, filled up vertically so that a steep stretch stays a line."""
    before: int | None = None
    for column in range(columns):
        value = curve.at(right * column / (columns - 1))
        if value is None:
            continue
        row = round((1 - value / top) * (rows - 1))
        first = row if before is None or before == row else before + (1 if row > before else -1)
        for filled in range(min(first, row), max(first, row) + 1):
            yield column, filled
        before = row


def _character(cell: tuple[int, int] | None, letters: bool, colours: bool) -> str:
    if cell is None:
        return " "
    bits, number = cell
    return chr(ord("a") + number % 26) if letters else _paint(chr(_BRAILLE + bits), number, colours)


def _paint(text: str, number: int, colours: bool) -> str:
    code = _TERMINAL_COLOURS[number % len(_TERMINAL_COLOURS)]
    return f"\x1b[{code}m{text}\x1b[0m" if colours else text
