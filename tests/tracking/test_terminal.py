"""What the terminal shows, character by character."""

from __future__ import annotations

import io
import re
from dataclasses import replace

import pytest

from gpt_lightning.tracking.terminal import (
    Lines,
    LiveTable,
    Nothing,
    ProgressState,
    RewrittenLine,
    choose_view,
    describe,
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def able(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")


NOW = ProgressState(50, 200, 4.5, 0.01, 12345.0, eta_seconds=3700.0, val_loss=4.75, losses=[9.0, 6.0, 5.0, 4.5])


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


@pytest.mark.parametrize("term", ["", "dumb", "unknown"])
def test_a_terminal_that_cannot_move_gets_lines(term: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", term)
    stream = Terminal()
    for progress in (None, "plain", "rich"):
        choose_view(progress, stream, "r").show(NOW)
    assert "\x1b" not in stream.getvalue()
    assert stream.getvalue().count("step 50/200  loss 4.5000") == 3
    assert isinstance(choose_view("none", stream, "r"), Nothing)


WIDTHS = {20: "50/200 4.5000", 30: "loss 4.5000", 40: "val 4.7500", 60: "ETA 1:01:40", 80: "lr 1.00e-02"}


@pytest.mark.parametrize("columns", range(14, 130, 3))
def test_a_narrow_line_loses_what_matters_least(columns: int) -> None:
    line = describe(NOW, curve=True, width=columns - 1)
    assert len(line) < columns
    assert "4.5000"[: columns - 8] in line
    for width, part in WIDTHS.items():
        assert columns < width or part in line or width == 20
    assert line in (describe(NOW, curve=True), line)


@pytest.mark.parametrize("columns", [20, 24, 30, 40, 50, 60, 80, 120])
def test_a_narrow_table_keeps_whole_numbers(columns: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    stream = Terminal()
    view = choose_view("rich", stream, "run-1")
    view.show(NOW)
    view.close()
    text = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", stream.getvalue())
    assert max(map(len, re.split(r"[\r\n]", text))) <= columns
    assert "4.5000" in text
    assert "50/200" in text or "50 of 200" in text
    assert "…" not in text
    assert ("4.7500" in text) == (columns >= 30)
    assert ("1:01:40" in text) == (columns >= 40)
    assert ("█" in text) == (columns >= 80)


def test_no_blocks_where_the_encoding_has_none() -> None:
    raw = io.BytesIO()

    class Latin(io.TextIOWrapper):
        def isatty(self) -> bool:
            return True

    stream = Latin(raw, encoding="latin-1", errors="strict")
    for progress in ("plain", "rich"):
        view = choose_view(progress, stream, "run-1")
        view.show(NOW)
        view.close()
    stream.flush()
    assert raw.getvalue().count(b"4.5000") == 3, "rich draws once more at its end"
