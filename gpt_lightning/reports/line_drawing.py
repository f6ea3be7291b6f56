"""Curves on a frame: thinned to what a reader can see, broken where there is no number, with hover values."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

from gpt_lightning.reports.axes import Axis, fit_axis
from gpt_lightning.reports.drawing import Area, Dot, Drawing, Place, Shape, Stroke, Text
from gpt_lightning.reports.frame import Entry, Frame, inside
from gpt_lightning.reports.numbers import Number, format_number
from gpt_lightning.reports.style import NUM_SERIES, gradient, series_colour

if TYPE_CHECKING:
    from gpt_lightning.reports.charts import LineChart, Series

_MOST_POINTS, _MOST_SPOTS = 12_000, 1500
"""Of all curves of a chart."""
_GAP = (math.nan, math.nan)
_DASHES = ("", "7 4", "2 3", "9 3 2 3")


def draw_lines(chart: LineChart) -> Drawing:
    """The drawing of a ``LineChart``."""
    series = [each for each in chart.series if len(each.x)]
    heights = [y for each in series for column in (each.y, each.low or (), each.high or ()) for y in column]
    heights += [mark.value for mark in chart.marks if mark.horizontal]
    x = fit_axis((x for each in series for x in each.x), label=chart.x_label, log=chart.log_x, limits=chart.x_limits)
    y = fit_axis(heights, label=chart.y_label, log=chart.log_y, limits=chart.y_limits, margin=0.05)
    looks = _looks(series)
    entries = [entry for entry, each in zip(looks, series, strict=True) if not each.faint]
    entries = entries if len(series) > 1 or chart.legend else []
    frame = Frame(x, y, chart.title, entries, note=_note(series, x, y))
    shapes: list[Shape] = [
        shape for mark in chart.marks for shape in _draw_mark(frame, mark.value, mark.text, mark.horizontal)
    ]
    shapes += [
        shape for each, look in zip(series, looks, strict=True) for shape in _draw_band(frame, each, look.colour)
    ]
    # Faint curves lie below the others.
    for each, look in sorted(zip(series, looks, strict=True), key=lambda pair: not pair[0].faint):
        shapes += _draw_curve(frame, each, look, len(series))
    spots = max(4, min(60, _MOST_SPOTS // max(1, len(series))))
    shapes += [spot for each in series for spot in _draw_spots(frame, each, spots)]
    return frame.surround(shapes)


def _looks(series: Sequence[Series]) -> list[Entry]:
    """Colour and dash of every curve; a great many go through the gradient in their order."""
    entries, number = [], 0
    count = sum(not each.faint for each in series)
    for each in series:
        dash = "6 4" if each.dashed else ""
        if each.faint:
            entries.append(Entry(each.name, "soft", dash=dash))
            continue
        colour = series_colour(number) if each.colour is None else each.colour
        if each.colour is None and count > NUM_SERIES * len(_DASHES):
            colour = gradient(number / (count - 1))
        elif not dash and each.colour is None:
            dash = _DASHES[number // NUM_SERIES % len(_DASHES)]
        entries.append(Entry(each.name, colour, dash=dash))
        number += 1
    return entries


def _note(series: Sequence[Series], x: Axis, y: Axis) -> str:
    """Says how many points have no place, because a curve that stops looks like a run that stopped."""
    pairs = [pair for each in series for pair in zip(each.x, each.y, strict=True)]
    broken = sum(not math.isfinite(b) for _, b in pairs)
    hidden = sum(math.isfinite(b) and not (x.holds(a) and y.holds(b)) for a, b in pairs)
    parts = [f"{broken} points are not finite"] if broken else []
    parts += [f"{hidden} points <= 0 have no place on a logarithmic axis"] if hidden else []
    return "; ".join(parts)


def _draw_curve(frame: Frame, series: Series, look: Entry, count: int) -> Iterator[Shape]:
    width = 1.0 if series.faint or count > 12 else 2.0
    for piece in visible_pieces(frame, series.x, series.y, max(90, min(600, _MOST_POINTS // count))):
        if len(piece) > 1:
            opacity = 0.45 if series.faint else 1.0
            yield Stroke(piece, look.colour, width, look.dash, series.name, opacity)
        else:
            yield Dot(piece[0], 2.5, look.colour)
        if series.dots:
            yield from (Dot(place, 3, look.colour) for place in piece if _within(frame, place))


def visible_pieces(frame: Frame, x: Sequence[Number], y: Sequence[Number], most: int = 600) -> Iterator[list[Place]]:
    """The curve in pieces without gaps, thinned, and cut off at the edges of the plot."""
    piece: list[Place] = []
    for a, b in [*thin([(float(a), float(b)) for a, b in zip(x, y, strict=True)], most), _GAP]:
        if frame.x.holds(a) and frame.y.holds(b):
            piece.append(frame.place(a, b))
        elif piece:
            yield from _cut(frame, piece)
            piece = []


def thin(points: list[tuple[float, float]], most: int) -> list[tuple[float, float]]:
    """At most about ``most`` points: first, lowest and highest of each stretch, so that no spike is lost."""
    if len(points) <= most:
        return points
    stretch = -(-len(points) // (most // 3))
    kept = []
    for start in range(0, len(points), stretch):
        part = range(start, min(start + stretch, len(points)))
        finite = [index for index in part if math.isfinite(points[index][1])]
        chosen = {part[0], *(index for index in part if index not in finite)}
        if finite:
            chosen |= {min(finite, key=lambda index: points[index][1]), max(finite, key=lambda index: points[index][1])}
        kept += [points[index] for index in sorted(chosen)]
    return [*kept, points[-1]] if kept[-1] != points[-1] else kept


def _within(frame: Frame, place: Place) -> bool:
    x, y = place[0] - frame.left, place[1] - frame.top
    return -0.01 <= x <= frame.plot_width + 0.01 and -0.01 <= y <= frame.plot_height + 0.01


def _cut(frame: Frame, piece: list[Place]) -> Iterator[list[Place]]:
    """Parts of a polyline inside the plot; an edge that it crosses gets a point."""
    if all(_within(frame, place) for place in piece):
        yield piece
        return
    part: list[Place] = []
    for start, end in pairwise(piece):
        shares = _inside_shares(frame, start, end)
        if shares is None:
            continue
        first, last = (_on_way(start, end, share) for share in shares)
        if part and part[-1] != first:
            yield part
            part = []
        part += [last] if part else [first, last]
    if part:
        yield part


def _inside_shares(frame: Frame, start: Place, end: Place) -> tuple[float, float] | None:
    """From which share of the way to which a straight line is inside (Liang and Barsky 1984)."""
    low, high = 0.0, 1.0
    for axis, (edge, length) in enumerate(((frame.left, frame.plot_width), (frame.top, frame.plot_height))):
        way, begin = end[axis] - start[axis], start[axis]
        if way == 0:
            if not edge <= begin <= edge + length:
                return None
            continue
        enter, leave = sorted(((edge - begin) / way, (edge + length - begin) / way))
        low, high = max(low, enter), min(high, leave)
    return (low, high) if low < high else None


def _on_way(start: Place, end: Place, share: Number) -> Place:
    if share in (0.0, 1.0):
        return end if share else start
    return start[0] + share * (end[0] - start[0]), start[1] + share * (end[1] - start[1])


def _draw_band(frame: Frame, series: Series, colour: str) -> Iterator[Shape]:
    """The area between ``low`` and ``high``."""
    if series.low is None or series.high is None:
        return
    points = [
        (x, low, high)
        for x, low, high in zip(series.x, series.low, series.high, strict=True)
        if frame.x.holds(x) and frame.y.holds(low) and frame.y.holds(high)
    ]
    if points:
        edge = [frame.place(x, high) for x, _, high in points] + [frame.place(x, low) for x, low, _ in reversed(points)]
        yield inside(frame, Area(edge, colour, f"{series.name}: range", 0.18))


def _draw_spots(frame: Frame, series: Series, most: int) -> Iterator[Shape]:
    """Places that tell their numbers."""
    pairs = [
        (a, b, n)
        for n, (a, b) in enumerate(zip(series.x, series.y, strict=True))
        if frame.x.holds(a) and frame.y.holds(b)
    ]
    for a, b, number in pairs[:: max(1, -(-len(pairs) // most))]:
        place = frame.place(a, b)
        if _within(frame, place):
            more = f"\n{series.labels[number]}" if series.labels else ""
            text = f"{series.name}\n{frame.x.label or 'x'} {format_number(a, 6)}: {format_number(b, 6)}{more}"
            yield Dot(place, 6, "soft", text, spot=True)


def _draw_mark(frame: Frame, value: Number, text: str, horizontal: bool) -> Iterator[Shape]:
    axis = frame.y if horizontal else frame.x
    if not axis.holds(value) or not 0 <= axis.share(value) <= 1:
        return
    right, bottom = frame.left + frame.plot_width, frame.top + frame.plot_height
    x, y = frame.place(frame.x.low if horizontal else value, value if horizontal else frame.y.low)
    if horizontal:
        yield Stroke([(frame.left, y), (right, y)], "soft", 1.5, "5 4", text)
        yield Text((right - 4, y - 5), text, "end", colour="soft")
    else:
        yield Stroke([(x, frame.top), (x, bottom)], "soft", 1.5, "5 4", text)
        yield Text((x + 14, frame.top + 6), text, "end", turned=True, colour="soft")
