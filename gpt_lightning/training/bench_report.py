"""A ``Measurement`` as one screen of text, or as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from gpt_lightning.training.advice import Measurement, advise

_MEANING = {
    "data": "loading, copying to the device",
    "forward": "model and loss",
    "backward": "gradients",
    "optimizer": "clipping and update",
    "rest": "logging, callbacks, Trainer",
}


def describe(measured: Measurement) -> str:
    """The table, the figures and the advice."""
    lines = [*_headline(measured), "", *_table(measured), "", *_figures(measured), ""]
    advice = advise(measured)
    lines += ["What to change", *(f"  {line}" for line in advice)] if advice else ["Nothing stands out."]
    return "\n".join(lines) + "\n"


def _headline(measured: Measurement) -> list[str]:
    setup = measured.setup
    place = f"{setup.world} x {setup.device}" if setup.world > 1 else setup.device
    threads = f", {setup.threads} threads" if setup.device == "cpu" else ""
    how = "compiled" if setup.compiled else "not compiled"
    batches = f" x {setup.accumulate}" if setup.accumulate > 1 else ""
    return [
        f"{setup.num_parameters:,} parameters, {setup.precision}, {how}, on {place}{threads}",
        f"{measured.steps} steps of {measured.tokens_per_step:,} tokens: block {setup.block_size}, "
        f"batch {setup.batch_size}{batches}",
    ]


def _table(measured: Measurement) -> list[str]:
    lines = [f"{'part':<10}{'ms':>11}{'share':>9}"]
    for part, seconds in measured.parts.items():
        lines.append(f"{part:<10}{1000 * seconds:>11.2f}{measured.share(part):>9.1%}  {_MEANING[part]}")
    spread = f"{1000 * measured.fastest_seconds:.2f} to {1000 * measured.slowest_seconds:.2f}"
    return [*lines, f"{'step':<10}{1000 * measured.step_seconds:>11.2f}{1:>9.1%}  {spread}"]


def _figures(measured: Measurement) -> list[str]:
    setup = measured.setup
    peak = measured.peaks[setup.precision]
    memory = f"{measured.memory_bytes / 2**30:.2f} of {measured.memory_total_bytes / 2**30:.1f} GiB"
    kind = "resident at most" if setup.device == "cpu" else "allocated at most"
    return [
        f"{'tokens/s':<10}{measured.tokens_per_second:>11,.0f}",
        f"{'MFU':<10}{measured.mfu:>11.1%}  of {peak / 1e12:.3g} TFLOP/s, the fastest product of matrices here",
        f"{'memory':<10}{memory:>11}, {kind}",
    ]


def to_json(measured: Measurement) -> str:
    """All figures and the advice; seconds, bytes and operations per second."""
    derived = {
        "step_seconds": measured.step_seconds,
        "tokens_per_second": measured.tokens_per_second,
        "mfu": measured.mfu,
        "advice": advise(measured),
    }
    return json.dumps(asdict(measured) | derived) + "\n"
