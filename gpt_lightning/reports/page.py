"""A page from top to bottom, as one HTML file that needs no network, and as Markdown for terminals and reviews.

The HTML comes from ``page_parts``: ``blocks.html.jinja`` for the parts, ``page.html.jinja`` around them. It holds its
style, plotly.js (packed, about 2 MB) and the figures; a policy lets the browser run these two scripts, known by their
hashes, and fetch nothing.
"""

from __future__ import annotations

import base64
import functools
import gzip
import hashlib
import re
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, ClassVar

from gpt_lightning.errors import ConfigError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.parsing.extras import import_extra
from gpt_lightning.reports.charts import Chart, import_plotly
from gpt_lightning.reports.numbers import clean, format_number

_PARTS = Path(__file__).with_name("page_parts")
_POLICY = "style-src 'unsafe-inline'; img-src data: blob:; form-action 'none'"
_CODE_SPAN = re.compile(r"`([^`\n]+)`")
_MARKDOWN_SIGNS = re.compile(r"([\\`*_\[\]|#~])")


class _Block(ABC):
    kind: ClassVar[str]
    """Which macro of the template draws it."""

    @abstractmethod
    def markdown(self) -> str:
        """As lines."""


@dataclass(frozen=True)
class _Heading(_Block):
    kind = "heading"
    text: str
    level: int
    anchor: str

    def markdown(self) -> str:
        return f"{'#' * self.level} {_plain(self.text)}"


@dataclass(frozen=True)
class _Text(_Block):
    kind = "text"
    text: str

    def pieces(self) -> list[str]:
        """Text and code in turn."""
        return _CODE_SPAN.split(clean(self.text))

    def markdown(self) -> str:
        return "".join(
            f"`{piece}`" if number % 2 else _plain(piece) for number, piece in enumerate(self.pieces())
        )  # fmt: skip


@dataclass(frozen=True)
class _Table(_Block):
    kind = "table"
    headers: list[str]
    rows: list[list[object]]

    def right(self) -> list[bool]:
        """Columns of numbers."""
        columns = [[row[number] for row in self.rows if row[number] is not None] for number in range(len(self.headers))]
        return [bool(column) and all(_is_number(cell) for cell in column) for column in columns]

    def markdown(self) -> str:
        rules = ["---:" if right else "---" for right in self.right()]
        rows = [[_plain(format_number(cell)).replace("\n", " ") for cell in row] for row in self.rows]
        lines = [[_plain(name) for name in self.headers], rules, *rows]
        return "\n".join(f"| {' | '.join(line)} |" for line in lines)


@dataclass(frozen=True)
class _Facts(_Block):
    kind = "facts"
    pairs: list[tuple[str, object]]

    def markdown(self) -> str:
        return "\n".join(f"- {_plain(name)}: {_plain(format_number(value))}" for name, value in self.pairs)


@dataclass(frozen=True)
class _Code(_Block):
    kind = "code"
    text: str

    def markdown(self) -> str:
        longest = max((len(run) for run in re.findall("`+", self.text)), default=0)
        fence = "`" * max(3, longest + 1)
        return f"{fence}\n{clean(self.text).rstrip(chr(10))}\n{fence}"


@dataclass(frozen=True)
class _Figure(_Block):
    kind = "figure"
    chart: Chart

    def json(self) -> str:
        """Data and layout, as it may stand in a script element."""
        from plotly.io.json import to_json_plotly

        figure = self.chart.figure()
        content = figure if isinstance(figure, dict) else figure.to_plotly_json()
        layout = {name: part for name, part in content["layout"].items() if name not in ("template", "title")}
        text: str = to_json_plotly({"data": content["data"], "layout": layout})
        return text.replace("<", "\\u003c")

    def table(self) -> _Table:
        """Its key points."""
        return _Table(*self.chart.key_points())

    def markdown(self) -> str:
        note = f"\n\n{_plain(self.chart.note)}" if self.chart.note else ""
        return f"**{_plain(self.chart.title)}**\n\n{self.table().markdown()}{note}"


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

    def groups(self) -> list[tuple[bool, list[_Block]]]:
        """Blocks in succession, and whether they are charts, which share a row."""
        grouped = groupby(self._blocks, key=lambda block: isinstance(block, _Figure))
        return [(are_charts, list(blocks)) for are_charts, blocks in grouped]

    def _markdown_blocks(self) -> str:
        return "\n\n".join(block.markdown() for block in self._blocks)


