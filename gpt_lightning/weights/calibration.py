"""What calibration has found of a model that labels texts, beside its checkpoints: ``calibration.json`` of the run.

By the name of the checkpoint: a temperature, and thresholds of labels of which any number can hold. Whoever loads the
checkpoint finds it among ``card["use"]``, and so does whoever reads an export of it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gpt_lightning.errors import CheckpointError
from gpt_lightning.files.atomic import write_json_durably

CALIBRATION_FILE = "calibration.json"
ENTRY = "calibration"
"""In ``card["use"]``."""


def with_calibration(use: Mapping[str, Any], checkpoint: Path) -> dict[str, Any]:
    """What a checkpoint says of its use, with what was found later.

    Raises:
        CheckpointError: The file is damaged.
    """
    known = _read(checkpoint).get(checkpoint.name)
    return dict(use) if known is None else {**use, ENTRY: known}


def write_calibration(checkpoint: Path, calibration: Mapping[str, Any]) -> None:
    """Keep what was found of a checkpoint.

    Raises:
        CheckpointError: What is there is damaged.
    """
    write_json_durably(_file(checkpoint), {**_read(checkpoint), checkpoint.name: dict(calibration)})


def _read(checkpoint: Path) -> dict[str, Any]:
    try:
        known = json.loads(_file(checkpoint).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as problem:
        raise CheckpointError(
            f"Cannot read {_file(checkpoint)} ({problem})", fix="Delete it, and calibrate again."
        ) from problem
    assert isinstance(known, dict)
    return known


def _file(checkpoint: Path) -> Path:
    return checkpoint.parent.parent / CALIBRATION_FILE
