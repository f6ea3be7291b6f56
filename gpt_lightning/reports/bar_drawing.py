"""Bars on a frame: by name, over a range of values, and over time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gpt_lightning.reports.axes import Axis, fit_axis
from gpt_lightning.reports.drawing import Area, Drawing, Shape, Stroke, Text, rectangle
from gpt_lightning.reports.frame import Entry, Frame, inside
from gpt_lightning.reports.numbers import Number, format_number, format_seconds
from gpt_lightning.reports.style import series_colour, state_colour

if TYPE_CHECKING:
    from gpt_lightning.reports.charts import BarChart, Bars, Histogram, Span, Timeline

_MOST_BINS = 60


def draw_bars(chart: BarChart) -> Drawing:
    """The drawing of a ``BarChart``: one row for each name, one bar in it for each of ``bars``."""
    count, names = len(chart.bars), list(chart.names)
    ends = [value + sign * error for bars in chart.bars for value, error in _with_errors(bars) for sign in (-1, 1)]
    x = fit_axis([0.0, *ends], label=chart.value_label, margin=0.08)
    y = Axis(-0.5, max(len(names), 1) - 0.5)
    ticks = [(len(names) - 1 - row, name) for row, name in enumerate(names)]
    entries = [Entry(bars.name, series_colour(number), "square") for number, bars in enumerate(chart.bars)]
    height = max(60.0, len(names) * (14.0 + 16.0 * count))
    frame = Frame(x, y, chart.title, entries if count > 1 else [], y_ticks=ticks, plot_height=height, right=28.0)
    shapes: list[Shape] = []
    for number, bars in enumerate(chart.bars):
        for row, (value, error) in enumerate(_with_errors(bars)):
            middle = len(names) - 1 - row + 0.8 * ((count - 1) / 2 - number) / count
            title = f"{names[row]}{f' · {bars.name}' if bars.name else ''}: {format_number(value, 6)}"
            title += f" ± {format_number(error)}" if error else ""
            shapes += _draw_bar(frame, middle, 0.7 / count, value, error, series_colour(number), title)
    return frame.surround(shapes)


def _with_errors(bars: Bars) -> list[tuple[float, float]]:
    pairs = zip(bars.values, bars.errors or [0.0] * len(bars.values), strict=True)
    return [(float(value), float(error)) for value, error in pairs]


def _draw_bar(
    frame: Frame, middle: Number, thickness: Number, value: Number, error: Number, colour: str, title: str
) -> Iterator[Shape]:
    start, y = frame.place(0.0, middle)
    if not math.isfinite(value):
        yield Text((start + 6, y + 4), "no value", colour="soft")
        return
    end, _ = frame.place(value, middle)
    height = thickness * frame.plot_height / (frame.y.high - frame.y.low)
    yield rectangle(min(start, end), y - height / 2, abs(end - start), height, colour, title)
    reach = end
    if error:
        left, right = (frame.place(value + sign * error, middle)[0] for sign in (-1, 1))
        yield Stroke([(left, y), (right, y)], "ink", 1.5, title=title)
        yield from (Stroke([(x, y - 4), (x, y + 4)], "ink", 1.5) for x in (left, right))
        reach = right if value >= 0 else left
    sign = 1 if value >= 0 else -1
    yield Text((reach + 5 * sign, y + 4), format_number(value, 3), "start" if value >= 0 else "end", colour="soft")


def draw_histogram(chart: Histogram) -> Drawing:
    """The drawing of a ``Histogram``."""
    edges, counts = count_bins(chart.values, chart.bins, log=chart.log_x)
    x = Axis(edges[0], edges[-1], chart.log_x, chart.x_label)
    y = fit_axis(counts, label=chart.y_label, limits=(0.0, None), margin=0.05)
    lost = sum(not x.holds(value) for value in chart.values)
    frame = Frame(x, y, chart.title, note=f"{lost} values have no place on this axis" if lost else "")
    shapes: list[Shape] = []
    for start, end, count in zip(edges, edges[1:], counts, strict=False):
        left, top = frame.place(start, count)
        right, bottom = frame.place(end, 0.0)
        title = f"{format_number(start, 4)} to {format_number(end, 4)}: {count:,}"
        shapes.append(rectangle(left, top, max(0.5, right - left - 1), bottom - top, "s0", title))
    return frame.surround(shapes)


def count_bins(values: Sequence[Number], bins: int | None, *, log: bool = False) -> tuple[list[float], list[int]]:
    """Edges of equal bins and how many values lie in each; the last bin holds its end.

    Args:
        values: Those that are not finite, and with ``log`` not positive, are left out.
        bins: How many; None = Freedman and Diaconis's rule (1981), 5 to 60.
        log: Whether bins are of equal factors.
    """
    places = sorted(
        math.log10(value) if log else value for value in values if math.isfinite(value) and (value > 0 or not log)
    )
    places = [float(place) for place in places]
    low, high = (places[0], places[-1]) if places else (0.0, 1.0)
    if low == high:
        low, high = low - 0.5, high + 0.5
    if bins is None:
        spread = places[3 * len(places) // 4] - places[len(places) // 4] if places else 0.0
        width = 2 * spread / max(len(places), 1) ** (1 / 3)
        bins = min(_MOST_BINS, max(5, math.ceil((high - low) / width))) if width > 0 else 10
    counts = [0] * bins
    for place in places:
        counts[min(bins - 1, int((place - low) / (high - low) * bins))] += 1
    edges = [low + (high - low) * number / bins for number in range(bins + 1)]
    return [10.0**edge if log else edge for edge in edges], counts


def draw_timeline(chart: Timeline) -> Drawing:
    """The drawing of a ``Timeline``: one row for each name, bars from start to end in the colour of their state."""
    rows = list(dict.fromkeys(span.row for span in chart.spans))
    states = list(dict.fromkeys(span.state for span in chart.spans))
    ends = [time for span in chart.spans for time in (span.start, span.end)]
    x = fit_axis([0.0, *ends], label=chart.x_label)
    ticks = [(len(rows) - 1 - number, name) for number, name in enumerate(rows)]
    entries = [Entry(state, state_colour(state, states), "square") for state in states]
    height = max(60.0, min(26.0, max(8.0, 900.0 / max(len(rows), 1))) * len(rows))
    if len(rows) * 16 > height:
        ticks = ticks[:: -(-len(rows) * 16 // int(height))]
    y = Axis(-0.5, max(len(rows), 1) - 0.5)
    frame = Frame(x, y, chart.title, entries, y_ticks=ticks, plot_height=height, right=28.0)
    places = {name: len(rows) - 1 - number for number, name in enumerate(rows)}
    shapes = [
        _draw_span(frame, places[span.row], span.start, span.end, state_colour(span.state, states), _span_title(span))
        for span in chart.spans
    ]
    return frame.surround(shapes)


def _span_title(span: Span) -> str:
    more = f"\n{span.text}" if span.text else ""
    return f"{span.row}: {span.state}, {format_seconds(span.end - span.start)}{more}"


def _draw_span(frame: Frame, row: int, start: Number, end: Number, colour: str, title: str) -> Area:
    left, top = frame.place(start, row + 0.35)
    right, bottom = frame.place(end, row - 0.35)
    return inside(frame, rectangle(left, top, max(1.5, right - left), bottom - top, colour, title))
