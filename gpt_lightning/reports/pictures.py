"""Line charts as files, SVG or PNG, and for TensorBoard; with Pillow, which TensorBoard brings along.

Written by hand although matplotlib draws them too: wherever it is installed torchmetrics, and so every ``fit``, imports
``matplotlib.pyplot`` (0.9 of 6.7 seconds of CPU time until Lightning is there). All other charts are saved from a
report's page, as SVG.
"""

from __future__ import annotations

import functools
import io
import math
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.reports.charts import FAINT, Limits, LineChart, Mark, Series
from gpt_lightning.reports.numbers import Number, clean, format_short

_WIDTH, _HEIGHT, _LETTERS = 620.0, 330.0, 17
"""Of the plot without what stands around it; TensorBoard shrinks pictures, so letters are large."""
_DASHES: dict[str, Sequence[float]] = {"solid": (), "dash": (12, 7), "dot": (3, 5), "dashdot": (12, 5, 3, 5)}
_INK, _GRID = "#1f2328", "#dfe3e8"
_MOST_ENTRIES = 24
Place = tuple[float, float]


def check_picture(output: str | None, command: str) -> None:
    """Refuse a name that is no picture's before anything is computed.

    Args:
        output: As the user said it; None = no picture.
        command: For the message.

    Raises:
        ConfigError: It is none.
    """
    if output is not None and Path(output).suffix not in _PENS:
        raise ConfigError(
            f"{command} writes SVG and PNG",
            got=output,
            allowed="a name that ends in .svg or .png",
            fix="Say --output chart.svg.",
        )


def write_picture(chart: LineChart, output: str) -> None:
    """Draw ``chart`` into the file ``output`` and print its name.

    Raises:
        ConfigError: It cannot be written.
    """
    path = Path(output)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(draw_picture(chart, path.suffix))
    except OSError as problem:
        raise ConfigError(
            f"The picture cannot be written, {problem.strerror}",
            got=output,
            fix="Name a file in a folder that you may write to: --output chart.svg.",
        ) from problem
    sys.stdout.write(f"{path}\n")


