"""Charts: what is drawn lies where it belongs, can be read, and hides nothing."""

from __future__ import annotations

import io
import math
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from gpt_lightning.reports.charts import DASHES, PALETTE, Chart, LineChart, Mark, Plot, Series, import_plotly
from gpt_lightning.reports.pictures import Axis, draw_picture

_ODD = 'a <b> & "c" \'\x00\x1b \ud800 \u4e2d $x$'
_SHOWN = 'a <b> & "c" \'\ufffd\ufffd \ufffd \u4e2d $x$'
_RAMP = Series("ramp", [0, 100], [0.0, 1.0])
_FLAT = Series("flat", [0, 50], [0.5, 0.5])

CHARTS: dict[str, Chart] = {
    "lines": LineChart([Series(_ODD, [1, 2, 3], [3.0, math.nan, 1e-9])], title=_ODD, x_label="step", y_label=_ODD),
    "no lines": LineChart([], title="empty"),
    "empty line": LineChart([Series("a", [], []), Series("_b", [0], [1])], title="t"),
    "band": LineChart(
        [Series("a", [1, 2], [1, 2], low=[0.5, -1], high=[1.5, 3]), Series("seed", [1, 2], [1, 1], faint=True)],
        title="t",
        log_y=True,
        marks=[Mark(1.2, _ODD), Mark(1.5, "x", horizontal=False), Mark(99, "outside")],
    ),
    "points": LineChart([Series(_ODD, [1e-4], [2], labels=[_ODD], line=False, dots=True)], title=_ODD, log_x=True),
    "plot": Plot("made elsewhere", import_plotly().Figure(), ["point"], [[_ODD]]),
}
LINES = {name: chart for name, chart in CHARTS.items() if isinstance(chart, LineChart)}


def _curves(chart: LineChart) -> list[Any]:
    return [trace for trace in chart.figure().data if trace.line.width]


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS.keys())
def test_every_chart_has_a_figure_and_key_points(chart: Chart) -> None:
    assert chart.figure().to_plotly_json()["layout"] is not None
    headers, rows = chart.key_points()
    assert all(len(row) == len(headers) for row in rows)


@pytest.mark.parametrize("chart", LINES.values(), ids=LINES.keys())
def test_every_line_chart_is_a_picture_of_each_kind(chart: LineChart) -> None:
    root = ElementTree.fromstring(draw_picture(chart, ".svg"))
    assert root.tag.endswith("svg")
    size = tuple(round(2 * float(root.attrib[name])) for name in ("width", "height"))
    assert Image.open(io.BytesIO(draw_picture(chart, ".png"))).size == size
    assert draw_picture(chart, ".svg").count(b"://") == 1, "the name space, and nothing to fetch"


def test_pictures_say_what_the_chart_says() -> None:
    chart = LineChart(
        [Series(_ODD, [0, 10], [3.0, math.nan]), Series("_hidden", [0, 10], [1, 2])],
        title=_ODD,
        x_label="steps",
        y_label="nats",
        marks=[Mark(2.0, "expected 2"), Mark(5, "resumed", horizontal=False)],
    )
    texts = [element.text for element in ElementTree.fromstring(draw_picture(chart, ".svg")).iter() if element.text]
    for word in (_SHOWN, "_hidden", "steps", "nats", "expected 2", "resumed", "(1 points are not finite)"):
        assert any(word in text for text in texts), word


def test_pictures_have_their_curves_in_their_colours_where_they_belong() -> None:
    chart = LineChart([Series("a", [0, 1], [1.0, 1.0]), Series("b", [0, 1], [0.0, 0.0])], title="t")
    picture = np.asarray(Image.open(io.BytesIO(draw_picture(chart, ".png"))).convert("RGB")).astype(int)
    rows = []
    for colour in PALETTE[:2]:
        wanted = [int(colour[at : at + 2], 16) for at in (1, 3, 5)]
        found = np.nonzero((picture[:800] == wanted).all(axis=-1))
        assert np.ptp(found[1]) == 2 * 620, "from left to right"
        rows.append(float(np.mean(found[0])))
    assert rows[1] - rows[0] == pytest.approx(2 * 330 / 1.04, abs=2), "from 1 to 0, and a margin of 4 % above"


