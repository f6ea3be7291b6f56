"""``sweep report``: the page and its twin, written beside the sweep or where they are wanted."""

from __future__ import annotations

import sys
import time
from pathlib import Path

from gpt_lightning.errors import ConfigError
from gpt_lightning.reports.page import check_pages, write_page


def report_command(sweep: str, out: str | None = None) -> None:
    """Write what a sweep has found as one HTML page that needs no network, and as Markdown.

    Works at any moment: before the first trial, while trials run, after a crash.

    Example: gpt-lightning sweep report runs/lr_schedule

    Args:
        sweep: Folder of the sweep, its name below runs, or the file it was started from.
        out: Where to write the page, a name that ends in .html; the Markdown goes beside it. Null = report.html in
            the sweep's folder.
    """
    from gpt_lightning.tuning.study.sweep_folder import find_sweep

    folder = find_sweep(sweep)
    path = folder.report if out is None else Path(out)
    if path.suffix != ".html":
        raise ConfigError("--out is not the name of a page", got=out, allowed="a name that ends in .html")
    check_pages()
    for written in write_report(folder.path, path):
        sys.stdout.write(f"{written}\n")


def write_report(folder: Path, path: Path) -> list[Path]:
    """Write the page to ``path`` and its Markdown twin beside it.

    Args:
        folder: Of the sweep.
        path: Ends in .html.

    Returns:
        What was written: both files, or the Markdown alone without the extra ``reports``.

    Raises:
        ConfigError: They cannot be written.
    """
    from gpt_lightning.tuning.report.report import build_report
    from gpt_lightning.tuning.report.report_reading import read_sweep

    return write_page(build_report(read_sweep(folder), time.time()), path)
