"""Registered models with tiny checkpoints."""

from __future__ import annotations

from pathlib import Path

import torch

from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.registry.gates import Check, GateReport, write_report
from gpt_lightning.registry.versions import Version, add_version, now


def write_run(place: Path, number: int) -> Path:
    """A run folder whose checkpoint says a number."""
    facts = {
        "model": {"n_layer": number},
        "data_fingerprint": f"data{number}",
        "config": {"data": {"source": f"text{number}.txt"}},
        "validation": {"step": number, "metric": "val/loss", "value": 1.0 / number, "part": "the whole split"},
    }
    state = {"weight": torch.full((4,), float(number))}
    return write_checkpoint(
        place / f"run-{number}" / "checkpoints", step=number, state=state, facts=facts
    ).parent.parent


def register(folder: Path, *numbers: int) -> list[Version]:
    """Versions of some runs."""
    return [add_version(folder, write_run(folder.parent, number), who="test") for number in numbers]


def judge(folder: Path, candidate: Version, baseline: Version, *, passed: bool = True) -> None:
    """A gate's report."""
    check = Check("better on the gate set", passed, "difference 0.1", "> 0")
    write_report(folder, GateReport(candidate.id, baseline.id, now(), [check]))