def test_texts_are_no_html_for_plotly() -> None:
    figure = LineChart(
        [Series("<b>a</b>\n& c", [0], [1], labels=["<i>"])], title="t", x_label="<x>", legend=True
    ).figure()
    (trace,) = figure.data
    assert trace.name == "&lt;b&gt;a&lt;/b&gt;<br>&amp; c"
    assert trace.text == ("&lt;i&gt;",)
    assert figure.layout.xaxis.title.text == "&lt;x&gt;"


def test_curves_keep_their_values_and_gaps_are_gaps() -> None:
    values = [1.0, 2.0, math.nan, 3.0, 4.0, 0.0]
    chart = LineChart([Series("a", list(range(6)), values)], title="t", log_y=True, y_limits=(1, 100))
    (curve,) = _curves(chart)
    assert list(curve.x) == [0, 1, 2, 3, 4, 5]
    assert list(curve.y) == [1.0, 2.0, None, 3.0, 4.0, 0.0]
    assert not curve.connectgaps
    assert chart.note == "1 points are not finite; 1 points <= 0 have no place on a logarithmic axis"
    layout = chart.figure().layout
    assert (layout.yaxis.type, tuple(layout.yaxis.range)) == ("log", (0.0, 2.0))


def test_a_band_lies_between_its_edges_and_goes_with_its_curve() -> None:
    low, high, curve, faint = LINES["band"].figure().data[1:], None, None, LINES["band"].figure().data[0]
    low, high, curve = low
    assert (list(low.y), list(high.y), high.fill) == ([0.5, -1], [1.5, 3], "tonexty")
    assert low.legendgroup == high.legendgroup == curve.legendgroup == "a"
    assert curve.showlegend
    assert not faint.showlegend


def test_texts_of_marks_lie_outside_the_plot_where_no_curve_is() -> None:
    layout = CHARTS["band"].figure().layout
    beside, above, _ = layout.annotations
    assert (beside.xref, beside.x, beside.xanchor, beside.y) == ("paper", 1, "left", 1.2)
    assert (above.yref, above.y, above.yanchor, above.x) == ("paper", 1, "bottom", 1.5)
    assert layout.margin.r > 7 * len(_ODD)


def test_long_curves_keep_their_spikes() -> None:
    x, y = [float(n) for n in range(10_000)], [1.0] * 10_000
    y[4567], y[7000] = 99.0, math.nan
    series = Series("a", x, y)
    kept = series.thinned(600)
    assert len(kept.x) <= 620
    assert (4567.0, 99.0) in zip(kept.x, kept.y, strict=True)
    assert kept.x[-1] == x[-1]
    assert any(math.isnan(value) for value in kept.y)
    assert list(kept.x) == sorted(kept.x)
    short = Series("a", x[:600], y[:600])
    assert short.thinned(600) is short


def test_a_great_many_curves_stay_small_and_their_legend_short() -> None:
    series = [Series(f"trial {n}", list(range(1000)), [n % 7 + s for s in range(1000)]) for n in range(100)]
    chart = LineChart(series, title="t")
    assert sum(len(curve.x) for curve in _curves(chart)) < 70_000
    assert len(chart.key_points()[1]) == 31
    assert b"and 76 more" in draw_picture(LineChart([Series(s.name, [0], [1]) for s in series], title="t"), ".svg")


@pytest.mark.parametrize("count", [28, 90])
def test_no_two_of_many_curves_look_alike(count: int) -> None:
    curves = _curves(LineChart([Series(f"run {n}", [0, 1], [n, n]) for n in range(count)], title="t"))
    assert len({(curve.line.color, curve.line.dash) for curve in curves}) == count


def test_curves_that_coincide_are_both_seen() -> None:
    again = Series("again", _RAMP.x, _RAMP.y)
    looks = [(colour, dash) for _, colour, dash in LineChart([_RAMP, again, _FLAT], title="t").drawn()]
    assert looks == [(PALETTE[0], "solid"), (PALETTE[1], "dash"), (PALETTE[2], "solid")]
    assert set(DASHES) > {"solid", "dash"}


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="'x': 2, 'y': 1"):
        Series("a", [1, 2], [1])
    with pytest.raises(ValueError, match="'labels': 1"):
        Series("a", [1, 2], [1, 2], labels=["a"])


