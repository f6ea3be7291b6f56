"""Curves over steps as a drawing in characters; ``reports.pictures`` makes pictures of them.

Written by hand because a plotting library would be the largest dependency by far for two polylines.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from gpt_lightning.reports.numbers import format_short

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


def draw_text(
    curves: list[Curve],
    *,
    width: int = 72,
    height: int = 16,
    colours: bool = False,
    x_label: str = "steps",
    from_zero: bool = True,
) -> str:
    """The curves in characters, with axes and a legend.

    Args:
        curves: At least one; all values are finite.
        width: Columns of the drawing without its axis.
        height: Lines of it.
        colours: Tell the curves apart by escape sequences; otherwise several are drawn with a letter each.
        x_label: Unit of the horizontal axis, which begins at 0.
        from_zero: Whether y begins at 0 too, rather than at the lowest value.
    """
    right, top = find_limits(curves)
    bottom = 0.0 if from_zero else min(y for curve in curves for _, y in curve.points)
    top = top if top > bottom else bottom + 1.0
    letters = len(curves) > 1 and not colours
    cells: dict[tuple[int, int], tuple[int, int]] = {}
    for number, curve in enumerate(curves):
        for column, row in _dots(curve, right, (bottom, top), width * 2, height * 4):
            place = (column // 2, row // 4)
            bits, owner = cells.get(place, (0, number))
            bits = bits if owner == number else 0
            cells[place] = (bits | _DOTS[column % 2][row % 4], number)
    lines = []
    for row in range(height):
        label = {0: top, height // 2: (bottom + top) / 2, height - 1: bottom}.get(row)
        text = "".join(_character(cells.get((column, row)), letters, colours) for column in range(width))
        lines.append(f"{'' if label is None else _label(label, top - bottom):>9} ┤{text.rstrip()}")
    middle = f"{right / 2:,.0f}" if right < 1e6 else format_short(right / 2)
    lines.append(" " * 10 + "└" + "─" * width)
    end = f"{right:,.0f} {x_label}" if right < 1e6 else f"{format_short(right)} {x_label}"
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


def _label(value: float, height: float) -> str:
    """As many digits as tell the labels of an axis of this height apart."""
    if 0 < height < 0.02 * abs(value):
        return f"{value:.5g}"
    return f"{value:.3g}"


def _dots(curve: Curve, right: float, ends: tuple[float, float], columns: int, rows: int) -> Iterator[tuple[int, int]]:
    """Dots of a curve, filled up vertically so that a steep stretch stays a line."""
    before: int | None = None
    for column in range(columns):
        value = curve.at(right * column / (columns - 1))
        if value is None:
            continue
        row = round((1 - (value - ends[0]) / (ends[1] - ends[0])) * (rows - 1))
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
