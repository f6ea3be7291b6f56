"""Charts: what is drawn lies where it belongs, can be read, and hides nothing."""

from __future__ import annotations

import io
import math
from dataclasses import replace
from itertools import pairwise
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageColor

from gpt_lightning.reports.bar_drawing import count_bins
from gpt_lightning.reports.charts import (
    BarChart,
    Bars,
    Chart,
    HeatMap,
    Histogram,
    LineChart,
    Mark,
    ScatterChart,
    Series,
    Span,
    Timeline,
)
from gpt_lightning.reports.drawing import Text, text_width
from gpt_lightning.reports.grid_drawing import contour_segments
from gpt_lightning.reports.line_drawing import thin
from tests.reports.documents import SVG, parse_svg, texts_of, titles_of

_ODD = 'a <b> & "c" \'\x00\x1b \ud800 \u4e2d'
_SHOWN = 'a <b> & "c" \'\ufffd\ufffd \ufffd \u4e2d'
_RAMP = Series("ramp", [0, 100], [0.0, 1.0])
_FLAT = Series("flat", [0, 50], [0.5, 0.5])

CHARTS: dict[str, Chart] = {
    "lines": LineChart([Series(_ODD, [1, 2, 3], [3.0, math.nan, 1e-9])], title=_ODD, x_label="step", y_label=_ODD),
    "no lines": LineChart([], title="empty"),
    "empty line": LineChart([Series("a", [], []), Series("b", [0], [1])], title="t"),
    "band": LineChart(
        [Series("a", [1, 2], [1, 2], low=[0.5, -1], high=[1.5, 3]), Series("seed", [1, 2], [1, 1], faint=True)],
        title="t",
        log_y=True,
        marks=[Mark(1.2, _ODD), Mark(1.5, "x", horizontal=False), Mark(99, "outside")],
    ),
    "points": ScatterChart([1e-4, 1e-3], [2, 1], title=_ODD, log_x=True, labels=[_ODD, "b"], groups=["complete", _ODD]),
    "values": ScatterChart([0, 1], [2, math.inf], title="t", values=[1, 100], log_values=True, value_label="batch"),
    "bars": BarChart([_ODD, "b"], [Bars("one", [1, -2], [0.1, 0.2]), Bars("two", [math.nan, 0])], title="t"),
    "histogram": Histogram([1, 2, 2, 3, math.nan], title="t", x_label="value"),
    "no values": Histogram([], title="t"),
    "timeline": Timeline([Span(_ODD, 0, 5, "complete"), Span("b", 2, 3, _ODD, "why")], title="t"),
    "grid": HeatMap([1e-4, 1e-3, 1e-2], [1, 2], [[1, 2, 3], [2, None, math.nan]], title="t", log_x=True, contours=4),
    "names": HeatMap([_ODD, "b"], ["one"], [[1, 2]], title="t", value_label="loss"),
}


def _curves(root: ElementTree.Element, width: str = "2") -> list[list[tuple[float, float]]]:
    lines = [line for line in root.iter(f"{SVG}polyline") if line.attrib["stroke-width"] == width]
    return [[_pair(pair) for pair in line.attrib["points"].split()] for line in lines]


def _pair(text: str) -> tuple[float, float]:
    x, y = text.split(",")
    return float(x), float(y)


