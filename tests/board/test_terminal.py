"""What the terminal shows, character by character."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from gpt_lightning.board.terminal import (
    Lines,
    LiveTable,
    Nothing,
    RewrittenLine,
    Standing,
    choose_view,
    describe,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


NOW = Standing(50, 200, 4.5, 0.01, 12345.0, eta_seconds=3700.0, val_loss=4.75, losses=[9.0, 6.0, 5.0, 4.5])


def test_line() -> None:
    line = describe(NOW, curve=True)
    assert line == "step 50/200  loss 4.5000  val 4.7500  lr 1.00e-02  12.3k tokens/s  ETA 1:01:40  █▃▂▁"


def test_elsewhere_there_is_nothing_that_only_a_terminal_understands() -> None:
    stream = io.StringIO()
    view = choose_view(None, stream, "run-1")
    view.show(NOW)
    view.say("something else")
    view.show(replace(NOW, step=200))
    view.close()
    assert re.search(r"[\r\x1b]", stream.getvalue()) is None
    assert len(stream.getvalue().splitlines()) == 3
    assert view.seconds >= 10


def test_a_rewritten_line_is_never_written_into() -> None:
    stream = Terminal()
    view = choose_view("plain", stream, "run-1")
    view.show(NOW)
    view.say("alert")
    view.show(NOW)
    view.close()
    shown = stream.getvalue().split("\n")
    assert shown[0].endswith("\r\x1b[Kalert")
    assert shown[1].startswith("\r\x1b[Kstep 50")
    assert shown[2] == ""


def test_the_table_holds_everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.setenv("TERM", "xterm")
    stream = Terminal()
    view = choose_view(None, stream, "run-1")
    view.show(NOW)
    view.say("alert [with brackets]")
    view.show(replace(NOW, step=200))
    view.close()
    view.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    for part in ("run-1", "step 50 of 200", "25%", "4.5000", "4.7500", "12.3k", "1:01:40", "█▃▂▁", "100%"):
        assert part in text
    assert "alert [with brackets]" in text
    assert "\x1b[?25h" in stream.getvalue(), "the cursor is shown again"


def test_the_view_is_the_one_asked_for() -> None:
    assert isinstance(choose_view("none", Terminal(), "r"), Nothing)
    assert isinstance(choose_view("plain", Terminal(), "r"), RewrittenLine)
    assert isinstance(choose_view("plain", io.StringIO(), "r"), Lines)
    assert isinstance(choose_view("rich", io.StringIO(), "r"), LiveTable)
    stream = io.StringIO()
    silent = choose_view("none", stream, "r")
    silent.show(NOW)
    assert stream.getvalue() == ""
    silent.say("a warning")
    assert stream.getvalue() == "a warning\n"
