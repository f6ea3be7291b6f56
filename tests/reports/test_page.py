"""Pages: one file that fetches nothing, executes nothing, and its Markdown twin."""

from __future__ import annotations

import pytest

from gpt_lightning.reports.page import Page
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


def test_a_page_fetches_nothing_and_executes_nothing() -> None:
    document = Document(_full_page().html())
    assert document.references() == []
    names = {tag for tag, _ in document.elements}
    assert not names & {"script", "link", "img", "iframe", "object", "embed", "form", "base"}
    assert not [name for _, attributes in document.elements for name in attributes if name.startswith("on")]
    policy = next(each for tag, each in document.elements if tag == "meta" and "http-equiv" in each)
    assert policy["content"] == "default-src 'none'; style-src 'unsafe-inline'"
    assert sum("alert(1)" in text for text in document.texts) > 10, "shown as text"


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
    page.chart(CHARTS["grid"])
    page.text("x")
    page.chart(CHARTS["lines"])
    classes = [attributes.get("class") for tag, attributes in Document(page.html()).elements if tag == "div"]
    assert classes == ["charts", "charts"]
    assert page.html().count("<style>") == 1
