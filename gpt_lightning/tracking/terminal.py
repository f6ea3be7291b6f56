"""Where training stands, in a terminal: a line, or a small table that stays in its place.

A ``View`` is told now and then; how often is its own wish. It also takes what others have to say in between, so that a
warning never lands in the middle of a line that is being rewritten.
"""

from __future__ import annotations

import os
import shutil
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from gpt_lightning.reports.numbers import sparkline

_CURVE, _NARROW = 40, 30


@runtime_checkable
class Stream(Protocol):
    """What views need of a file; standard error has it."""

    def write(self, text: str, /) -> object:
        """Add text."""

    def flush(self) -> None:
        """Let it be seen."""

    def isatty(self) -> bool:
        """Whether it is a terminal."""


@dataclass(frozen=True)
class ProgressState:
    """Where training stands.

    Attributes:
        step: Optimizer steps done.
        total: Steps of the run.
        loss: Of the last micro-batch, nats.
        lr: Of the first parameter group.
        tokens_per_second: Since the last time.
        eta_seconds: Seconds left; None = not known.
        val_loss: Of the last validation; None = there was none yet.
        losses: Training losses so far, thinned out, the newest last.
    """

    step: int
    total: int
    loss: float
    lr: float
    tokens_per_second: float
    eta_seconds: float | None = None
    val_loss: float | None = None
    losses: list[float] = field(default_factory=list)

    @property
    def is_last(self) -> bool:
        """Whether nothing comes after it."""
        return self.step >= self.total


class View(ABC):
    """Shows where training stands.

    Attributes:
        seconds: Between two looks.
    """

    seconds: float

    @abstractmethod
    def show(self, standing: ProgressState) -> None:
        """Show it."""

    @abstractmethod
    def say(self, text: str) -> None:
        """Write a line of something else above."""

    def close(self) -> None:  # noqa: B027 (most views have nothing to give back)
        """Training is over."""


class Lines(View):
    """Lines, one below the other: for files and pipes. Few of them, and nothing that only a terminal understands."""

    seconds = 15.0

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def show(self, standing: ProgressState) -> None:
        """One more line."""
        self.say(describe(standing))

    def say(self, text: str) -> None:
        """One more line."""
        self._stream.write(text + "\n")
        self._stream.flush()


class RewrittenLine(View):
    """One line of a terminal, rewritten in place."""

    seconds = 0.5

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self._open = False

    def show(self, standing: ProgressState) -> None:
        """Rewrite the line, no longer than the terminal is wide: a wrapped one could not be rewritten."""
        line = describe(standing, curve=_draws_blocks(self._stream), width=shutil.get_terminal_size().columns - 1)
        self._stream.write("\r\x1b[K" + line + ("\n" if standing.is_last else ""))
        self._stream.flush()
        self._open = not standing.is_last

    def say(self, text: str) -> None:
        """A line of its own; the next ``show`` begins below it."""
        self._stream.write(("\r\x1b[K" if self._open else "") + text + "\n")
        self._stream.flush()
        self._open = False

    def close(self) -> None:
        """Leave the line."""
        if self._open:
            self._stream.write("\n")
            self._stream.flush()


