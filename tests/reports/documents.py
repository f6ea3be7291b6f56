"""Pages and drawings taken apart again."""

from __future__ import annotations

import json
from html.parser import HTMLParser
from typing import Any

_VOID = {"meta", "br", "hr", "img", "link", "input"}


class Document(HTMLParser):
    """Every element with its attributes, the text of the page, and whether elements are closed in order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        self._open: list[str] = []
        self._scripts: list[tuple[str | None, str]] = []
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
        if self._open[-1:] == ["script"]:
            self._scripts.append((self.elements[-1][1].get("type"), data))
        else:
            self.texts.append(data)

    def figures(self) -> list[dict[str, Any]]:
        """Data and layout of every chart."""
        return [json.loads(text) for text in self.scripts("application/json")]

    def scripts(self, kind: str | None) -> list[str]:
        """What stands in script elements of a type; None = those that run."""
        return [text for found, text in self._scripts if found == kind]

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