def draw_picture(chart: LineChart, suffix: str = ".png") -> bytes:
    """The content of a file ``.svg`` or ``.png``."""
    series = list(chart.drawn())
    x = Axis([float(value) for each, _, _ in series for value in each.x], chart.log_x, chart.x_limits)
    columns = [column for each, _, _ in series for column in (each.y, each.low or (), each.high or ())]
    heights = [float(value) for column in columns for value in column]
    y = Axis(heights + [mark.value for mark in chart.marks if mark.horizontal], chart.log_y, chart.y_limits, 0.04)
    names = [each.name for each in chart.entries]
    beside = max((len(mark.text) for mark in chart.marks if mark.horizontal), default=0)
    left = 20 + 10 * max((len(text) for _, text in y.labels()), default=1)
    top = 66 if all(mark.horizontal for mark in chart.marks) else 90
    below = top + _HEIGHT + 76
    height = below - 14 + 26 * -(-min(len(names), _MOST_ENTRIES + 1) // 2)
    pen = _PENS[suffix]((left, top), (left + _WIDTH + 24 + 9 * beside, height))
    note = f"({chart.note})" if chart.note else ""
    pen.text((8, 24), chart.title, bold=True)
    pen.text((8, 52), f"{chart.y_label}  {note}")
    pen.text((left + _WIDTH, top + _HEIGHT + 46), chart.x_label, "end")
    for tick, text in x.labels():
        pen.curve([(x.share(tick) * _WIDTH, 0), (x.share(tick) * _WIDTH, _HEIGHT)], _GRID)
        pen.text((left + x.share(tick) * _WIDTH, top + _HEIGHT + 22), text, "middle")
    for tick, text in y.labels():
        pen.curve([(0, (1 - y.share(tick)) * _HEIGHT), (_WIDTH, (1 - y.share(tick)) * _HEIGHT)], _GRID)
        pen.text((left - 8, top + (1 - y.share(tick)) * _HEIGHT + 6), text, "end")
    for each, colour, _ in series:
        _draw_band(pen, x, y, each, colour)
    for each, colour, dash in series:
        _draw_series(pen, x, y, each, colour, dash, width=1 if each.faint or len(series) > 12 else 2.5)
    for mark in chart.marks:
        _draw_mark(pen, (y if mark.horizontal else x).share(mark.value), mark, left, top)
    looks = {each.name: (colour, dash) for each, colour, dash in series}
    for number, name in enumerate(names[:_MOST_ENTRIES]):
        across, down = number % 2 * _WIDTH / 2, _HEIGHT + 70 + 26 * (number // 2)
        colour, dash = looks[name]
        pen.curve([(across, down), (across + 34, down)], colour, 3, _DASHES[dash], clipped=False)
        pen.text((left + across + 44, top + down + 6), name)
    if len(names) > _MOST_ENTRIES:
        pen.text((left, below + 13 * _MOST_ENTRIES), f"and {len(names) - _MOST_ENTRIES} more")
    return pen.finish()


def _place(x: Axis, y: Axis, a: Number, b: Number) -> Place:
    return x.share(a) * _WIDTH, (1 - y.share(b)) * _HEIGHT


def _draw_band(pen: _Pen, x: Axis, y: Axis, series: Series, colour: str) -> None:
    lower, upper = (
        [_place(x, y, a, b) for a, b in zip(series.x, edge or (), strict=False) if x.holds(a) and y.holds(b)]
        for edge in (series.low, series.high)
    )
    if lower and upper:
        pen.area([*upper, *reversed(lower)], colour)


def _draw_series(pen: _Pen, x: Axis, y: Axis, series: Series, colour: str, dash: str, width: float) -> None:
    pieces: list[list[Place]] = [[]]
    for a, b in zip(series.x, series.y, strict=True):
        if x.holds(a) and y.holds(b):
            pieces[-1].append(_place(x, y, a, b))
        elif pieces[-1]:
            pieces.append([])
    for piece in pieces:
        if len(piece) > 1 and series.line:
            pen.curve(piece, colour, width, _DASHES[dash])
        if series.dots or not series.line or len(piece) == 1:
            for at in piece:
                pen.area([(at[0] + 4 * math.cos(n), at[1] + 4 * math.sin(n)) for n in range(6)], colour, opacity=1.0)


def _draw_mark(pen: _Pen, share: float, mark: Mark, left: float, top: float) -> None:
    """A line whose text stands outside the plot, where no curve is."""
    if not 0 <= share <= 1:
        return
    if mark.horizontal:
        height = (1 - share) * _HEIGHT
        pen.curve([(0, height), (_WIDTH, height)], FAINT, 2, _DASHES["dash"])
        pen.text((left + _WIDTH + 8, top + height + 6), mark.text, colour=FAINT)
    else:
        pen.curve([(share * _WIDTH, 0), (share * _WIDTH, _HEIGHT)], FAINT, 2, _DASHES["dash"])
        pen.text((left + share * _WIDTH, top - 8), mark.text, "middle", colour=FAINT)


class Axis:
    """Places between 0 and 1, and round numbers; ends that are not given have a margin."""

    def __init__(self, values: Sequence[float], log: bool, limits: Limits, margin: float = 0.0) -> None:
        self.log = log
        known = [self._scale(value) for value in values if self.holds(value)] or [0.0, 1.0]
        low, high = (None if end is None or not self.holds(end) else self._scale(end) for end in limits)
        room = margin * (max(known) - min(known))
        self.low = (min(known) - room if log or min(known) < 0 or min(known) > room else 0.0) if low is None else low
        self.high = max(known) + room if high is None else high
        if self.high <= self.low:
            self.low, self.high = (low, low + 1) if low is not None else (self.high - 0.5, self.high + 0.5)

    def holds(self, value: Number) -> bool:
        """Whether it has a place."""
        return math.isfinite(value) and (value > 0 or not self.log)

    def _scale(self, value: Number) -> float:
        return math.log10(value) if self.log else float(value)

    def share(self, value: Number) -> float:
        """0 at the beginning of the axis, 1 at its end; nan where the value has no place."""
        return (self._scale(value) - self.low) / (self.high - self.low) if self.holds(value) else math.nan

    def labels(self) -> list[tuple[float, str]]:
        """Ticks with their texts, which tell them apart."""
        ticks = self.ticks()
        texts = [format_short(tick) for tick in ticks]
        return list(
            zip(ticks, texts if len(set(texts)) == len(texts) else [f"{tick:.9g}" for tick in ticks], strict=True)
        )

    def ticks(self) -> list[float]:
        """About five round numbers."""
        if self.log and self.high - self.low > 0.7:
            whole = range(math.floor(self.low), math.ceil(self.high) + 1)
            steps = next(steps for steps in ((1, 2, 5), (1, 3), (1,)) if len(whole) * len(steps) <= 9 or steps == (1,))
            ticks = [step * 10.0**power for power in whole[:: max(1, len(whole) // 6)] for step in steps]
        else:
            low, high = (10.0**self.low, 10.0**self.high) if self.log else (self.low, self.high)
            size = 10.0 ** math.floor(math.log10((high - low) / 5))
            step = next(size * factor for factor in (1, 2, 5, 10) if (high - low) / (size * factor) <= 6)
            ticks = [step * number for number in range(math.floor(low / step), math.ceil(high / step) + 1)]
        return [float(f"{tick:.12g}") for tick in ticks if -1e-9 <= self.share(tick) <= 1 + 1e-9]


class _Pen(ABC):
    """Draws on paper of a size; curves and areas within the plot, whose corner is at ``origin``, and cut off there."""

    def __init__(self, origin: Place, size: Place) -> None:
        self._origin, self._size = origin, size

    @abstractmethod
    def curve(
        self, points: Sequence[Place], colour: str, width: float = 1, dash: Sequence[float] = (), clipped: bool = True
    ) -> None:
        """A line through points, as distances from ``origin``."""

    @abstractmethod
    def area(self, points: Sequence[Place], colour: str, opacity: float = 0.18) -> None:
        """A filled polygon, in the same distances."""

    @abstractmethod
    def text(self, place: Place, text: str, anchor: str = "start", colour: str = _INK, bold: bool = False) -> None:
        """A line of text; ``anchor`` is start, middle or end."""

    @abstractmethod
    def finish(self) -> bytes:
        """The file."""


class _SVG(_Pen):
    def __init__(self, origin: Place, size: Place) -> None:
        super().__init__(origin, size)
        width, height = size
        self._lines = [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:g} {height:g}" width="{width:g}" '
            f'height="{height:g}" font-family="system-ui, sans-serif" font-size="{_LETTERS}">',
            f'<clipPath id="plot"><rect width="{_WIDTH:g}" height="{_HEIGHT:g}"/></clipPath>',
            '<rect width="100%" height="100%" fill="#ffffff"/>',
        ]

    def _shape(self, name: str, points: Sequence[Place], clipped: bool, more: str) -> None:
        where = " ".join(f"{x:.2f},{y:.2f}" for x, y in points)
        clip = ' clip-path="url(#plot)"' if clipped else ""
        moved = f'transform="translate({self._origin[0]:g} {self._origin[1]:g})"'
        self._lines.append(f'<{name} points="{where}" {moved}{clip} {more}/>')

    def curve(
        self, points: Sequence[Place], colour: str, width: float = 1, dash: Sequence[float] = (), clipped: bool = True
    ) -> None:
        dashes = f' stroke-dasharray="{" ".join(map(str, dash))}"' if dash else ""
        self._shape("polyline", points, clipped, f'fill="none" stroke="{colour}" stroke-width="{width:g}"{dashes}')

    def area(self, points: Sequence[Place], colour: str, opacity: float = 0.18) -> None:
        self._shape("polygon", points, True, f'fill="{colour}" fill-opacity="{opacity:g}"')

    def text(self, place: Place, text: str, anchor: str = "start", colour: str = _INK, bold: bool = False) -> None:
        weight = ' font-weight="600"' if bold else ""
        where = f'x="{place[0]:.2f}" y="{place[1]:.2f}" text-anchor="{anchor}"{weight} fill="{colour}"'
        self._lines.append(f"<text {where}>{escape(clean(text).strip())}</text>")

    def finish(self) -> bytes:
        return "\n".join([*self._lines, "</svg>\n"]).encode()


class _PNG(_Pen):
    """Twice as large as the SVG."""

    def __init__(self, origin: Place, size: Place) -> None:
        from PIL import Image, ImageDraw

        super().__init__(origin, size)
        self._paper = Image.new("RGB", (round(2 * size[0]), round(2 * size[1])), "white")
        self._plot = Image.new("RGB", (round(2 * _WIDTH) + 1, round(2 * _HEIGHT) + 1), "white")
        self._on_paper, self._on_plot = ImageDraw.Draw(self._paper), ImageDraw.Draw(self._plot, "RGBA")

    def curve(
        self, points: Sequence[Place], colour: str, width: float = 1, dash: Sequence[float] = (), clipped: bool = True
    ) -> None:
        draw, corner = (self._on_plot, (0.0, 0.0)) if clipped else (self._on_paper, self._origin)
        for piece in _dashed(points, dash):
            places = [(2 * (x + corner[0]), 2 * (y + corner[1])) for x, y in piece]
            draw.line(places, fill=colour, width=round(2 * width), joint="curve")

    def area(self, points: Sequence[Place], colour: str, opacity: float = 0.18) -> None:
        places = [(2 * x, 2 * y) for x, y in points]
        if len(places) > 2:
            self._on_plot.polygon(places, fill=f"{colour}{round(255 * opacity):02x}")

    def text(self, place: Place, text: str, anchor: str = "start", colour: str = _INK, bold: bool = False) -> None:
        where, side = (2 * place[0], 2 * place[1]), {"start": "ls", "middle": "ms", "end": "rs"}[anchor]
        line = clean(text).strip().replace("\n", " ")
        self._on_paper.text(where, line, font=_font(), fill=colour, anchor=side, stroke_width=0.5 if bold else 0)

    def finish(self) -> bytes:
        corner = (round(2 * self._origin[0]), round(2 * self._origin[1]))
        self._paper.paste(self._plot, corner)
        file = io.BytesIO()
        self._paper.save(file, "PNG", compress_level=3)
        return file.getvalue()


_PENS: dict[str, type[_Pen]] = {".svg": _SVG, ".png": _PNG}


@functools.cache
def _font() -> Any:
    from PIL import ImageFont

    return ImageFont.load_default(size=2 * _LETTERS)


def _dashed(points: Sequence[Place], dash: Sequence[float]) -> Iterator[list[Place]]:
    """Pieces of a line, drawn and left out in turn, with the lengths of ``dash``."""
    if not dash:
        yield list(points)
        return
    number, left, piece = 0, dash[0], [points[0]]
    for start, end in pairwise(points):
        done, length = 0.0, math.dist(start, end)
        while length - done > left:
            done += left
            corner = (start[0] + done / length * (end[0] - start[0]), start[1] + done / length * (end[1] - start[1]))
            if number % 2 == 0:
                yield [*piece, corner]
            number, piece = number + 1, [corner]
            left = dash[number % len(dash)]
        left -= length - done
        piece.append(end)
    if number % 2 == 0:
        yield piece