class LiveTable(View):
    """A table with a bar that stays at the bottom of the terminal (rich).

    Args:
        stream: Where to draw.
        name: Of the run.
    """

    seconds = 0.5

    def __init__(self, stream: Stream, name: str) -> None:
        from rich.console import Console
        from rich.live import Live

        self._name, self._curve = name, _draws_blocks(stream)
        self._console = Console(file=stream)  # type: ignore[arg-type] # it asks for no more
        # Drawn when there is news, by the training loop: a thread that refreshes takes turns with it.
        self._live = Live(console=self._console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._started = False

    def show(self, standing: ProgressState) -> None:
        """Draw the table anew."""
        if not self._started:
            self._live.start()
            self._started = True
        table = build_table(standing, self._name, self._console.width, curve=self._curve)
        self._live.update(table, refresh=True)

    def say(self, text: str) -> None:
        """A line above the table."""
        self._console.print(text, markup=False, highlight=False)

    def close(self) -> None:
        """Leave the table as it is."""
        if self._started:
            self._live.stop()
            self._started = False


class Nothing(View):
    """Shows nothing; what others say still comes through.

    Args:
        stream: Where that is written.
    """

    seconds = float("inf")

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def show(self, standing: ProgressState) -> None:
        """Nothing."""

    def say(self, text: str) -> None:
        """A line."""
        self._stream.write(text + "\n")
        self._stream.flush()


def choose_view(progress: str | None, stream: Stream, name: str) -> View:
    """The view that was asked for: plain, rich or none; None = a table on a terminal, lines elsewhere."""
    terminal = stream.isatty()
    if terminal and os.name != "nt" and os.environ.get("TERM", "") in ("", "dumb", "unknown"):
        terminal, progress = False, "none" if progress == "none" else "plain"  # it cannot move back in a line
    if progress == "none":
        return Nothing(stream)
    if progress == "rich" or (progress is None and terminal):
        return LiveTable(stream, name)
    return RewrittenLine(stream) if terminal else Lines(stream)


def in_notebook() -> bool:
    """Whether somebody types into a kernel that goes on behind every cell (Jupyter, Colab)."""
    ipython = sys.modules.get("IPython")
    return ipython is not None and hasattr(ipython.get_ipython(), "kernel")


def _draws_blocks(stream: Stream) -> bool:
    """Whether the encoding of a stream has the characters of a sparkline."""
    try:
        sparkline([0.0, 1.0]).encode(getattr(stream, "encoding", None) or "utf-8")
    except (UnicodeEncodeError, LookupError):
        return False
    return True


def describe(standing: ProgressState, *, curve: bool = False, width: int | None = None) -> str:
    """One line.

    Args:
        standing: Where training stands.
        curve: Whether to draw the losses so far.
        width: Most columns; what matters least is left out. None = as many as it takes.

    >>> describe(ProgressState(20, 100, 3.5, 0.01, 12345.0, eta_seconds=75.0))
    'step 20/100  loss 3.5000  lr 1.00e-02  12.3k tokens/s  ETA 1:15'
    """
    val, eta = standing.val_loss, standing.eta_seconds
    parts = {
        "step": f"step {standing.step}/{standing.total}",
        "loss": f"loss {standing.loss:.4f}",
        "val": "" if val is None else f"val {val:.4f}",
        "lr": f"lr {standing.lr:.2e}",
        "speed": f"{format_count(standing.tokens_per_second)} tokens/s",
        "eta": "" if eta is None else f"ETA {format_clock(eta)}",
        "curve": sparkline(standing.losses, 16) if curve and len(standing.losses) > 1 else "",
    }
    for least in ("", "curve", "lr", "speed", "eta", "val"):
        parts.pop(least, None)
        line = "  ".join(part for part in parts.values() if part)
        if width is None or len(line) <= width:
            return line
    return f"{standing.step}/{standing.total} {standing.loss:.4f}"[:width]


def build_table(standing: ProgressState, name: str, width: int = 120, *, curve: bool = True) -> Any:
    """The table that ``LiveTable`` draws.

    Args:
        standing: Where training stands.
        name: Of the run.
        width: Columns of the terminal; columns of the table that have no room are left out.
        curve: Whether to draw the losses so far.
    """
    from rich.panel import Panel
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    if width < _NARROW:
        return Text(describe(standing, width=width), no_wrap=True)
    inner = width - 4
    head = Table.grid(padding=(0, 2), expand=True)
    head.add_column(ratio=1)
    head.add_column(justify="right", no_wrap=True)
    share = f"step {standing.step:,} of {standing.total:,}   {standing.step / standing.total:.0%}"
    if len(share) + 10 > inner:
        share = f"{standing.step}/{standing.total}"
    head.add_row(ProgressBar(total=standing.total, completed=standing.step), share)
    facts = Table.grid(padding=(0, 3))
    columns = _choose_columns(standing, inner, curve=curve)
    facts.add_row(*columns.keys(), style="dim")
    facts.add_row(*columns.values())
    whole = Table.grid(expand=True)
    whole.add_row(head)
    whole.add_row(facts)
    return Panel(whole, title=name, title_align="left")


def _choose_columns(standing: ProgressState, width: int, *, curve: bool) -> dict[str, str]:
    """The numbers under their names, without those that matter least where there is no room."""
    columns = {
        "loss": f"{standing.loss:.4f}",
        "validation": "-" if standing.val_loss is None else f"{standing.val_loss:.4f}",
        "learning rate": f"{standing.lr:.2e}",
        "tokens/s": format_count(standing.tokens_per_second),
        "time left": "-" if standing.eta_seconds is None else format_clock(standing.eta_seconds),
        "loss so far": sparkline(standing.losses, _CURVE) if curve else "",
    }
    for least in ("", "learning rate", "tokens/s", "time left", "validation"):
        columns.pop(least, None)
        needed = sum(max(len(name), len(value)) + 3 for name, value in columns.items() if name != "loss so far")
        room = width - needed
        if "loss so far" in columns and (not curve or room < len("loss so far")):
            del columns["loss so far"]
        if needed - 3 <= width:
            break
    if "loss so far" in columns:
        columns["loss so far"] = sparkline(standing.losses, min(room, _CURVE))
    return columns


def format_clock(seconds: float) -> str:
    """``75`` -> ``1:15``; ``3700`` -> ``1:01:40``."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


def format_count(value: float) -> str:
    """``12345`` -> ``12.3k``; three digits that matter."""
    for unit, size in (("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= size:
            return f"{value / size:.3g}{unit}"
    return f"{value:.3g}"
