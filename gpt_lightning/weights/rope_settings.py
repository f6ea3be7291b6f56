"""Rotary positions in a ``config.json``: Llama's and Qwen3's own, and Llama 3.1's stretching of them.

There are two spellings: older readers know ``rope_theta`` and ``rope_scaling``, newer ones prefer ``rope_parameters``.
Both are read, and both are written.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from gpt_lightning.model.config import GPTConfig

_STRETCHED = "llama3"
_STRETCHING = ("linear", "dynamic", "yarn", _STRETCHED)
"""Kinds that stretch by a factor, and by 1 not at all; yarn as long as nothing else is said of it."""
_FURTHER = {"attention_factor", "mscale", "mscale_all_dim"}
_THETA = 10000.0
_STRETCH = {
    "rope_factor": "factor",
    "rope_low_factor": "low_freq_factor",
    "rope_high_factor": "high_freq_factor",
    "rope_context": "original_max_position_embeddings",
}


def read_rope(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ``GPTConfig`` from a ``config.json`` in which ``list_rope_obstacles`` finds nothing."""
    rope = _gather(settings)
    fields: dict[str, Any] = {"rope_theta": float(rope.get("rope_theta", _THETA))}
    if _kind(rope) == _STRETCHED:
        fields |= {ours: float(rope[theirs]) for ours, theirs in _STRETCH.items()}
        fields["rope_context"] = int(fields["rope_context"])
    return fields


def write_rope(config: GPTConfig) -> dict[str, Any]:
    """Entries of a ``config.json``."""
    theta = config.rope_theta
    if config.rope_stretch is None:
        return {"rope_theta": theta, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    stretch = {"rope_type": _STRETCHED} | {theirs: getattr(config, ours) for ours, theirs in _STRETCH.items()}
    return {"rope_theta": theta, "rope_scaling": stretch, "rope_parameters": {**stretch, "rope_theta": theta}}


def list_rope_obstacles(settings: Mapping[str, Any]) -> list[str]:
    """What this decoder cannot follow, and numbers that are none."""
    rope = _gather(settings)
    if any(isinstance(value, Mapping) for value in rope.values()):
        return ["rotary positions that differ between layers"]
    kind = _kind(rope)
    if kind not in ("default", _STRETCHED) or rope.get("partial_rotary_factor", 1.0) != 1.0:
        return [f"rotary positions of type {kind!r}: {dict(rope)}"]
    numbers = {"rope_theta": rope.get("rope_theta", _THETA)}
    if kind == _STRETCHED:
        numbers |= {name: rope.get(name) for name in _STRETCH.values()}
    return [f"{name} {value!r}" for name, value in numbers.items() if not _is_positive(value)]


def _gather(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said, in either spelling."""
    found: dict[str, Any] = {"rope_theta": settings["rope_theta"]} if settings.get("rope_theta") is not None else {}
    for name in ("rope_scaling", "rope_parameters"):
        entry = settings.get(name)
        if isinstance(entry, Mapping):
            found |= entry
    return found


def _kind(rope: Mapping[str, Any]) -> Any:
    kind = rope.get("rope_type", rope.get("type", "default"))
    stretches_nothing = rope.get("factor") == 1.0 and not rope.keys() & _FURTHER
    return "default" if kind in _STRETCHING and stretches_nothing else kind


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf
