"""Curves over steps as a drawing: in characters for the terminal, and as a self-contained SVG file.

Written by hand because a plotting library would be the largest dependency by far for two polylines.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind readers can tell apart."""
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
    right, top = _limits(curves)
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


def _limits(curves: list[Curve]) -> tuple[float, float]:
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


_WIDTH, _HEIGHT = 860.0, 440.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 80.0, 24.0, 24.0, 56.0
"""Margins around the axes, in pixels."""


def draw_svg(curves: list[Curve], *, x_label: str, y_label: str) -> str:
    """The curves as an SVG document without references to anything outside; from y = 0 on."""
    right, top = _limits(curves)
    x_ticks, y_ticks = _ticks(right), _ticks(top)
    top = max(top, y_ticks[-1])
    legend = 22 * len(curves) + 8
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + x / right * inner_width, _TOP + (1 - y / top) * inner_height

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT + legend}" '
        f'width="{_WIDTH}" height="{_HEIGHT + legend}" font-family="sans-serif" font-size="13">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for tick in x_ticks:
        x, base = place(tick, 0.0)
        parts.append(_grid(x, _TOP, x, base) + _text(x, base + 18, f"{tick:,.10g}", "middle"))
    for tick in y_ticks:
        start, y = place(0.0, tick)
        parts.append(_grid(start, y, _WIDTH - _RIGHT, y) + _text(start - 8, y + 4, f"{tick:.4g}", "end"))
    parts.append(_text(_LEFT + inner_width / 2, _HEIGHT - 14, x_label, "middle"))
    middle = _TOP + inner_height / 2
    parts.append(f'<g transform="rotate(-90 18 {middle})">{_text(18.0, middle, y_label, "middle")}</g>')
    for number, curve in enumerate(curves):
        colour = _COLOURS[number % len(_COLOURS)]
        path = " ".join(f"{x:.2f},{y:.2f}" for x, y in (place(*point) for point in curve.points))
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"/>')
        y = _HEIGHT + 14 + 22 * number
        parts.append(f'<line x1="{_LEFT}" x2="{_LEFT + 28}" y1="{y}" y2="{y}" stroke="{colour}" stroke-width="3"/>')
        parts.append(_text(_LEFT + 38, y + 4, curve.name, "start"))
    return "\n".join([*parts, "</svg>"]) + "\n"


def _ticks(end: float) -> list[float]:
    """Up to eight multiples of 1, 2 or 5 times a power of ten, from 0 to at most ``end``."""
    size = 10.0 ** math.floor(math.log10(end))
    step = next(size * factor for factor in (0.1, 0.2, 0.5, 1, 2) if end / (size * factor) <= 7)
    return [step * number for number in range(math.floor(end / step * 1.0000001) + 1)]


def _grid(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line x1="{x1:.2f}" y1="{y1:.2f}" x2="{x2:.2f}" y2="{y2:.2f}" stroke="#dddddd"/>'


def _text(x: float, y: float, text: str, anchor: str) -> str:
    return f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}">{escape(text)}</text>'
