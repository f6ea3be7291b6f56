"""Charts as frozen records of what is shown: each builds its interactive figure, and says its key points as a table.

Labels carry units ("learning rate", "tokens", "seconds"). Numbers that are not finite are gaps, and the chart says so.
plotly is imported when a figure is built, so that a record costs nothing.
"""

from __future__ import annotations

import colorsys
import html
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.extras import import_extra
from gpt_lightning.reports.numbers import Number, clean, sparkline

PALETTE = ("#2f86cf", "#dd6b20", "#1a9c75", "#c565a8", "#c98a00", "#45a6dd", "#8a939d")
"""After Okabe and Ito, whom colour-blind readers can tell apart, in tones that are legible on light and dark paper."""
FAINT = "#8a939d"
DASHES = ("solid", "dash", "dot", "dashdot")
_MOST_ROWS, _MOST_POINTS = 30, 60_000
Rows = tuple[list[str], list[list[object]]]
"""Headers and rows of a table."""
Limits = tuple[Number | None, Number | None]


def import_plotly() -> Any:
    """``plotly.graph_objects``.

    Raises:
        ConfigError: It is not installed; says the command.
    """
    return import_extra("plotly.graph_objects", "reports", "Pages with charts need", ConfigError)


def label(text: str) -> str:
    """``text`` as plotly shows it: its few HTML elements are none in what people name things."""
    return html.escape(clean(text), quote=False).replace("\n", "<br>")


class Chart(ABC):
    """Something that can be drawn; ``title`` stands above it, ``note`` below."""

    title: str

    @property
    def note(self) -> str:
        """What the picture does not show."""
        return ""

    @abstractmethod
    def figure(self) -> Any:
        """A ``plotly.graph_objects.Figure`` without colours of the paper, which the page has; or its JSON as a dict.

        The library checks each of many traces for milliseconds, which a page that goes on does not have.
        """

    @abstractmethod
    def key_points(self) -> Rows:
        """What a reader without pictures should know: headers and rows of a table."""


@dataclass(frozen=True)
class Plot(Chart):
    """A figure that is built elsewhere, with what it says in words; Optuna's plots for example."""

    title: str
    content: Any
    headers: Sequence[str]
    rows: Sequence[Sequence[object]]

    def figure(self) -> Any:
        """As it was given."""
        return self.content

    def key_points(self) -> Rows:
        """As they were given."""
        return list(self.headers), [list(row) for row in self.rows]


def _same_length(**columns: Sequence[object] | None) -> None:
    lengths = {name: len(column) for name, column in columns.items() if column is not None}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"columns of different lengths: {lengths}")


