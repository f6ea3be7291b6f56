"""Where results go: a table on the terminal, a JSON file, a page (HTML or Markdown), TensorBoard."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.outcomes.results import Evaluation, check_output, write_evaluation
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.metrics.labels import Calibration, Choice
from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.page import Page

_TABLE_ROWS = 12


@dataclass(frozen=True)
class Outputs:
    """Files to write beside the table.

    Attributes:
        output: JSON file with scores and items; with several evaluations a folder of such files.
        report: Page, .html or .md.
        tensorboard: Folder of events; scores are ``eval/<task>/<metric>`` there.
    """

    output: str | None = None
    report: str | None = None
    tensorboard: str | None = None

    def check(self, several: bool = False) -> None:
        """Refuse what cannot be written, before anything is computed.

        Raises:
            ConfigError: A folder does not exist, or the page is of no known kind.
        """
        if self.output is not None:
            path = Path(self.output)
            if several and path.is_file():
                raise ConfigError(
                    "output is a folder where there are several tasks", got=self.output, allowed="a folder"
                )
            check_output(path / "x" if several and path.is_dir() else path)
        if self.tensorboard is not None and Path(self.tensorboard).is_file():
            raise ConfigError("tensorboard is a folder of events", got=self.tensorboard, allowed="a folder")
        if self.report is not None:
            if Path(self.report).suffix not in (".html", ".md"):
                raise ConfigError("report is a page", got=self.report, allowed="a file *.html or *.md")
            check_output(Path(self.report))
            if self.report.endswith(".html"):
                from gpt_lightning.reports.page import check_pages

                check_pages()

    def write(self, evaluations: Sequence[Evaluation], step: int = 0) -> None:
        """The table to standard output, and the files.

        Args:
            evaluations: What was found.
            step: Step of the model, for TensorBoard.
        """
        sys.stdout.write("\n".join(draw_table(each) for each in evaluations))
        if self.output is not None:
            self._write_json(Path(self.output), evaluations)
        if self.report is not None:
            write_page(evaluations, Path(self.report))
            sys.stdout.write(f"wrote {self.report}\n")
        if self.tensorboard is not None:
            _write_events(Path(self.tensorboard), evaluations, step)
            sys.stdout.write(f"wrote events to {self.tensorboard}\n")

    def _write_json(self, path: Path, evaluations: Sequence[Evaluation]) -> None:
        if len(evaluations) == 1 and not path.is_dir():
            paths = [path]
        else:
            path.mkdir(exist_ok=True)
            paths = [path / f"{each.name}.json" for each in evaluations]
        for each, place in zip(evaluations, paths, strict=True):
            write_evaluation(each, place)
            sys.stdout.write(f"wrote {place}\n")


def draw_table(evaluation: Evaluation) -> str:
    """The findings for a terminal."""
    settings = ", ".join(f"{name} {_show(value)}" for name, value in evaluation.settings.items())
    count = len(evaluation.items)
    lines = [
        f"{evaluation.name}: {count:,} item{'s' * (count != 1)}, {evaluation.model}",
        *([settings] * bool(settings)),
    ]
    intervals, how = evaluation.intervals, evaluation.describe()
    rows = [["metric", "value", "95 % interval", "how"]]
    for name, value in evaluation.scores.items():
        limits = intervals.get(name)
        shown = "" if limits is None else f"{format_score(limits[0])} to {format_score(limits[1])}"
        rows.append([name, format_score(value), shown, how.get(name, "")])
    lines += align(rows)
    if evaluation.published:
        known = [[p["who"], p["metric"], format_score(float(p["value"])), p["source"]] for p in evaluation.published]
        lines += ["", *align([["published", "metric", "value", "source"], *known])]
    for title, (headers, table) in evaluation.tables.items():
        cells = [[_show(cell) for cell in row] for row in table[:_TABLE_ROWS]]
        more = [f"... and {len(table) - _TABLE_ROWS:,} more in the JSON file"] * (len(table) > _TABLE_ROWS)
        lines += ["", f"{title}:", *align([headers, *cells]), *more]
    return "\n".join(lines) + "\n"


def _show(value: Any) -> str:
    return format_score(value) if isinstance(value, float) else str(value)


def format_score(value: float) -> str:
    """Four decimals below 10, two below 1000."""
    if not math.isfinite(value):
        return str(value)
    size = abs(value)
    return f"{value:.4f}" if size < 10 else f"{value:.2f}" if size < 1000 else f"{value:.0f}"


def align(rows: Sequence[Sequence[str]]) -> list[str]:
    """A table as lines, columns side by side."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]


def _write_events(folder: Path, evaluations: Sequence[Evaluation], step: int) -> None:
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(str(folder)) as writer:
        for each in evaluations:
            for name, value in each.scores.items():
                writer.add_scalar(f"eval/{each.name}/{name}", value, step)
            text = json.dumps({"model": each.model, "settings": dict(each.settings)}, ensure_ascii=False, indent=1)
            writer.add_text(f"eval/{each.name}", f"```\n{text}\n```", step)


_ROWS = 200


def write_page(evaluations: Sequence[Evaluation], path: Path) -> None:
    """Write the page of some evaluations; it is complete or not there.

    Args:
        evaluations: A section each.
        path: ``.html``, or ``.md`` for Markdown.
    """
    models = ", ".join(dict.fromkeys(each.model for each in evaluations))
    page = Page("Evaluation", models)
    for each in evaluations:
        _add_section(page, each)
    write_text_durably(path, page.markdown() if path.suffix == ".md" else page.html())


def _add_section(page: Page, evaluation: Evaluation) -> None:
    page.heading(evaluation.name)
    settings = ", ".join(f"{name} {value}" for name, value in evaluation.settings.items())
    page.text(f"{len(evaluation.items):,} items. {settings}")
    intervals, how = evaluation.intervals, evaluation.describe()
    page.table(
        ["metric", "value", "95 % from", "to", "how"],
        [
            [name, value, *(intervals.get(name) or (None, None)), how.get(name, "")]
            for name, value in evaluation.scores.items()
        ],
    )
    if evaluation.published:
        page.table(
            ["published", "metric", "value", "source"],
            [[each["who"], each["metric"], float(each["value"]), each["source"]] for each in evaluation.published],
        )
    for title, (headers, rows) in evaluation.tables.items():
        page.text(title if len(rows) <= _ROWS else f"{title} (the first {_ROWS} of {len(rows):,})")
        page.table(headers, rows[:_ROWS])
    _add_reliability(page, evaluation)


def _add_reliability(page: Page, evaluation: Evaluation) -> None:
    """How often the model is right against how sure it is."""
    for measure in evaluation.measures:
        score = measure.build()
        if not isinstance(score, Calibration):
            continue
        assert all(isinstance(item.outcomes[measure.outcome], Choice) for item in evaluation.items)
        confidence, hits, count = score.divide_bins(evaluation.rows(measure).sum(axis=0))
        seen = count > 0
        sure, right = (values[seen] / count[seen] for values in (confidence, hits))
        found = Series("share right", sure.tolist(), right.tolist(), dots=True)
        perfect = Series("perfect", [0.0, 1.0], [0.0, 1.0], dashed=True)
        page.chart(LineChart([found, perfect], "Calibration", "confidence", "share of right answers"))
