"""Class paths of earlier versions: a config or checkpoint that was written before a class moved still names it rightly.

One table, used where YAML is read and where the settings of a checkpoint are compared with those of today. A line is
added when a module moves whose classes a configuration can name; lines stay.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

MOVED = {
    "board.alerts": "tracking.alerts",
    "board.notices": "tracking.notifications",
    "data.packing": "data.stream.packing",
    "optim.cycles": "optim.schedules.cyclic",
    "optim.points": "optim.schedules.piecewise",
    "optim.schedules": "optim.schedules.schedules",
    "optim.shapes": "optim.schedules.decay_shapes",
    "training.nonfinite": "training.modules.nonfinite",
    "training.trackers": "training.watch.trackers",
}
"""Module of an earlier version -> module of today, both without the package's own name."""

# Only in front of a class: optim.schedules is a package today.
_OLD = re.compile(rf"\bgpt_lightning\.({'|'.join(map(re.escape, MOVED))})(?=\.[A-Z])")


def rename(text: str) -> str:
    """``text`` with today's class paths.

    >>> rename("class_path: gpt_lightning.data.packing.Concat")
    'class_path: gpt_lightning.data.stream.packing.Concat'
    """
    # The look for the name first: most texts hold none, and this is on the way of every file that is read.
    return _OLD.sub(lambda found: f"gpt_lightning.{MOVED[found[1]]}", text) if "gpt_lightning." in text else text


def rename_all(settings: Any) -> Any:
    """A tree of settings (mappings, lists, plain values) with today's class paths."""
    if isinstance(settings, str):
        return rename(settings)
    if isinstance(settings, Mapping):
        return {key: rename_all(value) for key, value in settings.items()}
    if isinstance(settings, list):
        return [rename_all(value) for value in settings]
    return settings
