"""Pages: one file that fetches nothing and executes nothing but itself, and its Markdown twin."""

from __future__ import annotations

import base64
import gzip
import hashlib
import math
import sys
from pathlib import Path

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.page import Page, check_pages, write_page
from tests.reports.documents import Document
from tests.reports.test_charts import CHARTS

_EVIL = "<script>alert(1)</script>\"'`|*_[x](y)\x00"


def _full_page() -> Page:
    page = Page(_EVIL, subtitle=_EVIL)
    for part in ("One", "Two", _EVIL, "One"):
        page.heading(part)
    page.text(_EVIL)
    page.text("Type `code <b>`")
    page.table([_EVIL, "loss"], [[_EVIL, 1.5], ["b", None], ["c", 2]])
    page.facts({_EVIL: _EVIL, "parameters": 809_472})
    page.code(f"```\n{_EVIL}\n```")
    for chart in CHARTS.values():
        page.chart(chart)
    closed = page.collapsible(_EVIL)
    closed.chart(CHARTS["lines"])
    closed.code("n_layer: 2")
    return page


def test_a_page_fetches_nothing_and_executes_only_its_own_scripts() -> None:
    text = _full_page().html()
    document = Document(text)
    assert document.references() == []
    names = {tag for tag, _ in document.elements}
    assert not names & {"link", "img", "iframe", "object", "embed", "form", "base"}
    assert not [name for _, attributes in document.elements for name in attributes if name.startswith("on")]
    policy = next(each for tag, each in document.elements if tag == "meta" and "http-equiv" in each)["content"]
    assert policy is not None
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    (script,) = document.scripts(None)
    (packed,) = document.scripts("application/gzip")
    library = gzip.decompress(base64.b64decode(packed))
    assert b"plotly.js" in library[:200]
    for content in (script.encode(), library):
        assert base64.b64encode(hashlib.sha256(content).digest()).decode() in policy
    assert "unsafe" not in policy.partition("style-src")[0]
    assert "sendChartToCloud" in script, "the button that uploads a chart is taken away"
    assert sum("alert(1)" in text for text in document.texts) > 10, "shown as text"
    assert len(document.figures()) == len(CHARTS) + 1
    assert len(text) - len(packed) < 100_000


def test_a_page_without_charts_holds_no_script() -> None:
    page = Page("t")
    page.text("x")
    assert "<script" not in page.html()
    assert "script-src 'none'" in page.html()
    page.collapsible("more").chart(CHARTS["lines"])
    assert "<script" in page.html()


def test_figures_hold_no_paper_of_their_own_and_their_numbers_are_a_table_too() -> None:
    page = Page("t")
    page.chart(LineChart([Series("a", [0, 1], [1.5, math.inf])], title="Loss", x_label="step"))
    document = Document(page.html())
    (figure,) = document.figures()
    assert not {"template", "title"} & figure["layout"].keys()
    assert figure["data"][0]["y"] == [1.5, None]
    assert {"Loss", "Numbers", "1 points are not finite", "1.500"} <= set(document.texts)


def test_without_its_libraries_a_page_is_named_and_its_twin_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    page = _full_page()
    assert write_page(page, tmp_path / "new" / "a.html") == [tmp_path / "new" / "a.html", tmp_path / "new" / "a.md"]
    monkeypatch.setitem(sys.modules, "plotly.graph_objects", None)
    with pytest.raises(ConfigError, match=r"pip install 'gpt-lightning\[reports\]'"):
        check_pages()
    assert write_page(page, tmp_path / "b.html") == [tmp_path / "b.md"]
    assert "No b.html: " in capsys.readouterr().err
    (tmp_path / "file").touch()
    with pytest.raises(ConfigError, match="cannot be written"):
        write_page(page, tmp_path / "file" / "c.html")


def test_the_check_would_find_a_reference() -> None:
    assert Document('<img src="x"><a href="https://x">y</a><a href="#here">z</a>').references() == [
        "img src=x",
        "a href=https://x",
        "a href=https://x",
    ]


def test_contents_lead_to_every_heading() -> None:
    document = Document(_full_page().html())
    anchors = [str(attributes["href"])[1:] for tag, attributes in document.elements if tag == "a"]
    assert anchors == [attributes["id"] for tag, attributes in document.elements if tag == "h2"]
    assert len(set(anchors)) == 4


def test_numbers_are_aligned_at_the_right() -> None:
    page = Page("t")
    page.table(["run", "steps", "done"], [["a", 1200, True], ["b", None, False]])
    cells = [attributes.get("class") for tag, attributes in Document(page.html()).elements if tag == "td"]
    assert cells == [None, "n", None] * 2
    assert page.markdown() == (
        "# t\n\n| run | steps | done |\n| --- | ---: | --- |\n| a | 1,200 | yes |\n| b | - | no |\n"
    )
    with pytest.raises(ValueError, match="3 cells"):
        page.table(["a", "b", "c"], [[1]])


def test_markdown_shows_texts_as_they_are() -> None:
    text = _full_page().markdown()
    assert "<script>" not in text.replace("````\n```\n<script>", "")
    assert r"&lt;script&gt;alert(1)&lt;/script&gt;" in text
    assert "````\n```\n" in text, "a fence longer than any in the text"
    assert "`code <b>`" in text
    assert "\x00" not in text


def test_charts_in_succession_share_a_row() -> None:
    page = Page("t")
    page.chart(CHARTS["lines"])
    page.chart(CHARTS["band"])
    page.text("x")
    page.chart(CHARTS["lines"])
    classes = [attributes.get("class") for tag, attributes in Document(page.html()).elements if tag == "div"]
    assert [name for name in classes if name not in ("plot", "wide")] == ["charts", "charts"]
    assert page.html().count("<style>") == 1