def test_names_of_columns_do_not_run_into_each_other() -> None:
    names = [f"setting number {number}" for number in range(9)]
    drawing = HeatMap(names, ["one"], [list(range(9))], title="t").draw()
    shown = [shape for shape in drawing.shapes if isinstance(shape, Text) and shape.text in names]
    assert 2 <= len(shown) < 9
    assert all(b.place[0] - a.place[0] > text_width(a.text) for a, b in pairwise(shown))
    few = HeatMap(["1", "2", "3"], ["one"], [[1, 2, 3]], title="t").draw()
    assert sum(isinstance(shape, Text) and shape.text in "123" for shape in few.shapes) >= 3


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS.keys())
def test_every_chart_is_one_document_within_its_paper(chart: Chart) -> None:
    root = parse_svg(chart)
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    shapes = [each for each in root.iter() if "points" in each.attrib]
    places = [_pair(pair) for shape in shapes for pair in shape.attrib["points"].split()]
    places += [(float(dot.attrib["cx"]), float(dot.attrib["cy"])) for dot in root.iter(f"{SVG}circle")]
    assert all(0 <= x <= width + 0.5 and 0 <= y <= height + 0.5 for x, y in places)
    assert chart.svg().count("://") == 1, "the name space, and nothing to fetch"
    headers, rows = chart.key_points()
    assert all(len(row) == len(headers) for row in rows)
    assert Image.open(io.BytesIO(chart.png())).size == (round(2 * width), round(2 * height))


@pytest.mark.parametrize("name", ["lines", "points", "bars", "timeline", "names"])
def test_texts_are_shown_as_they_are(name: str) -> None:
    root = parse_svg(CHARTS[name])
    assert any(_SHOWN in text for text in [*texts_of(root), *titles_of(root)])


def test_curves_lie_where_their_values_are() -> None:
    root = parse_svg(LineChart([_RAMP, _FLAT], title="t", x_label="steps", y_label="rate", y_limits=(0, None)))
    (start, end), (flat, flat_end) = _curves(root)
    assert flat_end[0] == pytest.approx((start[0] + end[0]) / 2, abs=0.02)
    assert flat[1] == pytest.approx((start[1] + end[1]) / 2, abs=0.02)
    assert end[1] < start[1]  # y grows downwards
    assert {"ramp", "flat", "steps", "rate", "0.0", "1.0", "100"} <= set(texts_of(root))
    assert "ramp\nsteps 100: 1.00000" in titles_of(root)


def test_logarithmic_axes_make_factors_distances() -> None:
    root = parse_svg(LineChart([Series("a", [1, 10, 100], [1e-4, 1e-2, 1])], title="t", log_x=True, log_y=True))
    ((a, b, c),) = _curves(root)
    assert b[0] == pytest.approx((a[0] + c[0]) / 2, abs=0.02)
    assert b[1] == pytest.approx((a[1] + c[1]) / 2, abs=0.02)


def test_what_has_no_place_is_a_gap_and_told() -> None:
    values = [1.0, 2.0, math.nan, 3.0, 4.0, 0.0]
    root = parse_svg(LineChart([Series("a", list(range(6)), values)], title="t", log_y=True))
    assert [len(curve) for curve in _curves(root)] == [2, 2]
    assert "1 points are not finite; 1 points <= 0 have no place on a logarithmic axis" in texts_of(root)


def test_curves_are_cut_off_at_given_limits() -> None:
    series = Series("a", [0, 1, 2, 3], [0.0, 10.0, 10.0, 0.0])
    root = parse_svg(LineChart([series], title="t", x_limits=(0, None), y_limits=(0, 5)))
    up, down = _curves(root)
    assert len(up) == len(down) == 2
    assert up[1][1] == pytest.approx(down[0][1])
    width = down[1][0] - up[0][0]
    assert up[1][0] - up[0][0] == pytest.approx(width / 6, abs=0.02)  # half way up the first third


def test_long_curves_keep_their_spikes() -> None:
    points = [(float(n), 1.0) for n in range(10_000)]
    points[4567], points[7000] = (4567.0, 99.0), (7000.0, math.nan)
    kept = thin(points, 600)
    assert len(kept) <= 620
    assert points[4567] in kept
    assert points[-1] in kept
    assert any(math.isnan(y) for _, y in kept)
    assert [x for x, _ in kept] == sorted(x for x, _ in kept)
    assert thin(points[:600], 600) == points[:600]


def test_a_great_many_curves_stay_small_and_their_legend_short() -> None:
    series = [Series(f"trial {n}", list(range(100)), [n % 7 + s for s in range(100)]) for n in range(100)]
    chart = LineChart(series, title="t")
    root = parse_svg(chart)
    assert sum(map(len, _curves(root, "1"))) < 14_000
    assert len(list(root.iter(f"{SVG}circle"))) <= 1600
    assert "and 76 more" in texts_of(root)
    assert len(chart.key_points()[1]) == 31


