"""A page from top to bottom, as one HTML file that needs nothing else, and as Markdown for terminals and reviews."""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gpt_lightning.reports.charts import Chart
from gpt_lightning.reports.drawing import clean, escaped
from gpt_lightning.reports.numbers import Number, format_number
from gpt_lightning.reports.style import page_style

_CODE_SPAN = re.compile(r"`([^`\n]+)`")
_MARKDOWN_SIGNS = re.compile(r"([\\`*_\[\]|#~])")


class _Block(ABC):
    @abstractmethod
    def html(self) -> str:
        """As an element."""

    @abstractmethod
    def markdown(self) -> str:
        """As lines."""


@dataclass(frozen=True)
class _Heading(_Block):
    text: str
    level: int
    anchor: str

    def html(self) -> str:
        return f'<h{self.level} id="{self.anchor}">{escaped(self.text)}</h{self.level}>'

    def markdown(self) -> str:
        return f"{'#' * self.level} {_plain(self.text)}"


@dataclass(frozen=True)
class _Text(_Block):
    text: str

    def html(self) -> str:
        pieces = _CODE_SPAN.split(self.text)
        inner = "".join(
            f"<code>{escaped(piece)}</code>" if number % 2 else escaped(piece) for number, piece in enumerate(pieces)
        )
        return f"<p>{inner}</p>"

    def markdown(self) -> str:
        pieces = _CODE_SPAN.split(clean(self.text))
        return "".join(f"`{piece}`" if number % 2 else _plain(piece) for number, piece in enumerate(pieces))


