"""Results as one page, HTML or Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from gpt_lightning.evaluation.outcomes.results import Evaluation
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.metrics.labels import Calibration, Choice
from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.page import Page

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
