"""``runs report``: a run, or several beside each other, as one HTML file that opens offline, and as Markdown."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from gpt_lightning.errors import ConfigError
from gpt_lightning.monitoring.comparing import caveats, differing_settings, metric_rows
from gpt_lightning.monitoring.plotting import axis_values, build_chart, build_series
from gpt_lightning.monitoring.portrait import add_portrait
from gpt_lightning.monitoring.records import RunRecord, open_runs
from gpt_lightning.reports.charts import Mark
from gpt_lightning.reports.numbers import format_number, format_seconds
from gpt_lightning.reports.page import Blocks, Page, check_pages, write_page
from gpt_lightning.tracking.texts import write_setting
from gpt_lightning.training.runs.run_folder import RUNS

_FIRST = ("train/loss", "val/loss", "val/bits_per_byte", "optim/grad_norm", "perf/tokens_per_second")
"""Metrics whose charts stand open, the learning rates beside them; all others are folded away."""
_SMOOTH, _MANY_POINTS = 0.9, 150


def report_command(runs: list[str], output: str | None = None) -> None:
    """Write a report of one or several runs: an HTML file that needs nothing else, and Markdown beside it.

    Example: gpt-lightning runs report quickstart-1 quickstart-2 --output report.html

    Args:
        runs: Folders of runs, names in runs/, or folders of runs.
        output: The HTML file; null = report.html in the run's folder, or in runs/ for several.
    """
    records = open_runs(runs)
    if output is not None and Path(output).suffix != ".html":
        raise ConfigError(
            "runs report writes HTML", got=output, allowed="a name that ends in .html", fix="Say --output report.html."
        )
    home = records[0].folder if len(records) == 1 else RUNS
    path = home / "report.html" if output is None else Path(output)
    check_pages()
    for written in write_page(build_report(records), path):
        sys.stdout.write(f"{written}\n")


def build_report(records: Sequence[RunRecord]) -> Page:
    """The report of runs; of a single one with everything that is known of it."""
    names = ", ".join(run.name for run in records[:4]) + (" ..." if len(records) > 4 else "")
    made = time.strftime("%Y-%m-%d %H:%M")
    single = len(records) == 1
    page = Page(f"Run {names}" if single else f"{len(records)} runs: {names}", f"gpt_lightning, {made}")
    if not single:
        page.heading("Overview")
        _add_overview(page, records)
        page.heading("Comparison")
        _add_comparison(page, records)
    else:
        _add_summary(page, records[0])
    page.heading("Curves")
    _add_curves(page, records)
    if single:
        add_portrait(page, records[0])
        return page
    page.heading("Runs")
    for run in records:
        part = page.collapsible(f"{run.name}: {run.status.state}")
        _add_summary(part, run)
        add_portrait(part, run, level=4)
    return page


def _add_summary(page: Blocks, run: RunRecord) -> None:
    total = f" of {run.total_steps:,}" if run.total_steps else ""
    reason = f": {run.status.reason}" if run.status.reason else ""
    facts: list[tuple[str, object]] = [("status", run.status.state + reason), ("steps", f"{run.step:,}{total}")]
    if run.best is not None:
        expected = (run.config.get("run") or {}).get("expected_val_loss")
        promised = "" if expected is None else f"; the configuration promises {expected:g}"
        best = format_number(run.best.value, 5)
        facts.append(("best validation loss", f"{best} {run.loss_unit} at step {run.best.step:,}{promised}"))
    facts.append(("tokens", run.tokens))
    parameters = run.starts[-1].get("parameters") if run.starts else None
    facts += [("parameters", parameters), ("time", format_seconds(run.seconds)), ("folder", str(run.folder))]
    page.facts([(name, value) for name, value in facts if value is not None])


def _add_overview(page: Page, records: Sequence[RunRecord]) -> None:
    page.table(
        ["run", "status", "best val/loss", "at step", "steps", "tokens", "time", "tokens per second"],
        [
            [
                run.name,
                run.status.state,
                None if run.best is None else run.best.value,
                None if run.best is None else run.best.step,
                run.step,
                run.tokens,
                format_seconds(run.seconds),
                run.last("perf/tokens_per_second"),
            ]
            for run in records
        ],
    )


def _add_comparison(page: Page, records: Sequence[RunRecord]) -> None:
    names = [run.name for run in records]
    settings = [(key, values) for key, values in differing_settings(records) if not key.startswith("run.")]
    if settings:
        page.table(["setting that differs", *names], [[key, *map(write_setting, values)] for key, values in settings])
    else:
        page.text("The settings are the same.")
    for caveat in caveats(records):
        page.text(caveat)
    page.collapsible("Metrics side by side").table(["metric", *names], metric_rows(records))


def _add_curves(page: Blocks, records: Sequence[RunRecord]) -> None:
    known = list(dict.fromkeys(name for run in records for name in run.metric_names))
    if not known:
        page.text("Nothing was logged yet.")
        return
    # The matrices hold most of a model; of several runs theirs alone is shown.
    rates = sorted((name for name in known if name.startswith("optim/lr/")), key=lambda name: "matrix" not in name)
    together = ["train/loss", "val/loss"]
    if len(records) == 1 and set(together) <= set(known):
        _add_chart(page, records, together, "Loss")
    else:
        together = []
    for metric in _FIRST:
        if metric in known and metric not in together:
            _add_chart(page, records, [metric])
    if rates:
        _add_chart(page, records, rates if len(records) == 1 else rates[:1], "Learning rate")
    if len(records) > 1 and "val/loss" in known:
        _add_by_tokens(page, records)
    rest = [name for name in known if name not in (*_FIRST, *rates)]
    if rest:
        folded = page.collapsible(f"{len(rest)} more curves")
        for metric in rest:
            _add_chart(folded, records, [metric])


def _add_chart(page: Blocks, records: Sequence[RunRecord], metrics: list[str], title: str = "") -> None:
    long = max(len(run.curve(metrics[0])[0]) for run in records) > _MANY_POINTS
    smooth = _SMOOTH if long and metrics[0] in ("train/loss", "optim/grad_norm") else 0.0
    series = build_series(records, metrics, x="steps", smooth=smooth)
    chart = build_chart(series, records, metrics, x="steps", smooth=smooth, title=title)
    marks = _marks(records[0], metrics[0]) if len(records) == 1 else []
    page.chart(replace(chart, marks=marks))


def _marks(run: RunRecord, metric: str) -> list[Mark]:
    """Where the run was resumed, and the loss that its configuration promises."""
    marks = [
        Mark(start["resumed_step"], "resumed", horizontal=False)
        for start in run.starts[1:]
        if start.get("resumed_step")
    ]
    expected = (run.config.get("run") or {}).get("expected_val_loss")
    if metric in ("val/loss", "train/loss") and expected is not None:
        marks.append(Mark(expected, f"expected {expected:g}"))
    return marks[:20]


def _add_by_tokens(page: Blocks, records: Sequence[RunRecord]) -> None:
    """Runs with other batch sizes are compared fairly over tokens."""
    having = [run for run in records if "val/loss" in run.metric_names and run.tokens]
    if len({round(axis_values(run, "val/loss", "tokens")[-1] / run.curve("val/loss")[0][-1]) for run in having}) > 1:
        series = build_series(having, ["val/loss"], x="tokens")
        page.chart(build_chart(series, records, ["val/loss"], x="tokens", title="val/loss over tokens"))
