"""A ``Checkup`` as one screen of text, or as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict

from gpt_lightning.reports.numbers import format_bytes, format_seconds, format_short
from gpt_lightning.training.profiling.checkup import Checkup, Finding


def describe_checkup(checkup: Checkup, findings: Sequence[Finding]) -> str:
    """The figures, then what to change."""
    lines = [*_sizes(checkup), "", *_memory(checkup), "", *_costs(checkup), ""]
    lines += [str(finding) for finding in findings]
    counts = {level: sum(finding.level == level for finding in findings) for level in ("error", "warning")}
    told = [f"{count} {level}{'s' * (count > 1)}" for level, count in counts.items() if count]
    lines.append(f"{' and '.join(told)}." if told else "Healthy.")
    return "\n".join(lines) + "\n"


def _row(name: str, value: str) -> str:
    return f"{name:<15}{value}"


def _sizes(checkup: Checkup) -> Iterator[str]:
    total = sum(checkup.parameters.values())
    parts = ", ".join(f"{part} {format_short(count)}" for part, count in checkup.parameters.items())
    yield _row("parameters", f"{total:,}: {parts}")
    yield _row("operations", f"{format_short(checkup.flops_per_token)} per token, forward and backward")
    each = f"{checkup.total_tokens / total:.1f} per parameter" if total else ""
    yield _row(
        "length",
        f"{checkup.total_steps:,} steps of {checkup.tokens_per_step:,} tokens: {checkup.total_tokens:,}, {each}",
    )
    if checkup.train_tokens is not None:
        val = (
            ""
            if checkup.val_tokens is None
            else f", {checkup.val_tokens:,} to validate on ({checkup.validations} times)"
        )
        yield _row("data", f"{checkup.train_tokens:,} tokens, seen {checkup.epochs:.2f} times{val}")
    else:
        yield _row("data", "prepared on the fly, of unknown size")


def _memory(checkup: Checkup) -> Iterator[str]:
    memory = checkup.memory
    if memory is None:
        yield _row("memory", f"not estimated: {checkup.memory_reason}")
        return
    available = f" of {format_bytes(checkup.available_bytes)} free" if checkup.available_bytes else ""
    yield _row("memory", f"{format_bytes(memory.peak)}{available} on {checkup.device} at the worst moment of a step")
    for name in ("weights", "gradients", "optimizer", "average", "activations"):
        count = getattr(memory, name)
        if count:
            more = f", one copy of the logits {format_bytes(memory.logits)}" if name == "activations" else ""
            yield _row("", f"{format_bytes(count):>11} {name}{more}")
    if checkup.grown_bytes:
        measured = format_bytes(checkup.grown_bytes)
        kind = "in tensors" if checkup.device == "cuda" else "resident, with code and buffers that are no tensors"
        error = checkup.memory_error
        beside = "" if error is None else f"; the estimate of the tensors is {error:+.0%} from that"
        yield _row("", f"measured {measured} {kind}{beside}")


def _costs(checkup: Checkup) -> Iterator[str]:
    measured, seconds = checkup.measured, checkup.seconds
    if measured is None or seconds is None:
        yield _row("time", f"not estimated: {checkup.unmeasured_reason}")
    else:
        validation = checkup.validation_seconds
        share = "" if not validation else f", validation {format_seconds(validation)} of it"
        speed = f"{measured.tokens_per_second:,.0f} tokens/s, MFU {measured.mfu:.1%}"
        yield _row("time", f"{format_seconds(seconds)}{share}; {speed}, from {measured.steps} steps")
    if checkup.watt_hours is not None:
        yield _row("energy", f"{checkup.watt_hours / 1000:.3g} kWh at {checkup.watts:g} W ({checkup.watts_source})")
    else:
        reason = "say --watts W" if checkup.watts is None else "the time is not known"
        yield _row("energy", f"not estimated: {reason}")
    if checkup.checkpoint_bytes:
        total = checkup.checkpoint_bytes * checkup.kept_checkpoints
        free = f" of {format_bytes(checkup.disk_free_bytes)} free" if checkup.disk_free_bytes else ""
        size = format_bytes(checkup.checkpoint_bytes)
        yield _row("disk", f"{format_bytes(total)}{free}: {checkup.kept_checkpoints} checkpoints of {size} at most")


def checkup_to_json(checkup: Checkup, findings: Sequence[Finding]) -> str:
    """All figures and findings; seconds, bytes, watt-hours."""
    derived = {
        "total_tokens": checkup.total_tokens,
        "epochs": checkup.epochs,
        "checkpoint_bytes": checkup.checkpoint_bytes,
        "training_seconds": checkup.training_seconds,
        "validation_seconds": checkup.validation_seconds,
        "seconds": checkup.seconds,
        "watt_hours": checkup.watt_hours,
        "memory_error": checkup.memory_error,
        "findings": [asdict(finding) for finding in findings],
    }
    return json.dumps(asdict(checkup) | derived) + "\n"