class Collapsible(Blocks, _Block):
    """A part that is closed at first; see ``Blocks.collapsible``."""

    kind = "collapsible"

    def __init__(self, title: str, opened: bool, anchors: dict[str, int]) -> None:
        super().__init__(anchors)
        self.title, self.opened = title, opened

    def markdown(self) -> str:
        """Open, under its title."""
        return f"**{_plain(self.title)}**\n\n{self._markdown_blocks()}"


class Page(Blocks):
    """A report.

    Args:
        title: At its head, and in the browser's tab.
        subtitle: A line below: when and of what it was made.
    """

    def __init__(self, title: str, subtitle: str = "") -> None:
        super().__init__()
        self.title, self.subtitle = title, subtitle

    def sections(self) -> list[tuple[str, str]]:
        """Anchor of a heading of level 2 and the HTML from there to the next one; first what stands above all."""
        parts: dict[str, Blocks] = {"top": Blocks()}
        for block in self._blocks:
            if isinstance(block, _Heading) and block.level == 2:
                parts[block.anchor] = Blocks()
            next(reversed(parts.values()))._blocks.append(block)
        draw = _template("blocks").module.all
        return [(anchor, str(draw(part))) for anchor, part in parts.items()]

    def html(self, live: str = "") -> str:
        """One file that fetches nothing, and runs no script but its own two.

        Args:
            live: A script that keeps the page up to date from the server that it came from; the only one it may reach.

        Raises:
            ConfigError: A library of the extra ``reports`` is not installed.
        """
        check_pages()
        headings = [block for block in self._blocks if isinstance(block, _Heading) and block.level == 2]
        script = (_PARTS / "page.js").read_text(encoding="utf-8")
        # A page without charts is small, and runs nothing.
        library, packed = _plotly_script() if live or _has_charts(self._blocks) else ("", "")
        scripts = [each for each in (script, live) if each] if library else []
        allowed = " ".join(f"'sha256-{_hash(text)}'" for text in (*scripts, library)) if library else "'none'"
        text: str = _template("page").render(
            page=self,
            live=bool(live),
            headings=headings if len(headings) > 2 else [],
            policy=f"default-src 'none'; script-src {allowed}; {_POLICY}" + ("; connect-src 'self'" if live else ""),
            style=(_PARTS / "page.css").read_text(encoding="utf-8"),
            scripts=scripts,
            library=packed,
        )
        return text

    def markdown(self) -> str:
        """The same in Markdown: charts as tables of their key points."""
        below = f"{_plain(self.subtitle)}\n\n" if self.subtitle else ""
        return f"# {_plain(self.title)}\n\n{below}{self._markdown_blocks()}\n"


def check_pages() -> None:
    """Whether HTML can be written, for commands that do nothing else.

    Raises:
        ConfigError: A library is not installed; says the command.
    """
    import_plotly()
    import_extra("jinja2", "reports", "Pages with charts need", ConfigError)


def write_page(page: Page, path: Path) -> list[Path]:
    """Write ``page`` to ``path``, which ends in .html, and its Markdown twin beside it.

    Without the extra ``reports`` the twin alone is written, and the standard error says how to get the page: long work
    does not end in an error for its picture.

    Returns:
        What was written.

    Raises:
        ConfigError: They cannot be written.
    """
    twin = path.with_suffix(".md")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text_durably(twin, page.markdown())
        try:
            content = page.html()
        except ConfigError as missing:
            sys.stderr.write(f"No {path.name}: {missing}\n")
            return [twin]
        write_text_durably(path, content)
    except OSError as problem:
        raise ConfigError(
            f"The report cannot be written, {problem.strerror}",
            got=str(path),
            fix="Say another name that ends in .html.",
        ) from problem
    return [path, twin]


def _has_charts(blocks: Iterable[_Block]) -> bool:
    return any(
        isinstance(block, _Figure) or (isinstance(block, Collapsible) and _has_charts(block._blocks))
        for block in blocks
    )  # fmt: skip


@functools.cache
def _template(name: str) -> Any:
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_PARTS), autoescape=True, trim_blocks=True, lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )  # fmt: skip
    environment.filters |= {"clean": clean, "number": lambda value: clean(format_number(value))}
    return environment.get_template(f"{name}.html.jinja")


@functools.cache
def _plotly_script() -> tuple[str, str]:
    """plotly.js, and the same packed: a third of its size."""
    from plotly.offline import get_plotlyjs

    text: str = get_plotlyjs()
    return text, base64.b64encode(gzip.compress(text.encode(), mtime=0)).decode()


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _is_number(cell: object) -> bool:
    return isinstance(cell, (int, float)) and not isinstance(cell, bool)


def _plain(text: str) -> str:
    """Text that Markdown shows as it is: no element, no emphasis, no cell border."""
    safe = clean(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _MARKDOWN_SIGNS.sub(r"\\\1", safe)
