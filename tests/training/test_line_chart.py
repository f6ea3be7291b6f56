"""Curves as characters and as SVG."""

from __future__ import annotations

import io
from xml.etree import ElementTree

import pytest
from PIL import Image, ImageColor

from gpt_lightning.training.line_chart import Curve, draw_text
from gpt_lightning.training.line_picture import draw_png, draw_svg

_RAMP = Curve("ramp", [(0.0, 0.0), (100.0, 1.0)])
_FLAT = Curve("flat", [(0.0, 0.5), (50.0, 0.5)])
_SVG = "{http://www.w3.org/2000/svg}"


def test_height_between_the_points() -> None:
    assert [_RAMP.at(x) for x in (0.0, 25.0, 100.0, 100.5)] == [0.0, 0.25, 1.0, None]
    assert Curve("late", [(5.0, 1.0), (6.0, 2.0)]).at(4.0) is None


def test_several_curves_are_letters() -> None:
    lines = draw_text([_RAMP, _FLAT], width=28, height=4).splitlines()
    assert lines == [
        "        1 ┤                     aaaaaaa",
        "          ┤              aaaaaaaa",
        "      0.5 ┤bbbbbbbbbbbbbb",
        "        0 ┤aaaaaaa",
        "          └────────────────────────────",
        "           0            50    100 steps",
        "           a  ramp",
        "           b  flat",
    ]


def test_one_curve_is_drawn_in_dots() -> None:
    lines = draw_text([_RAMP], width=4, height=2).splitlines()
    # Eight columns and rows of dots: the diagonal.
    assert [line[11:] for line in lines[:2]] == ["  ⡠⠊", "⡠⠊"]


def test_steep_stretches_stay_connected() -> None:
    curve = Curve("jump", [(0.0, 0.0), (9.0, 0.0), (9.5, 1.0), (20.0, 1.0)])
    lines = draw_text([curve], width=20, height=6).splitlines()
    assert all(line[11:].strip() for line in lines[:6])


def test_colours_tell_curves_apart_on_a_terminal() -> None:
    text = draw_text([_RAMP, _FLAT], colours=True)
    assert "\x1b[34m" in text
    assert "\x1b[31m" in text
    assert "\x1b" not in draw_text([_RAMP, _FLAT])


@pytest.mark.parametrize("top", [1e-5, 3e-4, 0.02, 1.0, 7.0])
@pytest.mark.parametrize("right", [1.0, 600.0, 123456.0])
def test_svg_holds_every_curve_within_its_frame(top: float, right: float) -> None:
    curves = [Curve("a <b> & c", [(0.0, 0.0), (right, top)]), Curve("flat", [(0.0, top / 2), (right / 2, top / 2)])]
    root = ElementTree.fromstring(draw_svg(curves, x_label="steps", y_label="rate"))
    width, height = float(root.attrib["width"]), float(root.attrib["height"])
    lines = [line for line in root.findall(f"{_SVG}polyline") if line.attrib["stroke-width"] == "2"]
    assert len(lines) == 2
    places = [tuple(map(float, pair.split(","))) for line in lines for pair in line.attrib["points"].split()]
    assert all(0 <= x <= width and 0 <= y <= height for x, y in places)
    (start, end, flat, _) = places
    assert end[0] > start[0]
    assert end[1] < flat[1] < start[1]  # y grows downwards
    assert flat[1] == pytest.approx((start[1] + end[1]) / 2, abs=0.02)
    texts = [element.text for element in root.iter(f"{_SVG}text")]
    assert {"a <b> & c", "flat", "steps", "rate", "0"} <= set(texts)
    numbers = [float(text.replace(",", "")) for text in texts if text and text[0].isdigit()]
    assert len(numbers) >= 6


def test_a_rate_of_zero_can_be_drawn() -> None:
    flat = Curve("zero", [(0.0, 0.0), (3.0, 0.0)])
    assert draw_text([flat])
    assert "polyline" in draw_svg([flat], x_label="x", y_label="y")


def test_png_is_the_same_picture_twice_as_large() -> None:
    labels = {"x_label": "steps", "y_label": "rate"}
    root = ElementTree.fromstring(draw_svg([_RAMP, _FLAT], **labels))
    picture = Image.open(io.BytesIO(draw_png([_RAMP, _FLAT], **labels)))
    assert picture.size == tuple(2 * float(root.attrib[side]) for side in ("width", "height"))
    strokes = [line for line in root.findall(f"{_SVG}polyline") if line.attrib["stroke-width"] == "2"]
    for stroke in strokes:
        x, y = map(float, stroke.attrib["points"].split()[0].split(","))
        assert picture.getpixel((round(2 * x) + 1, round(2 * y))) == ImageColor.getrgb(stroke.attrib["stroke"])
