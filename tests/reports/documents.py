"""Pages and drawings taken apart again."""

from __future__ import annotations

from html.parser import HTMLParser
from xml.etree import ElementTree

from gpt_lightning.reports.charts import Chart

SVG = "{http://www.w3.org/2000/svg}"
_VOID = {"meta", "br", "hr", "img", "link", "input"}


class Document(HTMLParser):
    """Every element with its attributes, the text of the page, and whether elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        if tag not in _VOID:
            self._open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)

    def references(self) -> list[str]:
        """What the page would have to fetch."""
        found = []
        for tag, attributes in self.elements:
            for name, value in attributes.items():
                if name in ("src", "srcset", "data", "action", "poster", "xlink:href", "background"):
                    found.append(f"{tag} {name}={value}")
                if name == "href" and not (value or "").startswith("#"):
                    found.append(f"{tag} {name}={value}")
                if "url(" in (value or "") or "//" in (value or ""):
                    found.append(f"{tag} {name}={value}")
        return found + [text for text in self.texts if "url(" in text or "@import" in text]


def parse_svg(chart: Chart) -> ElementTree.Element:
    """The chart as a browser reads its file."""
    return ElementTree.fromstring(chart.svg())


def texts_of(root: ElementTree.Element) -> list[str]:
    """What can be read without a pointer."""
    return [
        element.text or "" if element.find(f"{SVG}title") is None else _tail(element)
        for element in root.iter(f"{SVG}text")
    ]


def _tail(element: ElementTree.Element) -> str:
    title = element.find(f"{SVG}title")
    assert title is not None
    return title.tail or ""


def titles_of(root: ElementTree.Element) -> list[str]:
    """What the pointer shows."""
    return [element.text or "" for element in root.iter(f"{SVG}title")]