@dataclass(frozen=True)
class _Table(_Block):
    headers: list[str]
    rows: list[list[object]]

    def _right(self) -> list[bool]:
        """Columns of numbers."""
        columns = [[row[number] for row in self.rows if row[number] is not None] for number in range(len(self.headers))]
        return [bool(column) and all(_is_number(cell) for cell in column) for column in columns]

    def html(self) -> str:
        classes = [' class="n"' if right else "" for right in self._right()]
        head = "".join(f"<th{kind}>{escaped(name)}</th>" for name, kind in zip(self.headers, classes, strict=True))
        rows = [
            "".join(f"<td{kind}>{escaped(format_number(cell))}</td>" for cell, kind in zip(row, classes, strict=True))
            for row in self.rows
        ]
        body = "".join(f"<tr>{row}</tr>\n" for row in rows)
        return f'<div class="wide"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}</tbody></table></div>'

    def markdown(self) -> str:
        rules = ["---:" if right else "---" for right in self._right()]
        rows = [[_plain(format_number(cell)).replace("\n", " ") for cell in row] for row in self.rows]
        lines = [[_plain(name) for name in self.headers], rules, *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class _Facts(_Block):
    pairs: list[tuple[str, object]]

    def html(self) -> str:
        items = "".join(
            f"<dt>{escaped(name)}</dt><dd>{escaped(format_number(value))}</dd>\n" for name, value in self.pairs
        )
        return f"<dl>\n{items}</dl>"

    def markdown(self) -> str:
        return "\n".join(f"- {_plain(name)}: {_plain(format_number(value))}" for name, value in self.pairs)


@dataclass(frozen=True)
class _Code(_Block):
    text: str

    def html(self) -> str:
        return f"<pre>{escaped(self.text)}</pre>"

    def markdown(self) -> str:
        longest = max((len(run) for run in re.findall("`+", self.text)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}\n{clean(self.text).rstrip(chr(10))}\n{fence}"


@dataclass(frozen=True)
class _Figure(_Block):
    chart: Chart

    def html(self) -> str:
        return f"<figure>{self.chart.svg(alone=False)}</figure>"

    def markdown(self) -> str:
        headers, rows = self.chart.key_points()
        return f"**{_plain(self.chart.title)}**\n\n{_Table(headers, rows).markdown()}"


class Blocks:
    """Parts in the order in which they are added."""

    def __init__(self, anchors: dict[str, int] | None = None) -> None:
        self._blocks: list[_Block] = []
        self._anchors = {} if anchors is None else anchors

    def heading(self, text: str, level: int = 2) -> None:
        """A heading; those of level 2 form the table of contents.

        Args:
            text: Of the heading.
            level: 2 to 4.
        """
        stem = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "part"
        self._anchors[stem] = number = self._anchors.get(stem, 0) + 1
        self._blocks.append(_Heading(text, min(max(level, 2), 4), stem if number == 1 else f"{stem}-{number}"))

    def text(self, text: str) -> None:
        """A paragraph; what stands between backticks is code."""
        self._blocks.append(_Text(text))

    def table(self, headers: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """A table; columns of numbers are aligned at the right.

        Args:
            headers: Names of the columns.
            rows: Cells: texts, numbers, None.

        Raises:
            ValueError: A row has another number of cells.
        """
        kept = [list(row) for row in rows]
        if any(len(row) != len(headers) for row in kept):
            raise ValueError(f"a row does not have {len(headers)} cells")
        self._blocks.append(_Table(list(headers), kept))

    def facts(self, pairs: Mapping[str, object] | Iterable[tuple[str, object]]) -> None:
        """Names with a value each."""
        self._blocks.append(_Facts(list(pairs.items() if isinstance(pairs, Mapping) else pairs)))

    def chart(self, chart: Chart) -> None:
        """A chart; several in succession stand side by side where there is room."""
        self._blocks.append(_Figure(chart))

    def code(self, text: str) -> None:
        """Text as it is, in letters of one width: configurations, samples, commands."""
        self._blocks.append(_Code(text))

    def collapsible(self, title: str, *, opened: bool = False) -> Blocks:
        """A part that the reader opens; fill what is returned."""
        part = Collapsible(title, opened, self._anchors)
        self._blocks.append(part)
        return part

    def _html_blocks(self) -> str:
        pieces: list[str] = []
        for before, block in zip([None, *self._blocks], self._blocks, strict=False):
            if isinstance(block, _Figure) and not isinstance(before, _Figure):
                pieces.append('<div class="charts">')
            elif isinstance(before, _Figure) and not isinstance(block, _Figure):
                pieces.append("</div>")
            pieces.append(block.html())
        if self._blocks and isinstance(self._blocks[-1], _Figure):
            pieces.append("</div>")
        return "\n".join(pieces)

    def _markdown_blocks(self) -> str:
        return "\n\n".join(block.markdown() for block in self._blocks)


class Collapsible(Blocks, _Block):
    """A part that is closed at first; see ``Blocks.collapsible``."""

    def __init__(self, title: str, opened: bool, anchors: dict[str, int]) -> None:
        super().__init__(anchors)
        self._title, self._opened = title, opened

    def html(self) -> str:
        """As an element."""
        state = " open" if self._opened else ""
        return f"<details{state}><summary>{escaped(self._title)}</summary>\n{self._html_blocks()}\n</details>"

    def markdown(self) -> str:
        """Open, under its title."""
        return f"**{_plain(self._title)}**\n\n{self._markdown_blocks()}"


class Page(Blocks):
    """A report.

    Args:
        title: At its head, and in the browser's tab.
        subtitle: A line below: when and of what it was made.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        super().__init__()
        self._title, self._subtitle = title, subtitle

    def html(self) -> str:
        """One file: no script, no reference, and a policy that forbids both."""
        policy = "default-src 'none'; style-src 'unsafe-inline'"
        below = f'<p class="soft">{escaped(self._subtitle)}</p>\n' if self._subtitle else ""
        return (
            f'<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
            f'<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f"<title>{escaped(self._title)}</title>\n<style>{page_style()}</style>\n</head>\n<body>\n<main>\n"
            f"<h1>{escaped(self._title)}</h1>\n{below}{self._contents()}{self._html_blocks()}\n</main>\n</body>\n</html>\n"
        )

    def _contents(self) -> str:
        headings = [block for block in self._blocks if isinstance(block, _Heading) and block.level == 2]
        if len(headings) < 3:
            return ""
        items = "".join(f'<li><a href="#{heading.anchor}">{escaped(heading.text)}</a></li>' for heading in headings)
        return f"<nav><ul>{items}</ul></nav>\n"

    def markdown(self) -> str:
        """The same in Markdown: charts as tables of their key points."""
        below = f"{_plain(self._subtitle)}\n\n" if self._subtitle else ""
        return f"# {_plain(self._title)}\n\n{below}{self._markdown_blocks()}\n"


def _is_number(cell: object) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: no element, no emphasis, no cell border."""
    safe = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN_SIGNS.sub(r"\\\1", safe)


def finite_or_none(value: Number | None) -> float | None:
    """``value`` for a table, None where it is no number."""
    return value if value is not None and math.isfinite(value) else None
