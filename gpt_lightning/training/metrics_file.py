"""``metrics.jsonl``: read, and cut back to the step from which a run goes on. Without Lightning, for lists of runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from gpt_lightning.files.atomic import write_text_durably

METRICS_FILE = "metrics.jsonl"


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``; what is no whole line, cut off by a kill or a full disk, is left out."""
    path = folder / METRICS_FILE
    text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
    return [record for line in text.splitlines() if (record := _read_line(line)) is not None]


def _read_line(line: str) -> dict[str, Any] | None:
    try:
        record = json.loads(line)
    except ValueError:
        return None
    return record if isinstance(record, dict) and isinstance(record.get("step"), int) else None


def cut_metrics(folder: Path, last_step: int, source: Path | None = None) -> None:
    """Keep only the lines up to ``last_step``; with ``source``, those of another run folder (a branch)."""
    write_metrics(folder, [record for record in read_metrics(source or folder) if record["step"] <= last_step])


def write_metrics(folder: Path, records: list[dict[str, Any]]) -> None:
    """Replace a run's ``metrics.jsonl``."""
    write_text_durably(folder / METRICS_FILE, "".join(json.dumps(record) + "\n" for record in records))
