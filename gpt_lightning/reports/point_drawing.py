"""Points on a frame, coloured by a third value or by a group, and curves over them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from gpt_lightning.reports.axes import Axis, fit_axis
from gpt_lightning.reports.drawing import Dot, Drawing, Shape, Stroke, shorten
from gpt_lightning.reports.frame import Entry, Frame, colour_bar
from gpt_lightning.reports.line_drawing import visible_pieces
from gpt_lightning.reports.numbers import format_number
from gpt_lightning.reports.style import gradient, state_colour

if TYPE_CHECKING:
    from gpt_lightning.reports.charts import ScatterChart

COLOUR_STEPS = 48
_NAMES_WIDTH = 440.0
"""Pixels that the names of choices share, with room for a bar of colours."""


def draw_points(chart: ScatterChart) -> Drawing:
    """The drawing of a ``ScatterChart``."""
    across, limits, margin = [*chart.x, *(x for line in chart.lines for x in line.x)], chart.x_limits, 0.04
    if chart.x_names:
        limits, margin = (-0.5, len(chart.x_names) - 0.5), 0.0
    x = fit_axis(across, label=chart.x_label, log=chart.log_x, limits=limits, margin=margin)
    heights = [*chart.y, *(y for line in chart.lines for y in line.y)]
    y = fit_axis(heights, label=chart.y_label, log=chart.log_y, limits=chart.y_limits, margin=0.06)
    groups = list(dict.fromkeys(chart.groups))
    entries = [Entry(group, state_colour(group, groups), "dot") for group in groups]
    entries += [Entry(line.name, line.colour or "ink", dash="6 4" if line.dashed else "") for line in chart.lines]
    scale = fit_axis(chart.values, label=chart.value_label, log=chart.log_values) if chart.values else None
    hidden = sum(not (x.holds(a) and y.holds(b)) for a, b in zip(chart.x, chart.y, strict=True))
    note = f"{hidden} points have no place on these axes" if hidden else ""
    room = int(_NAMES_WIDTH / max(1, len(chart.x_names)))
    ticks = [(float(place), shorten(name, room)) for place, name in enumerate(chart.x_names)] or None
    frame = Frame(x, y, chart.title, entries, x_ticks=ticks, right=110.0 if scale else 16.0, note=note)
    shapes: list[Shape] = []
    for line in chart.lines:
        for piece in visible_pieces(frame, line.x, line.y):
            shapes.append(Stroke(piece, line.colour or "ink", 1.5, "6 4" if line.dashed else "", line.name))
    shapes += _draw_dots(frame, chart, scale, groups)
    if scale is not None:
        shapes += colour_bar(frame, scale, [gradient(step / (COLOUR_STEPS - 1)) for step in range(COLOUR_STEPS)])
    return frame.surround(shapes)


def _draw_dots(frame: Frame, chart: ScatterChart, scale: Axis | None, groups: Sequence[str]) -> Iterator[Shape]:
    for number, (a, b) in enumerate(zip(chart.x, chart.y, strict=True)):
        if not (frame.x.holds(a) and frame.y.holds(b)):
            continue
        if not (0 <= frame.x.share(a) <= 1 and 0 <= frame.y.share(b) <= 1):
            continue
        colour = state_colour(chart.groups[number], groups) if chart.groups else "s0"
        lines = [chart.labels[number]] if chart.labels else []
        across = chart.x_names[round(a)] if chart.x_names else format_number(a, 6)
        lines += [f"{frame.x.label or 'x'}: {across}", f"{frame.y.label or 'y'}: {format_number(b, 6)}"]
        if scale is not None:
            value = chart.values[number]
            colour = gradient(scale.share(value)) if scale.holds(value) else "soft"
            lines.append(f"{scale.label or 'value'}: {format_number(float(value), 6)}")
        place = frame.place(a, b)
        # A ring in the colour of ink: the ends of the gradient would vanish on dark or on light paper.
        yield Dot(place, 5.5, "ink")
        yield Dot(place, 4.75, colour, "\n".join(lines))
