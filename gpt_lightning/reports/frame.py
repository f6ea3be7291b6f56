"""What stands around a plot: title, grid, numbers, axis titles, and the legend below, where it hides nothing."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from gpt_lightning.reports.axes import Axis
from gpt_lightning.reports.drawing import Area, Dot, Drawing, Place, Shape, Stroke, Text, rectangle, shorten, text_width
from gpt_lightning.reports.numbers import Number

_WIDTH, _PLOT_HEIGHT = 640.0, 280.0
_LINE = 20.0
_PIXELS_PER_TICK = (72.0, 34.0)
_MOST_ENTRIES = 24
_MOST_LABEL = 190.0
Ticks = Sequence[tuple[Number, str]]


@dataclass(frozen=True)
class Entry:
    """A line of the legend; ``mark``: line, dot or square."""

    name: str
    colour: str
    mark: str = "line"
    dash: str = ""


@dataclass(frozen=True)
class Frame:
    """Axes with everything around them.

    Attributes:
        x: Horizontal axis.
        y: Vertical axis.
        title: Above the plot.
        entries: The legend; empty = none.
        x_ticks: Marks and labels; None = nice numbers.
        y_ticks: The same for the vertical axis.
        right: Room kept at the right of the plot.
        plot_height: Of the plot itself.
        note: A sentence below everything.
    """

    x: Axis
    y: Axis
    title: str = ""
    entries: Sequence[Entry] = ()
    x_ticks: Ticks | None = None
    y_ticks: Ticks | None = None
    right: float = 16.0
    plot_height: Number = _PLOT_HEIGHT
    note: str = ""

    @cached_property
    def marks(self) -> tuple[Ticks, Ticks]:
        """Ticks of both axes, labels shortened to the room there is."""
        x_ticks = self.x_ticks if self.x_ticks is not None else self.x.ticks(int(_WIDTH / _PIXELS_PER_TICK[0]))
        most = int(self.plot_height / _PIXELS_PER_TICK[1])
        y_ticks = self.y_ticks if self.y_ticks is not None else self.y.ticks(max(2, most))
        return x_ticks, [(value, shorten(label, _MOST_LABEL)) for value, label in y_ticks]

    @cached_property
    def left(self) -> float:
        """Edge of the plot: wide enough for the numbers."""
        widest = max((text_width(label) for _, label in self.marks[1]), default=0.0)
        return max(44.0, 1.08 * widest + 14.0) + (_LINE if self.y.label else 0.0)

    @property
    def top(self) -> float:
        """Edge of the plot."""
        return 38.0 if self.title else 14.0

    @property
    def plot_width(self) -> float:
        """Of the plot itself."""
        return _WIDTH - self.left - self.right

    def place(self, x: Number, y: Number) -> Place:
        """Where a point lies."""
        return self.left + self.x.share(x) * self.plot_width, self.top + (1 - self.y.share(y)) * self.plot_height

    def surround(self, plot: Sequence[Shape]) -> Drawing:
        """The finished drawing of ``plot``."""
        below = self.top + self.plot_height + 24 + (_LINE if self.x.label else 0.0)
        shapes = [*self._grid(), *plot, *self._names(below)]
        for row in self._legend_rows():
            below += _LINE
            for x, entry in row:
                shapes += _draw_entry(x, below, entry)
        if self.note:
            below += _LINE
            shapes.append(Text((self.left, below), self.note, colour="soft"))
        return Drawing(_WIDTH, below + 12, shapes, self.title)

    def _grid(self) -> Iterator[Shape]:
        x_ticks, y_ticks = self._thin(self.marks[0]), self.marks[1]
        bottom, end = self.top + self.plot_height, self.left + self.plot_width
        for value, label in x_ticks:
            x, _ = self.place(value, self.y.low)
            yield Stroke([(x, self.top), (x, bottom)], "grid")
            yield Text((x, bottom + 17), label, "middle", colour="soft")
        for value, label in y_ticks:
            _, y = self.place(self.x.low, value)
            yield Stroke([(self.left, y), (end, y)], "grid")
            yield Text((self.left - 8, y + 4), label, "end", colour="soft")
        yield Stroke([(self.left, self.top), (self.left, bottom), (end, bottom)], "soft")

    def _thin(self, ticks: Ticks) -> Ticks:
        """Every second, third ... one where all of the labels would run into each other."""
        places = [self.place(value, self.y.low)[0] for value, _ in ticks]
        widest = max((text_width(label) for _, label in ticks), default=0.0) + 8
        apart = min((b - a for a, b in pairwise(places)), default=widest)
        return ticks if apart <= 0 else ticks[:: math.ceil(widest / apart)]

    def _names(self, below: Number) -> Iterator[Shape]:
        if self.title:
            shown = shorten(self.title, _WIDTH - 24)
            yield Text((12.0, 22.0), shown, bold=True, title=self.title if shown != self.title else "")
        if self.x.label:
            yield Text((self.left + self.plot_width / 2, below - 6), self.x.label, "middle")
        if self.y.label:
            yield Text((17.0, self.top + self.plot_height / 2), self.y.label, "middle", turned=True)

    def _legend_rows(self) -> Iterator[list[tuple[float, Entry]]]:
        """Entries with their places, as many in a row as there is room for."""
        room = _WIDTH - self.left - 12
        shown = list(self.entries[:_MOST_ENTRIES])
        if len(self.entries) > _MOST_ENTRIES:
            shown.append(Entry(f"and {len(self.entries) - _MOST_ENTRIES} more", "soft", "none"))
        row: list[tuple[float, Entry]] = []
        x = self.left
        for entry in shown:
            width = min(text_width(entry.name), room - 34) + 52
            if row and x + width > self.left + room:
                yield row
                row, x = [], self.left
            row.append((x, entry))
            x += width
        if row:
            yield row


def _draw_entry(x: Number, y: Number, entry: Entry) -> Iterator[Shape]:
    if entry.mark == "line":
        yield Stroke([(x, y - 4), (x + 26, y - 4)], entry.colour, 3, entry.dash)
    elif entry.mark == "dot":
        yield Dot((x + 16, y - 4), 5, entry.colour)
    elif entry.mark == "square":
        yield rectangle(x + 10, y - 10, 12, 12, entry.colour)
    shown = shorten(entry.name, _WIDTH - x - 46)
    yield Text((x + 34, y), shown, title=entry.name if shown != entry.name else "")


def colour_bar(frame: Frame, axis: Axis, colours: Sequence[str]) -> Iterator[Shape]:
    """What the colours mean, at the right of the plot in the room that ``frame.right`` keeps.

    Args:
        frame: The plot; ``right`` >= 92.
        axis: Values from the first colour to the last.
        colours: From low to high.
    """
    left, height = frame.left + frame.plot_width + 16, frame.plot_height
    step = height / len(colours)
    for number, colour in enumerate(colours):
        yield rectangle(left, frame.top + height - (number + 1) * step, 12, step + 0.5, colour)
    for value, label in axis.ticks(max(2, int(height / 50))):
        y = frame.top + (1 - axis.share(value)) * height
        yield Stroke([(left + 12, y), (left + 16, y)], "soft")
        yield Text((left + 20, y + 4), label, colour="soft")
    yield Text((_WIDTH - 4, frame.top + height / 2), axis.label, "middle", turned=True)


def inside(frame: Frame, area: Area) -> Area:
    """``area`` cut off at the edges of the plot."""
    right, bottom = frame.left + frame.plot_width, frame.top + frame.plot_height
    points = [(min(max(x, frame.left), right), min(max(y, frame.top), bottom)) for x, y in area.points]
    return Area(points, area.colour, area.title, area.opacity)
