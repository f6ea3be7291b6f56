"""The page as a file: one, small, with nothing from elsewhere, and a policy that lets nothing else run."""

from __future__ import annotations

import base64
import hashlib
import re
from html.parser import HTMLParser

from gpt_lightning.serving.page import build_policy, page_response, read_page


class Reader(HTMLParser):
    """Every attribute, and every id."""

    def __init__(self) -> None:
        super().__init__()
        self.attributes: list[tuple[str, str, str | None]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.attributes += [(tag, name, value) for name, value in attrs]


def read() -> Reader:
    reader = Reader()
    reader.feed(read_page())
    return reader


def test_it_is_one_small_file_that_asks_for_nothing_elsewhere() -> None:
    page = read_page()
    assert len(page.encode()) <= 40_000
    assert not re.search(r"https?://|//[a-z]|@import|url\(", page.replace("///", "").replace("// ", ""))
    assert not re.search(r"innerHTML|outerHTML|insertAdjacent|document\.write|eval\(|new Function", page)
    attributes = read().attributes
    assert [value for _, name, value in attributes if name in ("src", "href")] == ["data:,"]
    assert not [name for _, name, _ in attributes if name.startswith("on") or name == "style"]


def test_the_policy_allows_its_own_script_and_style_alone() -> None:
    policy = dict(each.split(" ", 1) for each in build_policy(read_page()).split("; "))
    assert policy["default-src"] == "'none'"
    assert policy["connect-src"] == "'self'"
    for tag in ("script", "style"):
        (content,) = re.findall(rf"<{tag}>(.*?)</{tag}>", read_page(), re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert policy[f"{tag}-src"] == f"'sha256-{digest}'"
    assert page_response(read_page()).headers["x-content-type-options"] == "nosniff"


def test_both_languages_have_every_word() -> None:
    page = read_page()
    tables = re.findall(r"^  (?:en|zh): \{(.*?)\},$", page, re.DOTALL | re.MULTILINE)
    english, chinese = (set(re.findall(r"(\w+): \"", table)) for table in tables)
    assert english == chinese
    used = set(re.findall(r"word\(\"(\w+)\"\)|data-t(?:-label|-hint)?=\"(\w+)\"", page))
    assert {one or other for one, other in used} <= english


def test_every_field_has_a_label() -> None:
    attributes = read().attributes
    fields = {value for tag, name, value in attributes if name == "id" and tag in ("input", "select", "textarea")}
    labelled = {value for tag, name, value in attributes if tag == "label" and name == "for"}
    assert fields - labelled == {"logprobs"}  # which stands inside its label
