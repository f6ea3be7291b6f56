"""Charts as frozen records of what is shown; each draws itself as SVG or PNG, and says its key points as a table.

Labels carry units ("learning rate", "tokens", "seconds"). Numbers that are not finite are gaps, and the chart says so.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from gpt_lightning.reports.axes import Limits
from gpt_lightning.reports.drawing import Drawing
from gpt_lightning.reports.numbers import Number, sparkline

_MOST_ROWS = 30
Rows = tuple[list[str], list[list[object]]]
"""Headers and rows of a table."""


def _whole(value: Number) -> Number:
    """A count as a count: steps are kept as floats on their way here."""
    return int(value) if math.isfinite(value) and value == int(value) else value


class Chart(ABC):
    """Something that can be drawn; ``title`` stands above it."""

    title: str

    @abstractmethod
    def draw(self) -> Drawing:
        """Its shapes."""

    @abstractmethod
    def key_points(self) -> Rows:
        """What a reader without pictures should know: headers and rows of a table."""

    def svg(self, *, alone: bool = True) -> str:
        """An SVG document that refers to nothing outside; ``alone=False``: an element for a ``Page``."""
        return self.draw().svg(alone=alone)

    def png(self) -> bytes:
        """A PNG file of the same picture, twice as large; needs Pillow, which TensorBoard brings."""
        from gpt_lightning.reports.raster import draw_png

        return draw_png(self.draw())


def _same_length(**columns: Sequence[object] | None) -> None:
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of different lengths: {lengths}")


@dataclass(frozen=True)
class Series:
    """A curve.

    Attributes:
        name: For the legend.
        x: From left to right.
        y: As many; what is not finite is a gap.
        low: Lower edge of a band around the curve (a minimum over seeds, a quantile).
        high: Upper edge of it.
        labels: A line more for each point under the pointer.
        dashed: Draw it dashed.
        dots: Mark every point.
        faint: Background: thin, grey, not in the legend.
        colour: A role of ``pages.colours`` or "#rrggbb"; None = by its place among the series.
    """

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    low: Sequence[Number] | None = None
    high: Sequence[Number] | None = None
    labels: Sequence[str] | None = None
    dashed: bool = False
    dots: bool = False
    faint: bool = False
    colour: str | None = None

    def __post_init__(self) -> None:
        _same_length(x=self.x, y=self.y, low=self.low, high=self.high, labels=self.labels)


@dataclass(frozen=True)
class Mark:
    """A line across the plot at ``value``, with its text: horizontal, or upright at a value of x."""

    value: Number
    text: str
    horizontal: bool = True


@dataclass(frozen=True)
class LineChart(Chart):
    """Curves over a common axis.

    Attributes:
        series: The curves; many are drawn thinner, long ones thinned without losing spikes.
        x_label: With its unit.
        y_label: With its unit.
        log_x: Logarithmic axis; so ``log_y``.
        x_limits: Ends of the axis that are given; so ``y_limits``. Curves are cut off there.
        marks: Lines across the plot.
        legend: Whether a single curve has a legend too.
    """

    series: Sequence[Series]
    title: str
    x_label: str = ""
    y_label: str = ""
    log_x: bool = False
    log_y: bool = False
    x_limits: Limits = (None, None)
    y_limits: Limits = (None, None)
    marks: Sequence[Mark] = ()
    legend: bool = False

    def draw(self) -> Drawing:
        """Its shapes."""
        from gpt_lightning.reports.line_drawing import draw_lines

        return draw_lines(self)

    def key_points(self) -> Rows:
        """First, lowest, highest and last value of each curve."""
        rows: list[list[object]] = []
        shown = [each for each in self.series if len(each.y) and not each.faint]
        for each in shown[:_MOST_ROWS]:
            first, last = float(each.y[0]), float(each.y[-1])
            # A comparison with what is no number holds for neither side, so min and max would depend on its place.
            finite = [float(value) for value in each.y if math.isfinite(value)]
            low, high = min(finite, default=None), max(finite, default=None)
            rows.append([each.name, first, low, high, last, _whole(each.x[-1]), sparkline(each.y, 24)])
        if len(shown) > _MOST_ROWS:
            rows.append([f"and {len(shown) - _MOST_ROWS} more", *[None] * 6])
        return ["curve", "first", "lowest", "highest", "last", f"last {self.x_label or 'x'}", "course"], rows


@dataclass(frozen=True)
class ScatterChart(Chart):
    """Points, coloured by a third value or by group.

    Attributes:
        x: One for each point; so ``y``.
        values: A number for each point, shown by colour; empty = none.
        value_label: What it is.
        groups: A name for each point (a state: "complete", "pruned" ...), shown by colour and legend; empty = none.
        labels: A line for each point under the pointer.
        log_values: Whether the colours are on a logarithmic scale.
        x_names: Names of the places 0, 1, ... of an axis of choices instead of numbers; empty = numbers.
        lines: Curves over the points: a best value so far, a front.
    """

    x: Sequence[Number]
    y: Sequence[Number]
    title: str
    x_label: str = ""
    y_label: str = ""
    values: Sequence[Number] = ()
    value_label: str = ""
    groups: Sequence[str] = ()
    labels: Sequence[str] = ()
    log_x: bool = False
    log_y: bool = False
    log_values: bool = False
    x_limits: Limits = (None, None)
    y_limits: Limits = (None, None)
    x_names: Sequence[str] = ()
    lines: Sequence[Series] = ()

    def __post_init__(self) -> None:
        optional = {
            name: column or None for name, column in vars(self).items() if name in ("values", "groups", "labels")
        }
        _same_length(x=self.x, y=self.y, **optional)

    def draw(self) -> Drawing:
        """Its shapes."""
        from gpt_lightning.reports.point_drawing import draw_points

        return draw_points(self)

    def key_points(self) -> Rows:
        """The lowest and the highest point."""
        order = sorted(range(len(self.y)), key=lambda index: self.y[index])
        names = ["lowest", "highest"] if len(order) > 1 else ["only"]
        rows: list[list[object]] = [
            [name, self._x_of(index), float(self.y[index]), self.labels[index] if self.labels else None]
            for name, index in zip(names, dict.fromkeys([*order[:1], *order[-1:]]), strict=False)
        ]
        return ["point", self.x_label or "x", self.y_label or "y", "which"], rows

    def _x_of(self, index: int) -> object:
        place = float(self.x[index])
        return self.x_names[round(place)] if self.x_names else place


@dataclass(frozen=True)
class Bars:
    """Values of one kind, one for each name of the chart; ``errors``: half the length of the line across each end."""

    name: str
    values: Sequence[Number]
    errors: Sequence[Number] | None = None

    def __post_init__(self) -> None:
        _same_length(values=self.values, errors=self.errors)


@dataclass(frozen=True)
class BarChart(Chart):
    """Horizontal bars from 0, in rows of a name each; several ``bars`` stand side by side and have a legend."""

    names: Sequence[str]
    bars: Sequence[Bars]
    title: str
    value_label: str = ""

    def __post_init__(self) -> None:
        for bars in self.bars:
            _same_length(names=self.names, values=bars.values)

    def draw(self) -> Drawing:
        """Its shapes."""
        from gpt_lightning.reports.bar_drawing import draw_bars

        return draw_bars(self)

    def key_points(self) -> Rows:
        """All values."""
        rows: list[list[object]] = [
            [name, *(float(bars.values[row]) for bars in self.bars)] for row, name in enumerate(self.names)
        ]
        return ["", *(bars.name or self.value_label or "value" for bars in self.bars)], rows


@dataclass(frozen=True)
class Histogram(Chart):
    """How often values occur: bins of equal width (equal factors with ``log_x``); ``bins=None``: a fitting number."""

    values: Sequence[Number]
    title: str
    x_label: str = ""
    y_label: str = "count"
    bins: int | None = None
    log_x: bool = False

    def draw(self) -> Drawing:
        """Its shapes."""
        from gpt_lightning.reports.bar_drawing import draw_histogram

        return draw_histogram(self)

    def key_points(self) -> Rows:
        """Number of values and their quartiles."""
        ordered = sorted(float(value) for value in self.values)
        at = [ordered[(len(ordered) - 1) * part // 4] if ordered else None for part in range(5)]
        return ["values", "lowest", "first quartile", "median", "third quartile", "highest"], [[len(ordered), *at]]


@dataclass(frozen=True)
class Span:
    """A bar of a timeline: ``row`` was in ``state`` from ``start`` to ``end``; ``text`` is shown under the pointer."""

    row: str
    start: Number
    end: Number
    state: str
    text: str = ""


@dataclass(frozen=True)
class Timeline(Chart):
    """What was in which state when: a row for each name in order of appearance, times in seconds from 0."""

    spans: Sequence[Span]
    title: str
    x_label: str = "seconds"

    def draw(self) -> Drawing:
        """Its shapes."""
        from gpt_lightning.reports.bar_drawing import draw_timeline

        return draw_timeline(self)

    def key_points(self) -> Rows:
        """Total time of each state."""
        totals: dict[str, list[float]] = {}
        for span in self.spans:
            totals.setdefault(span.state, []).append(span.end - span.start)
        rows: list[list[object]] = [[state, len(times), float(sum(times))] for state, times in totals.items()]
        return ["state", "bars", "seconds"], rows


@dataclass(frozen=True)
class HeatMap(Chart):
    """A value over two others.

    Attributes:
        x: Centre of each column in rising order, or its name.
        y: Centre of each row in rising order (drawn upwards), or its name (drawn from top to bottom).
        values: Rows of values, ``values[row][column]``; None = an empty cell.
        contours: About how many contour lines to draw (only between numbers); 0 = none.
        points: Places to mark, (x, y) in values of the axes: what was measured, the optimum.
    """

    x: Sequence[Number | str]
    y: Sequence[Number | str]
    values: Sequence[Sequence[Number | None]]
    title: str
    x_label: str = ""
    y_label: str = ""
    value_label: str = ""
    log_x: bool = False
    log_y: bool = False
    log_values: bool = False
    contours: int = 0
    points: Sequence[tuple[Number, Number]] = ()

    def __post_init__(self) -> None:
        _same_length(y=self.y, values=self.values)
        for row in self.values:
            _same_length(x=self.x, row=row)

    def draw(self) -> Drawing:
        """Its shapes."""
        from gpt_lightning.reports.grid_drawing import draw_grid

        return draw_grid(self)

    def key_points(self) -> Rows:
        """The lowest and the highest cell."""
        cells = [
            (float(value), x, y)
            for y, row in zip(self.y, self.values, strict=True)
            for x, value in zip(self.x, row, strict=True)
            if value is not None and value == value
        ]
        ends = (
            [("lowest", min(cells, key=lambda cell: cell[0])), ("highest", max(cells, key=lambda cell: cell[0]))]
            if cells
            else []
        )
        rows: list[list[object]] = [[name, x, y, value] for name, (value, x, y) in ends]
        return ["cell", self.x_label or "x", self.y_label or "y", self.value_label or "value"], rows
