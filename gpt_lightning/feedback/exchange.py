"""Out of the store and back as JSONL, which is all of it.

Rows are written in the order of their keys, so that equal stores give equal files; a row that is in a store already is
not added again, and what was deleted stays deleted.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path

from gpt_lightning.errors import DataError
from gpt_lightning.feedback.records import Feedback, Interaction
from gpt_lightning.feedback.store import FeedbackStore
from gpt_lightning.files.atomic import write_text_durably


def write_jsonl(store: FeedbackStore, path: Path) -> int:
    """All rows, one JSON object per line; how many."""
    rows = [{"interaction": asdict(each)} for each in store.interactions()]
    rows += [{"feedback": asdict(each)} for each in store.feedback()]
    write_text_durably(path, "".join(json.dumps(row, ensure_ascii=False, sort_keys=True) + "\n" for row in rows))
    return len(rows)


def read_jsonl(store: FeedbackStore, path: Path) -> tuple[int, int]:
    """Take rows over, all or none.

    Returns:
        How many were new, and how many there were.

    Raises:
        DataError: A line is something else.
    """
    new = []
    with store.at_once():
        for number, line in enumerate(read_text(path).split("\n"), 1):
            if not line.strip():
                continue
            try:
                new.append(_add_line(store, line))
            except (ValueError, TypeError, DataError) as error:
                raise DataError(
                    f"{path} line {number} is no row of feedback ({str(error).rstrip('.')})",
                    allowed='{"interaction": {...}} or {"feedback": {...}}',
                    fix="Nothing was taken over: mend the line.",
                ) from error
    return sum(new), len(new)


def _add_line(store: FeedbackStore, line: str) -> bool:
    row = json.loads(line)
    if not isinstance(row, dict) or len(row) != 1 or not row.keys() <= {"interaction", "feedback"}:
        raise ValueError("neither an interaction nor feedback")
    if "interaction" in row:
        return store.add_interaction(Interaction(**row["interaction"]))
    return store.add_feedback(Feedback(**row["feedback"]))


def read_text(path: Path) -> str:
    """A file of somebody's.

    Raises:
        DataError: It cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path} cannot be read ({error})") from error
