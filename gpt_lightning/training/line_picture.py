"""Curves over steps as a picture: a self-contained SVG document, or a PNG file of the same layout (with Pillow)."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from dataclasses import dataclass
from xml.sax.saxutils import escape

from gpt_lightning.training.line_chart import Curve, find_limits

_COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
"""Okabe and Ito's, which colour-blind readers can tell apart."""
_GRID, _INK = "#dddddd", "#000000"
_WIDTH, _HEIGHT = 860.0, 440.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 80.0, 24.0, 24.0, 56.0
"""Margins around the axes, in pixels."""
_FONT_SIZE, _LEGEND_LINE = 13, 22
_SCALE = 2
"""Pixels of a PNG per unit: screens and papers show more than one."""


@dataclass(frozen=True)
class _Stroke:
    points: list[tuple[float, float]]
    colour: str
    width: int


@dataclass(frozen=True)
class _Text:
    x: float
    y: float
    text: str
    anchor: str
    turned: bool = False


def _lay_out(curves: list[Curve], x_label: str, y_label: str) -> Iterator[_Stroke | _Text]:
    right, top = find_limits(curves)
    x_ticks, y_ticks = _ticks(right), _ticks(top)
    top = max(top, y_ticks[-1])
    inner_width, inner_height = _WIDTH - _LEFT - _RIGHT, _HEIGHT - _TOP - _BOTTOM

    def place(x: float, y: float) -> tuple[float, float]:
        return _LEFT + x / right * inner_width, _TOP + (1 - y / top) * inner_height

    for tick in x_ticks:
        x, base = place(tick, 0.0)
        yield _Stroke([(x, _TOP), (x, base)], _GRID, 1)
        yield _Text(x, base + 18, f"{tick:,.10g}", "middle")
    for tick in y_ticks:
        start, y = place(0.0, tick)
        yield _Stroke([(start, y), (_WIDTH - _RIGHT, y)], _GRID, 1)
        yield _Text(start - 8, y + 4, f"{tick:.4g}", "end")
    yield _Text(_LEFT + inner_width / 2, _HEIGHT - 14, x_label, "middle")
    yield _Text(18.0, _TOP + inner_height / 2, y_label, "middle", turned=True)
    for number, curve in enumerate(curves):
        colour, y = _COLOURS[number % len(_COLOURS)], _HEIGHT + 14 + _LEGEND_LINE * number
        yield _Stroke([place(*point) for point in curve.points], colour, 2)
        yield _Stroke([(_LEFT, y), (_LEFT + 28, y)], colour, 3)
        yield _Text(_LEFT + 38, y + 4, curve.name, "start")


def _size(curves: list[Curve]) -> tuple[float, float]:
    return _WIDTH, _HEIGHT + _LEGEND_LINE * len(curves) + 8


def draw_svg(curves: list[Curve], *, x_label: str, y_label: str) -> str:
    """The curves as an SVG document without references to anything outside; from y = 0 on."""
    width, height = _size(curves)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'width="{width}" height="{height}" font-family="sans-serif" font-size="{_FONT_SIZE}">',
        '<rect width="100%" height="100%" fill="white"/>',
    ]
    for shape in _lay_out(curves, x_label, y_label):
        if isinstance(shape, _Stroke):
            points = " ".join(f"{x:.2f},{y:.2f}" for x, y in shape.points)
            parts.append(
                f'<polyline points="{points}" fill="none" stroke="{shape.colour}" stroke-width="{shape.width}"/>'
            )
        else:
            turn = f' transform="rotate(-90 {shape.x} {shape.y})"' if shape.turned else ""
            text = escape(shape.text)
            parts.append(f'<text x="{shape.x:.2f}" y="{shape.y:.2f}" text-anchor="{shape.anchor}"{turn}>{text}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def draw_png(curves: list[Curve], *, x_label: str, y_label: str) -> bytes:
    """The same picture as the bytes of a PNG file, twice as large."""
    # TensorBoard needs Pillow, so it is always there; only who asks for a PNG waits for its import.
    from PIL import Image, ImageDraw, ImageFont

    width, height = (round(_SCALE * side) for side in _size(curves))
    image = Image.new("RGB", (width, height), "white")
    pen, font = ImageDraw.Draw(image), ImageFont.load_default(size=_SCALE * _FONT_SIZE)
    anchors = {"start": "ls", "middle": "ms", "end": "rs"}
    for shape in _lay_out(curves, x_label, y_label):
        if isinstance(shape, _Stroke):
            points = [(_SCALE * x, _SCALE * y) for x, y in shape.points]
            pen.line(points, fill=shape.colour, width=round(_SCALE * shape.width), joint="curve")
        elif shape.turned:
            left, upper, right, lower = pen.textbbox((0, 0), shape.text, font=font)
            label = Image.new("RGB", (round(right - left), round(lower - upper)), "white")
            ImageDraw.Draw(label).text((-left, -upper), shape.text, font=font, fill=_INK)
            turned = label.rotate(90, expand=True)
            image.paste(turned, (round(_SCALE * shape.x) - turned.width, round(_SCALE * shape.y) - turned.height // 2))
        else:
            pen.text(
                (_SCALE * shape.x, _SCALE * shape.y), shape.text, font=font, fill=_INK, anchor=anchors[shape.anchor]
            )
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def _ticks(end: float) -> list[float]:
    """Up to eight multiples of 1, 2 or 5 times a power of ten, from 0 to at most ``end``."""
    size = 10.0 ** math.floor(math.log10(end))
    step = next(size * factor for factor in (0.1, 0.2, 0.5, 1, 2) if end / (size * factor) <= 7)
    return [step * number for number in range(math.floor(end / step * 1.0000001) + 1)]
