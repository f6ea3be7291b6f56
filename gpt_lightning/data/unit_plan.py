"""``plan.json`` in a working folder: what a reader needs to follow a store that is being made (``growing``).

It is written when the vocabulary and the rule of division are known and before the first unit is done. A plan that was
left over by an earlier attempt is told by its fingerprint.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.files.atomic import write_text_atomically
from gpt_lightning.files.sealing import seal, unseal

_PLAN_FILE = "plan.json"


@dataclass(frozen=True)
class UnitPlan:
    """A store that is going to be.

    Attributes:
        fingerprint: Of inputs and settings, see ``freshness.fingerprint_inputs``.
        tokenizer: Description of the tokenizer.
        splits: Names of the splits.
        split_rule: How documents are divided, in words.
        parts: Names of the files of the units' parts, in order.
    """

    fingerprint: str
    tokenizer: dict[str, Any]
    splits: list[str]
    split_rule: str
    parts: list[str]


def write_plan(folder: Path, plan: UnitPlan) -> None:
    """Put a plan into a working folder, whole or not at all."""
    write_text_atomically(folder / _PLAN_FILE, json.dumps(seal(asdict(plan))))


def read_plan(folder: Path) -> UnitPlan | None:
    """The plan in a working folder; None while there is none."""
    try:
        return UnitPlan(**unseal(json.loads((folder / _PLAN_FILE).read_text(encoding="utf-8"))))
    except (OSError, ValueError, TypeError, AttributeError):
        return None
