"""Curves as characters."""

from __future__ import annotations

from gpt_lightning.training.profiling.line_chart import Curve, draw_text

_RAMP = Curve("ramp", [(0.0, 0.0), (100.0, 1.0)])
_FLAT = Curve("flat", [(0.0, 0.5), (50.0, 0.5)])


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


def test_a_rate_of_zero_can_be_drawn() -> None:
    assert draw_text([Curve("zero", [(0.0, 0.0), (3.0, 0.0)])])
