"""What ``sweep run`` and ``sweep status`` show: a table that moves on a terminal, single lines elsewhere."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Mapping, Sequence
from typing import Any, TextIO

from gpt_lightning.tuning.spec.trial_arguments import class_name
from gpt_lightning.tuning.study.best import rows
from gpt_lightning.tuning.study.edges import edge_notes
from gpt_lightning.tuning.study.entries import DIFFERS, Entry, rank
from gpt_lightning.tuning.study.sweep import Sweep

_BARS = "▁▂▃▄▅▆▇█"
_SHOWN = 8


def sparkline(values: Sequence[float], width: int = 16) -> str:
    """A curve in one line; not-a-numbers are gaps."""
    picked = [values[index * len(values) // width] for index in range(width)] if len(values) > width else list(values)
    known = [value for value in picked if value == value and abs(value) != float("inf")]
    if not known:
        return ""
    low, span = min(known), (max(known) - min(known)) or 1.0
    return "".join(_BARS[round((v - low) / span * 7)] if v in known else " " for v in picked)


def summarize(sweep: Sweep, entries: Sequence[Entry]) -> dict[str, Any]:
    """Numbers of a sweep as plain data."""
    counts = {state: sum(entry.state == state for entry in entries) for state in _STATES}
    ranked, metric = rank(sweep.spec, entries), sweep.spec.metrics[0]
    executed = sum(int(entry.fact("executed_steps", 0)) for entry in entries)
    reused = sum(int(entry.fact("reused_steps", 0)) for entry in entries)
    best = None
    if ranked:
        best = {"trial": ranked[0].first, "value": ranked[0].last.values[0], "config": ranked[0].values}
    return {
        "sweep": sweep.spec.name,
        "metric": metric.name,
        "goal": metric.goal,
        "trials": counts,
        "budget": sweep.num_trials,
        "best": best,
        "executed_steps": executed,
        "reused_steps": reused,
        "eta_seconds": _eta(sweep, entries),
    }


_STATES = ("complete", "diverged", "pruned", "failed", "running", "waiting")


def _eta(sweep: Sweep, entries: Sequence[Entry]) -> float | None:
    """Seconds until the budget is used, from the mean time of the trials that ended and how many run at once."""
    ended = [float(entry.fact("seconds", 0.0)) for entry in entries if entry.ended]
    running = sum(entry.state == "running" for entry in entries)
    if not ended or sweep.num_trials is None or not running:
        return None
    left = sweep.num_trials - sum(entry.ended and entry.repeats is None for entry in entries)
    return max(0, left) * (sum(ended) / len(ended)) / running


def describe(sweep: Sweep, entries: Sequence[Entry]) -> str:
    """One line."""
    facts = summarize(sweep, entries)
    counts = ", ".join(f"{number} {state}" for state, number in facts["trials"].items() if number)
    best = facts["best"]
    shown = "" if best is None else f" | best {best['value']:.6g} (trial {best['trial']})"
    of = "" if facts["budget"] is None else f" of {facts['budget']}"
    eta = "" if facts["eta_seconds"] is None else f" | ETA {_clock(facts['eta_seconds'])}"
    work = facts["executed_steps"] + facts["reused_steps"]
    saved = f" | {facts['reused_steps'] / work:.0%} of {work:,} steps saved" if facts["reused_steps"] else ""
    return f"{sweep.spec.name}: {counts or 'no trial yet'}{of}{shown}{eta}{saved}"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


class Display:
    """Shows a sweep while it runs.

    Args:
        sweep: The sweep.
        stream: Where to; a terminal gets a table that moves, anything else a line when something has changed.
    """

    def __init__(self, sweep: Sweep, stream: TextIO | None = None) -> None:
        self._sweep, self._stream = sweep, stream or sys.stdout
        self._line, self._time = "", 0.0
        self._live: Any = None
        if self._stream.isatty():
            from rich.console import Console
            from rich.live import Live

            self._live = Live(console=Console(file=self._stream), auto_refresh=False)
            self._live.start()

    def show(self, entries: Sequence[Entry]) -> None:
        """Show the trials as they are now."""
        if self._live is not None:
            self._live.update(render(self._sweep, entries), refresh=True)
            return
        line = describe(self._sweep, entries)
        stable = line.partition(" | ETA")[0]
        if stable != self._line and time.monotonic() - self._time > 1.0:
            self._line, self._time = stable, time.monotonic()
            self._stream.write(line + "\n")
            self._stream.flush()

    def close(self, entries: Sequence[Entry]) -> None:
        """Show the last state and leave the terminal as it was."""
        if self._live is not None:
            self._live.update(render(self._sweep, entries), refresh=True)
            self._live.stop()
            return
        self._stream.write(describe(self._sweep, entries) + "\n")
        self._stream.flush()


def render(sweep: Sweep, entries: Sequence[Entry]) -> Any:
    """The table: running trials with their curves, then the best ones."""
    from rich.table import Table

    metric = sweep.spec.metrics[0].name
    table = Table(title=describe(sweep, entries), title_justify="left", expand=True)
    for name in ("trial", "state", metric, "curve", "done", "lr", "values"):
        table.add_column(name, no_wrap=name != "values", justify="right" if name in ("trial", metric) else "left")
    running = [entry for entry in entries if entry.state == "running"]
    for entry in [*running[:_SHOWN], *rank(sweep.spec, entries)[:_SHOWN]]:
        reports = entry.reports(metric)
        curve = [report.metrics[metric] for report in reports]
        value = entry.last.values[0] if entry.state == "complete" else curve[-1] if curve else None
        done = reports[-1].tokens / entry.total_tokens if reports and entry.total_tokens else 0.0
        rate = entry.fact("lr")
        table.add_row(
            str(entry.first),
            entry.state,
            "" if value is None else f"{value:.5g}",
            sparkline(curve),
            "" if entry.state == "complete" else f"{done:.0%}",
            "" if rate is None or entry.state == "complete" else f"{rate:.3g}",
            ", ".join(f"{key.rpartition('.')[2]}={_brief(each)}" for key, each in entry.values.items()),
        )
    return table


def _brief(value: Any) -> str:
    """A value in a narrow column: a class as a call, a list of its items so."""
    if isinstance(value, Mapping):
        inner = ", ".join(f"{name}={_brief(each)}" for name, each in value.get("init_args", {}).items())
        return f"{class_name(value)}({inner})" if class_name(value) else str(dict(value))
    return f"[{', '.join(map(_brief, value))}]" if isinstance(value, list) else str(value)


def _other(entry: Entry) -> str:
    differs = entry.fact(DIFFERS)
    return f" [other than in the first trial: {'; '.join(differs)}]" if differs else ""


def status_text(sweep: Sweep, as_json: bool) -> str:
    """What ``sweep status`` prints."""
    entries = sweep.entries()
    if as_json:
        return json.dumps({**summarize(sweep, entries), "rows": rows(sweep)}, indent=1) + "\n"
    lines = [describe(sweep, entries)]
    for entry in entries:
        metric = sweep.spec.metrics[0].name
        value = f"{entry.last.values[0]:.6g}" if entry.state == "complete" else ""
        curve = sparkline([report.metrics[metric] for report in entry.reports(metric)])
        chosen = ", ".join(f"{key}={each}" for key, each in entry.values.items())
        why = f" [{entry.reason}]" if entry.reason and entry.state != "complete" else ""
        lines.append(f"  {entry.first:>5}  {entry.state:<9} {value:>10} {curve:<16}  {chosen}{why}{_other(entry)}")
    if all(entry.ended for entry in entries):
        lines += edge_notes(sweep.spec, entries, sweep.folder.path)
    return "\n".join(lines) + "\n"
