"""``metrics.jsonl``: read, and cut back to the step from which a run goes on. Without Lightning, for lists of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt_lightning.files.atomic import write_text_atomically

METRICS_FILE = "metrics.jsonl"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``; a last line cut off by a kill is left out."""
    path = folder / METRICS_FILE
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def cut_metrics(folder: Path, last_step: int, source: Path | None = None) -> None:
    """Keep only the lines up to ``last_step``; with ``source``, those of another run folder (a branch)."""
    write_metrics(folder, [record for record in read_metrics(source or folder) if record["step"] <= last_step])


def write_metrics(folder: Path, records: list[dict[str, Any]]) -> None:
    """Replace a run's ``metrics.jsonl``."""
    write_text_atomically(folder / METRICS_FILE, "".join(json.dumps(record) + "\n" for record in records))