def test_no_two_of_many_curves_look_alike() -> None:
    series = [Series(f"run {n}", [0, 1], [n, n]) for n in range(28)]
    lines = [line for line in parse_svg(LineChart(series, title="t")).iter(f"{SVG}polyline") if "class" in line.attrib]
    looks = [
        (line.attrib["stroke"], line.get("stroke-dasharray")) for line in lines if line.attrib["stroke-width"] == "1"
    ]
    assert len(set(looks[-28:])) == 28


def test_bars_grow_from_0() -> None:
    chart = BarChart(["a", "b", "c"], [Bars("", [1.0, 2.0, -1.0])], title="t")
    places = [
        [_pair(pair)[0] for pair in bar.attrib["points"].split()]
        for bar in parse_svg(chart).iter(f"{SVG}polygon")
        if bar.find(f"{SVG}title") is not None
    ]
    (start, one, *_), (start_too, two, *_), (minus, zero, *_) = places
    assert start == start_too == pytest.approx(zero)
    assert two - start == pytest.approx(2 * (one - start), abs=0.02)
    assert zero - minus == pytest.approx(one - start, abs=0.02)


def test_bins_hold_every_value_once() -> None:
    edges, counts = count_bins([0.0, 0.5, 1.0, 1.0, math.inf], 2)
    assert (edges, counts) == ([0.0, 0.5, 1.0], [1, 3])
    edges, counts = count_bins([1, 10, 100, 0], 2, log=True)
    assert edges == pytest.approx([1, 10, 100])
    assert counts == [1, 2]
    _, counts = count_bins([float(n) for n in range(1000)], None)
    assert sum(counts) == 1000
    assert 5 <= len(counts) <= 60


def test_contours_lie_where_the_value_is() -> None:
    values = [[float(column + 2 * row) for column in range(4)] for row in range(3)]
    places = [place for segment in contour_segments(values, 2.5) for place in segment]
    assert places
    assert all(column + 2 * row == pytest.approx(2.5) for column, row in places)
    assert list(contour_segments([[None, 1.0], [0.0, 1.0]], 0.5)) == []


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(ValueError, match="'x': 2, 'y': 1"):
        Series("a", [1, 2], [1])
    with pytest.raises(ValueError, match="'labels': 1"):
        ScatterChart([1, 2], [1, 2], title="t", labels=["a"])
    with pytest.raises(ValueError, match="different lengths"):
        HeatMap([1, 2], [1], [[1]], title="t")


def test_png_is_the_same_picture_twice_as_large() -> None:
    chart = LineChart([_RAMP, _FLAT], title="t", x_label="steps", y_label="rate", y_limits=(0, None))
    picture = Image.open(io.BytesIO(chart.png()))
    for stroke in [line for line in parse_svg(chart).iter(f"{SVG}polyline") if line.attrib["stroke-width"] == "2"]:
        x, y = _pair(stroke.attrib["points"].split()[0])
        assert picture.getpixel((round(2 * x) + 2, round(2 * y))) == ImageColor.getrgb(stroke.attrib["stroke"])


def test_points_on_choices_with_a_curve_over_them() -> None:
    chart = ScatterChart(
        x=[0, 1, 1],
        y=[3.0, 2.0, 1.0],
        title="By choice",
        x_label="shape",
        x_names=["WSD", "Cosine"],
        lines=[Series("best so far", [0, 1], [3.0, 1.0], dashed=True)],
    )
    svg = chart.svg()
    for text in ("WSD", "Cosine", "best so far", "shape: Cosine"):
        assert text in svg
    assert svg.count("<polyline") == replace(chart, lines=[]).svg().count("<polyline") + 2  # and one in the legend
    assert [row[1] for row in chart.key_points()[1]] == ["Cosine", "WSD"]
