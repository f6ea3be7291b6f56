"""What an application has reached, beside its floor: one table, one page.

A floor is the simplest thing that could do the work: popularity, BM25, a lexicon. Both are evaluations of the same
items, so that the difference has an interval of its own (paired bootstrap, ``evaluation.outcomes.resampling``); where
that holds 0, the table says that no difference is shown.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from gpt_lightning.evaluation.commands.compare import compare_evaluations
from gpt_lightning.evaluation.outcomes.resampling import Difference
from gpt_lightning.evaluation.outcomes.results import Evaluation, write_evaluation
from gpt_lightning.reports.page import Page, write_page
from gpt_lightning.reports.text_table import format_table

REPORT_FILE, EVALUATIONS_DIR = "report.html", "evaluations"
_HEADERS = ["figure", "ours", "95 % from", "to", "floor", "its value", "difference", "from", "to ", "verdict"]


def _nothing(page: Page) -> None:
    """Add nothing."""


@dataclass(frozen=True)
class Findings:
    """What was measured.

    Attributes:
        title: Of the page.
        ours: Of the application.
        floors: Of what is simpler, on the same items; ``Evaluation.model`` names each.
        notes: What one must know to read the figures: the protocol, where the data are from.
        add: Adds to the page what this application shows beside the table: curves, examples.
    """

    title: str
    ours: Evaluation
    floors: Sequence[Evaluation]
    notes: Sequence[str] = ()
    add: Callable[[Page], None] = _nothing


def tabulate(findings: Findings) -> tuple[list[str], list[list[object]]]:
    """Headers and rows: each figure beside each floor.

    Raises:
        DataError: They are not of the same items.
    """
    intervals = findings.ours.intervals
    rows: list[list[object]] = []
    compared = [(floor.model, compare_evaluations(floor, findings.ours)) for floor in findings.floors]
    for name, value in findings.ours.scores.items():
        lower = any(name in measure.build().lower_is_better for measure in findings.ours.measures)
        own: list[object] = [name, value, *intervals.get(name, (None, None))]
        rows += [
            [*own, floor, each[name].first, value - each[name].first, each[name].low, each[name].high,
             judge(each[name], lower)]
            for floor, each in compared
        ]  # fmt: skip
    return list(_HEADERS), rows


def judge(difference: Difference, lower_is_better: bool = False) -> str:
    """Whether the interval of the difference excludes 0, and on which side."""
    if difference.low <= 0 <= difference.high:
        return "no difference shown"
    return "better" if (difference.low > 0) != lower_is_better else "worse"


def tell_findings(findings: Findings, folder: Path) -> list[Path]:
    """The table to standard output, the page and the evaluations (for ``evaluate compare``) to files.

    Args:
        findings: What was found.
        folder: Of the application.

    Returns:
        What was written.

    Raises:
        ConfigError: The page cannot be written.
    """
    headers, rows = tabulate(findings)
    sys.stdout.write(format_table(headers, rows))
    page = Page(findings.title, f"{len(findings.ours.items):,} questions to {findings.ours.model}")
    page.heading("Figures beside their floor")
    page.table(headers, rows)
    for note in findings.notes:
        page.text(note)
        sys.stdout.write(f"{note}\n")
    findings.add(page)
    kept = folder / EVALUATIONS_DIR
    kept.mkdir(exist_ok=True)
    files = {kept / f"{each.model}.json": each for each in findings.floors} | {kept / "ours.json": findings.ours}
    for path, each in files.items():
        write_evaluation(each, path)
    return [*write_page(page, folder / REPORT_FILE), *files]
