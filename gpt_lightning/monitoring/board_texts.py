"""Texts that a run wrote for TensorBoard (samples at each validation ...), read by TensorBoard's own reader."""

from __future__ import annotations

import logging
from pathlib import Path

_EVENTS = "events.out.tfevents.*"


def read_texts(folder: Path) -> dict[str, list[tuple[int, str]]]:
    """Texts of a run by name, each with its steps; empty where nothing was written, or TensorBoard is not there."""
    if not any(folder.glob(_EVENTS)):
        return {}
    try:
        from tensorboard.backend.event_processing.event_accumulator import (
            EventAccumulator,
        )
    except ImportError:
        return {}
    logging.getLogger("tensorboard").setLevel(logging.ERROR)
    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0, "scalars": 1, "images": 1, "histograms": 1})
    reader.Reload()
    found: dict[str, list[tuple[int, str]]] = {}
    for tag in reader.Tags()["tensors"]:
        if reader.SummaryMetadata(tag).plugin_data.plugin_name != "text":
            continue
        texts = found.setdefault(tag.removesuffix("/text_summary"), [])
        for event in reader.Tensors(tag):
            lines = [value.decode("utf-8", "replace") for value in event.tensor_proto.string_val]
            texts.append((int(event.step), "\n".join(lines)))
    return found
