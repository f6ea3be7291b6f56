"""A value over two others: cells in the colours of a gradient, with contour lines and points on them."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from gpt_lightning.reports.axes import Axis, fit_axis
from gpt_lightning.reports.drawing import Dot, Drawing, Place, Shape, Stroke, rectangle
from gpt_lightning.reports.frame import Frame, Ticks, colour_bar
from gpt_lightning.reports.numbers import Number, format_number
from gpt_lightning.reports.point_drawing import COLOUR_STEPS
from gpt_lightning.reports.style import gradient

if TYPE_CHECKING:
    from gpt_lightning.reports.charts import HeatMap

_MOST_NAMES = 40


def draw_grid(chart: HeatMap) -> Drawing:
    """The drawing of a ``HeatMap``."""
    x, x_edges, x_ticks = _lay_out(chart.x, chart.x_label, chart.log_x, turned=False)
    y, y_edges, y_ticks = _lay_out(chart.y, chart.y_label, chart.log_y, turned=True)
    values = [value for row in chart.values for value in row if value is not None]
    scale = fit_axis(values, label=chart.value_label, log=chart.log_values)
    height = 280.0 if y_ticks is None else min(560.0, max(120.0, 22.0 * len(chart.y)))
    frame = Frame(x, y, chart.title, x_ticks=x_ticks, y_ticks=y_ticks, right=110.0, plot_height=height)
    shapes: list[Shape] = []
    for row, line in enumerate(chart.values):
        for column, value in enumerate(line):
            if value is not None and scale.holds(value):
                corners = frame.place(x_edges[column], y_edges[row]), frame.place(x_edges[column + 1], y_edges[row + 1])
                title = f"{_name(chart.x_label, chart.x[column])}\n{_name(chart.y_label, chart.y[row])}"
                title += f"\n{_name(chart.value_label, float(value))}"
                shapes.append(_cell(corners, gradient(scale.share(value)), title))
    shapes += _draw_contours(frame, chart, scale)
    for a, b in chart.points:
        shapes += [Dot(frame.place(a, b), 4, "paper"), Dot(frame.place(a, b), 3, "ink")]
    colours = [gradient(step / (COLOUR_STEPS - 1)) for step in range(COLOUR_STEPS)]
    return frame.surround([*shapes, *colour_bar(frame, scale, colours)])


def _lay_out(
    places: Sequence[Number | str], label: str, log: bool, *, turned: bool
) -> tuple[Axis, list[float], Ticks | None]:
    """Axis, edges of the cells, and ticks where the cells have names; named rows go from top to bottom."""
    numbers = [place for place in places if not isinstance(place, str)]
    if len(numbers) == len(places) and len(places) > 1:
        edges = _edges(numbers, log)
        return Axis(min(edges), max(edges), log, label), edges, None
    count = len(places)
    stride = -(-count // _MOST_NAMES)
    cells = [count - 1 - number if turned else number for number in range(count)]
    ticks = [(float(cell), format_number(place)) for cell, place in zip(cells, places, strict=True)][::stride]
    edges = [cell + (0.5 if turned else -0.5) for cell in cells]
    return Axis(-0.5, max(count, 1) - 0.5, label=label), [*edges, edges[-1] + (-1 if turned else 1)], ticks


def _edges(centres: Sequence[Number], log: bool) -> list[float]:
    """Half way between neighbours; the outer cells reach as far out as in."""
    places = [math.log10(centre) if log else float(centre) for centre in centres]
    middles = [(a + b) / 2 for a, b in pairwise(places)]
    edges = [2 * places[0] - middles[0], *middles, 2 * places[-1] - middles[-1]]
    return [10.0**edge if log else edge for edge in edges]


def _name(label: str, value: Number | str) -> str:
    return f"{label}: {format_number(value)}" if label else format_number(value)


def _cell(corners: tuple[Place, Place], colour: str, title: str) -> Shape:
    (x0, y0), (x1, y1) = corners
    # Half a pixel more, or light seams would show between neighbours.
    return rectangle(min(x0, x1), min(y0, y1), abs(x1 - x0) + 0.5, abs(y1 - y0) + 0.5, colour, title)


def _draw_contours(frame: Frame, chart: HeatMap, scale: Axis) -> Iterator[Shape]:
    if not chart.contours:
        return
    levels = [value for value, _ in scale.ticks(chart.contours) if scale.low < value < scale.high]
    for level in levels:
        for start, end in contour_segments(chart.values, level):
            points = [frame.place(_at(chart.x, a, chart.log_x), _at(chart.y, b, chart.log_y)) for a, b in (start, end)]
            yield Stroke(points, "paper", 1.2, title=f"{chart.value_label}: {format_number(level)}")


def _at(centres: Sequence[Number | str], index: Number, log: bool) -> float:
    """Value at a fractional index."""
    left = min(int(index), len(centres) - 2)
    a, b = float(centres[left]), float(centres[left + 1])
    share = index - left
    return float(a * (b / a) ** share) if log else a + share * (b - a)


def contour_segments(
    values: Sequence[Sequence[Number | None]], level: Number
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    """Straight pieces of the line where the values, on a plane between each three neighbours, equal ``level``.

    Squares are cut into two triangles, in which there is no saddle to decide about.

    Yields:
        Two points (column, row) as fractional indices.
    """
    for row in range(len(values) - 1):
        for column in range(len(values[0]) - 1):
            a, b, c, d = ((column, row), (column + 1, row), (column + 1, row + 1), (column, row + 1))
            for triangle in ((a, b, c), (a, c, d)):
                heights = [values[y][x] for x, y in triangle]
                known = [height for height in heights if height is not None and math.isfinite(height)]
                if len(known) == 3:
                    yield from _cross(triangle, known, level)


def _cross(
    triangle: Sequence[tuple[int, int]], heights: Sequence[Number], level: Number
) -> Iterator[tuple[tuple[float, float], tuple[float, float]]]:
    crossings = []
    for one, other in ((0, 1), (1, 2), (2, 0)):
        low, high = heights[one], heights[other]
        if (low < level) != (high < level):
            share = (level - low) / (high - low)
            (x0, y0), (x1, y1) = triangle[one], triangle[other]
            crossings.append((x0 + share * (x1 - x0), y0 + share * (y1 - y0)))
    if len(crossings) == 2:
        yield crossings[0], crossings[1]
