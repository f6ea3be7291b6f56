"""Shapes on paper, and their SVG; ``raster`` makes a PNG of the same shapes.

Lengths are in pixels at normal size, y grows downwards. Texts of any content are escaped here and nowhere else.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass, field
from xml.sax.saxutils import escape

from gpt_lightning.reports.numbers import Number
from gpt_lightning.reports.style import chart_style, is_role, light

FONT_SIZE = 13
Place = tuple[Number, Number]


@dataclass(frozen=True)
class Stroke:
    """A line through points; ``dash`` as SVG writes it ("6 4"); ``title`` is shown under the pointer."""

    points: Sequence[Place]
    colour: str
    width: Number = 1.0
    dash: str = ""
    title: str = ""
    opacity: Number = 1.0


@dataclass(frozen=True)
class Area:
    """A filled polygon."""

    points: Sequence[Place]
    colour: str
    title: str = ""
    opacity: Number = 1.0


@dataclass(frozen=True)
class Dot:
    """A disc; ``spot``: invisible until the pointer is there, and then shows its title."""

    place: Place
    radius: Number
    colour: str
    title: str = ""
    spot: bool = False


@dataclass(frozen=True)
class Text:
    """A line of text; ``anchor`` is start, middle or end, ``turned`` reads upwards."""

    place: Place
    text: str
    anchor: str = "start"
    turned: bool = False
    bold: bool = False
    colour: str = "ink"
    title: str = ""


Shape = Stroke | Area | Dot | Text


def rectangle(left: Number, top: Number, width: Number, height: Number, colour: str, title: str = "") -> Area:
    """An upright rectangle."""
    right, bottom = left + width, top + height
    return Area([(left, top), (right, top), (right, bottom), (left, bottom)], colour, title)


@dataclass(frozen=True)
class Drawing:
    """Shapes, the later ones on top, on paper of a size."""

    width: Number
    height: Number
    shapes: Sequence[Shape] = field(default_factory=list)
    name: str = ""

    def svg(self, *, alone: bool = True) -> str:
        """An SVG document, or with ``alone=False`` the element for an HTML page that has the charts' style sheet."""
        size = f'viewBox="0 0 {self.width:g} {self.height:g}" width="{self.width:g}" height="{self.height:g}"'
        font = f'font-family="system-ui, sans-serif" font-size="{FONT_SIZE}"'
        meaning = f'role="img" aria-label={_quoted(self.name)}'
        lines = [
            f'<svg class="chart"{_NAMESPACE if alone else ""} {size} {font} {meaning}>',
            *([f"<style>{chart_style()}</style>"] if alone else []),
            f'<rect width="100%" height="100%"{_colour("fill", "paper")}/>',
            *(_element(shape) for shape in self.shapes),
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


_NAMESPACE = ' xmlns="http://www.w3.org/2000/svg"'
"""A name, not a reference: nothing is fetched. Inside HTML it is not needed."""


def clean(text: str) -> str:
    """``text`` without what no document may hold: control characters, and halves of characters."""
    kept = (char if char in "\n\t" or unicodedata.category(char) not in ("Cc", "Cs") else "\ufffd" for char in text)
    return "".join(kept)


def escaped(text: str) -> str:
    """``text`` as content of an element or of a quoted attribute."""
    return escape(clean(text), {'"': "&quot;", "'": "&#39;"})


def text_width(text: str, bold: bool = False) -> float:
    """About how wide a line is; wide characters (Chinese ...) take the room of two."""
    cells = sum(1.75 if unicodedata.east_asian_width(char) in "WF" else 1.0 for char in text)
    return cells * FONT_SIZE * (0.6 if bold else 0.56)


def shorten(text: str, width: Number) -> str:
    """``text``, or its beginning and end with an ellipsis where it is wider than ``width``."""
    if text_width(text) <= width:
        return text
    half = max(1, int(width / FONT_SIZE / 0.56 - 1) // 2)
    while half > 1 and text_width(text[:half] + "…" + text[-half:]) > width:
        half -= 1
    return f"{text[:half]}…{text[-half:]}"


def _quoted(text: str) -> str:
    return f'"{escaped(text)}"'


def _colour(attribute: str, colour: str) -> str:
    kind = {"fill": "f", "stroke": "k"}[attribute]
    return f' {attribute}="{light(colour)}"' + (f' class="{kind}-{colour}"' if is_role(colour) else "")


def _element(shape: Shape) -> str:
    if isinstance(shape, Stroke):
        dash = f' stroke-dasharray="{shape.dash}"' if shape.dash else ""
        more = f'points="{_pairs(shape.points)}" fill="none" stroke-width="{shape.width:g}" stroke-linejoin="round"'
        return _closed(
            "polyline", f"{more}{dash}{_opacity(shape.opacity)}{_colour('stroke', shape.colour)}", shape.title
        )
    if isinstance(shape, Area):
        more = f'points="{_pairs(shape.points)}"{_opacity(shape.opacity)}'
        return _closed("polygon", more + _colour("fill", shape.colour), shape.title)
    x, y = shape.place
    if isinstance(shape, Dot):
        where = f'cx="{x:.2f}" cy="{y:.2f}" r="{shape.radius:g}"'
        if shape.spot:
            return _closed("circle", f'class="spot" {where} fill="{light("soft")}" fill-opacity="0"', shape.title)
        return _closed("circle", where + _colour("fill", shape.colour), shape.title)
    turn = f' transform="rotate(-90 {x:.2f} {y:.2f})"' if shape.turned else ""
    weight = ' font-weight="600"' if shape.bold else ""
    title = f"<title>{escaped(shape.title)}</title>" if shape.title else ""
    where = f'x="{x:.2f}" y="{y:.2f}" text-anchor="{shape.anchor}"{turn}{weight}'
    return f"<text {where}{_colour('fill', shape.colour)}>{title}{escaped(shape.text)}</text>"


def _pairs(points: Sequence[Place]) -> str:
    return " ".join(f"{x:.2f},{y:.2f}" for x, y in points)


def _opacity(opacity: Number) -> str:
    return f' opacity="{opacity:g}"' if opacity < 1 else ""


def _closed(name: str, attributes: str, title: str) -> str:
    return f"<{name} {attributes}><title>{escaped(title)}</title></{name}>" if title else f"<{name} {attributes}/>"