def _places(chart: LineChart) -> list[list[tuple[float, float]]]:
    """Curves of the SVG, without the grid, the legend and lines across."""
    root = ElementTree.fromstring(draw_picture(chart, ".svg"))
    lines = [each for each in root.iter("{http://www.w3.org/2000/svg}polyline") if each.get("stroke-width") == "2.5"]
    return [
        [(float(x), float(y)) for x, y in (pair.split(",") for pair in line.attrib["points"].split())] for line in lines
    ]


def test_curves_lie_where_their_values_are() -> None:
    (start, end), (flat, flat_end) = _places(LineChart([_RAMP, _FLAT], title="t", y_limits=(0, None)))
    assert flat_end[0] == pytest.approx((start[0] + end[0]) / 2, abs=0.02)
    assert flat[1] == pytest.approx((start[1] + end[1]) / 2, abs=0.02)
    assert end[1] < start[1], "y grows downwards"


def test_logarithmic_axes_make_factors_distances() -> None:
    ((a, b, c),) = _places(LineChart([Series("a", [1, 10, 100], [1e-4, 1e-2, 1])], title="t", log_x=True, log_y=True))
    assert b[0] == pytest.approx((a[0] + c[0]) / 2, abs=0.02)
    assert b[1] == pytest.approx((a[1] + c[1]) / 2, abs=0.02)


def test_what_is_not_finite_breaks_a_curve() -> None:
    series = Series("a", list(range(6)), [1.0, 2.0, math.nan, 3.0, 4.0, 0.0])
    assert [len(curve) for curve in _places(LineChart([series], title="t", log_y=True))] == [2, 2]


@pytest.mark.parametrize(
    ("low", "high", "log", "labels"),
    [
        (0.0, 1.0, False, ["0", "0.2", "0.4", "0.6", "0.8", "1"]),
        (0.0, 600.0, False, ["0", "100", "200", "300", "400", "500", "600"]),
        (1.47, 4.17, False, ["1.5", "2", "2.5", "3", "3.5", "4"]),
        (0.0, 20e6, False, ["0", "5M", "10M", "15M", "20M"]),
        (-3.0, 3.0, False, ["-3", "-2", "-1", "0", "1", "2", "3"]),
        (1e-5, 1e-2, True, ["1e-5", "3e-5", "1e-4", "3e-4", "0.001", "0.003", "0.01"]),
        (16.0, 300.0, True, ["20", "50", "100", "200"]),
        (2.50011, 2.50039, False, ["2.50015", "2.5002", "2.50025", "2.5003", "2.50035"]),
        (2.0, 3.0, True, ["2", "2.2", "2.4", "2.6", "2.8", "3"]),
    ],
)
def test_ticks_are_round(low: float, high: float, log: bool, labels: list[str]) -> None:
    assert [label for _, label in Axis([], log, (low, high)).labels()] == labels


@settings(deadline=None, max_examples=60)
@given(low=st.floats(-1e9, 1e9), width=st.floats(1e-6, 1e9), log=st.booleans())
def test_ticks_are_few_and_within(low: float, width: float, log: bool) -> None:
    axis = Axis([low, low + max(width, abs(low) * 1e-6)], log, (None, None))
    ticks = axis.ticks()
    assert len(ticks) <= 10
    assert all(-1e-6 <= axis.share(tick) <= 1 + 1e-6 for tick in ticks)


@pytest.mark.parametrize("values", [[], [0.0], [3.0], [-2.0, -2.0], [math.nan], [math.inf, 1.0], [1e-12]])
@pytest.mark.parametrize("log", [False, True])
@pytest.mark.parametrize("limits", [(None, None), (1.0, None), (None, 5.0)])
def test_there_is_always_an_axis(values: list[float], log: bool, limits: tuple[float | None, float | None]) -> None:
    axis = Axis(values, log, limits)
    assert axis.low < axis.high
    assert axis.ticks()