@dataclass(frozen=True)
class Series:
    """A curve, or points.

    Attributes:
        name: For the legend; series of a name are shown and hidden together in all charts of a page.
        x: From left to right.
        y: As many; what is not finite is a gap.
        low: Lower edge of a band around the curve (a minimum over seeds, a quantile).
        high: Upper edge of it.
        labels: A text more for each point under the pointer.
        dashed: Draw it dashed.
        dots: Mark every point.
        line: Join the points.
        faint: Background: thin, grey, not in the legend.
        colour: "#rrggbb"; None = by its place among the series.
    """

    name: str
    x: Sequence[Number]
    y: Sequence[Number]
    low: Sequence[Number] | None = None
    high: Sequence[Number] | None = None
    labels: Sequence[str] | None = None
    dashed: bool = False
    dots: bool = False
    line: bool = True
    faint: bool = False
    colour: str | None = None

    def __post_init__(self) -> None:
        _same_length(x=self.x, y=self.y, low=self.low, high=self.high, labels=self.labels)

    def thinned(self, most: int) -> Series:
        """At most about ``most`` points: first, lowest and highest of each stretch, so that no spike or gap is lost."""
        if len(self.x) <= most or self.low is not None or self.labels is not None:
            return self
        stretch = -(-len(self.x) // (most // 3))
        kept: list[int] = []
        for start in range(0, len(self.x), stretch):
            part = range(start, min(start + stretch, len(self.x)))
            finite = sorted((index for index in part if math.isfinite(self.y[index])), key=lambda at: float(self.y[at]))
            kept += sorted({part[0], *finite[:1], *finite[-1:], *(set(part) - set(finite))})
        kept += [len(self.x) - 1] if kept[-1] != len(self.x) - 1 else []
        return replace(self, x=[self.x[index] for index in kept], y=[self.y[index] for index in kept])


@dataclass(frozen=True)
class Mark:
    """A line across the plot at ``value``, its text outside: horizontal, or upright at a value of x."""

    value: Number
    text: str
    horizontal: bool = True


@dataclass(frozen=True)
class LineChart(Chart):
    """Curves and points over a common axis.

    Attributes:
        series: The curves; long ones are thinned without losing spikes.
        x_label: With its unit.
        y_label: With its unit.
        log_x: Logarithmic axis; so ``log_y``.
        x_limits: Ends of the axis at first, before anybody zooms; so ``y_limits``.
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

    @property
    def note(self) -> str:
        """How many points have no place, because a curve that stops looks like a run that stopped."""
        pairs = [pair for each in self.series for pair in zip(each.x, each.y, strict=True)]
        finite = [(x, y) for x, y in pairs if math.isfinite(y)]
        hidden = sum((self.log_x and x <= 0) or (self.log_y and y <= 0) for x, y in finite)
        parts = [f"{len(pairs) - len(finite)} points are not finite"] if len(finite) < len(pairs) else []
        parts += [f"{hidden} points <= 0 have no place on a logarithmic axis"] if hidden else []
        return "; ".join(parts)

    @property
    def entries(self) -> list[Series]:
        """What the legend lists; none where a single curve needs no name."""
        shown = [each for each in self.series if not each.faint and len(each.x)]
        return shown if self.legend or len(self.series) > 1 else []

    def drawn(self) -> Iterator[tuple[Series, str, str]]:
        """Series in the order of drawing, faint ones below, each with its colour and one of ``DASHES``."""
        shown = [each for each in self.series if len(each.x)]
        most = max(90, min(3000, _MOST_POINTS // max(1, len(shown))))
        for each in shown:
            if each.faint:
                yield each.thinned(most), FAINT, "solid"
        clear = [each for each in shown if not each.faint]
        for number, each in enumerate(clear):
            # A curve that coincides with an earlier one is broken: both are seen.
            turn = sum(list(other.y) == list(each.y) and list(other.x) == list(each.x) for other in clear[:number])
            turn += 1 if each.dashed else number // len(PALETTE) if len(clear) <= len(PALETTE) * len(DASHES) else 0
            yield each.thinned(most), each.colour or _colour(number, len(clear)), DASHES[turn % len(DASHES)]

    def figure(self) -> Any:
        """The interactive figure: zoom, values under the pointer, curves that can be switched off."""
        figure = import_plotly().Figure()
        entries = self.entries
        faint = [series for series, _, _ in self.drawn() if series.faint]
        if faint:
            figure.add_scatter(**_together(faint))
        for series, colour, dash in self.drawn():
            if series.faint:
                continue
            _add_band(figure, series, colour)
            figure.add_scatter(
                x=list(series.x), y=[float(value) if math.isfinite(value) else None for value in series.y],
                name=label(series.name), legendgroup=label(series.name),
                showlegend=any(series.name == each.name for each in entries),
                text=None if series.labels is None else list(map(label, series.labels)),
                mode="+".join(["lines"] * series.line + ["markers"] * (series.dots or len(series.x) == 1)),
                line={"color": colour, "dash": dash, "width": 1 if len(entries) > 12 else 2},
                marker={"color": colour, "size": 7 if series.line else 9},
                hovertemplate="%{y:.6~g}" if series.labels is None else "%{text}",
            )  # fmt: skip
        together = len(self.series) <= 8 and all(each.labels is None for each in self.series)
        figure.update_layout(hovermode="x unified" if together else "closest")
        figure.update_xaxes(**_axis(self.x_label, self.log_x, self.x_limits), hoverformat=",.8~g")
        figure.update_yaxes(**_axis(self.y_label, self.log_y, self.y_limits))
        for mark in self.marks:
            _add_mark(figure, mark)
        beside = max((len(mark.text) for mark in self.marks if mark.horizontal), default=0)
        if beside:
            figure.update_layout(margin={"r": 16 + 7 * beside})
        return figure

    def key_points(self) -> Rows:
        """First, lowest, highest and last value of each curve."""
        rows: list[list[object]] = []
        shown = [each for each in self.series if len(each.y) and not each.faint]
        for each in shown[:_MOST_ROWS]:
            # A comparison with what is no number holds for neither side, so min and max would depend on its place.
            finite = [float(value) for value in each.y if math.isfinite(value)]
            ends = [float(each.y[0]), min(finite, default=None), max(finite, default=None), float(each.y[-1])]
            rows.append([each.name, *ends, _whole(each.x[-1]), sparkline(each.y, 24)])
        if len(shown) > _MOST_ROWS:
            rows.append([f"and {len(shown) - _MOST_ROWS} more", *[None] * 6])
        return ["curve", "first", "lowest", "highest", "last", f"last {self.x_label or 'x'}", "course"], rows


def _together(faint: Sequence[Series]) -> dict[str, Any]:
    """Background curves as one trace with gaps between them: hundreds of traces take seconds to build and to draw."""
    import numpy as np

    x = np.concatenate([np.array([*each.x, math.nan], dtype=float) for each in faint])
    y = np.concatenate([np.array([*each.y, math.nan], dtype=float) for each in faint])
    y[~np.isfinite(y)] = math.nan
    return {
        "x": x, "y": y, "hoverinfo": "skip", "showlegend": False, "mode": "lines", "name": "",
        "line": {"color": FAINT, "width": 1}, "opacity": 0.45, "connectgaps": False,
    }  # fmt: skip


def _whole(value: Number) -> Number:
    """A count as a count: steps are kept as floats on their way here."""
    return int(value) if math.isfinite(value) and value == int(value) else value


def _colour(number: int, count: int) -> str:
    """The palette, in turn with other dashes; a great many go through the hues in their order."""
    if count <= len(PALETTE) * len(DASHES):
        return PALETTE[number % len(PALETTE)]
    red, green, blue = colorsys.hls_to_rgb(0.85 * number / count, 0.5, 0.6)
    return f"#{round(255 * red):02x}{round(255 * green):02x}{round(255 * blue):02x}"


def _add_band(figure: Any, series: Series, colour: str) -> None:
    """The area between ``low`` and ``high``."""
    if series.low is None or series.high is None:
        return
    red, green, blue = (int(colour[at : at + 2], 16) for at in (1, 3, 5))
    common = {"x": list(series.x), "mode": "lines", "line": {"width": 0}, "hoverinfo": "skip", "showlegend": False}
    common["legendgroup"] = label(series.name)
    figure.add_scatter(**common, y=list(series.low))
    figure.add_scatter(**common, y=list(series.high), fill="tonexty", fillcolor=f"rgba({red},{green},{blue},0.18)")


def _axis(title: str, log: bool, limits: Limits) -> dict[str, Any]:
    ends = [None if end is None else math.log10(end) if log and end > 0 else float(end) for end in limits]
    given: dict[str, Any] = {} if ends == [None, None] else {"range": ends}
    if None in ends and given:
        given["autorange"] = "max" if ends[1] is None else "min"
    return {"title": {"text": label(title)}, "type": "log" if log else "linear", **given}


def _add_mark(figure: Any, mark: Mark) -> None:
    """The text stands at the edge of the plot, where no curve is."""
    place: dict[str, Any] = {"yref": "y", "y": mark.value, "xref": "paper", "x": 1.0, "xanchor": "left", "xshift": 4}
    ends: dict[str, Any] = {"yref": "y", "y0": mark.value, "y1": mark.value, "xref": "paper", "x0": 0, "x1": 1}
    if not mark.horizontal:
        place = {"xref": "x", "x": mark.value, "yref": "paper", "y": 1.0, "yanchor": "bottom"}
        ends = {"xref": "x", "x0": mark.value, "x1": mark.value, "yref": "paper", "y0": 0, "y1": 1}
    figure.add_shape(type="line", line={"color": FAINT, "dash": "dash", "width": 1.5}, **ends)
    figure.add_annotation(text=label(mark.text), showarrow=False, font={"size": 12}, **place)
