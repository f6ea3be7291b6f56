"""``runs compare``: what differs between runs, what they reached, and whether a difference means anything.

Runs that differ in nothing but their seed are repeats of one another; with two or more repeats on both sides, a
difference has an error bar. With a single seed each there is none, and the text says so instead of leaving it out.
"""

from __future__ import annotations

import json as json_module
import math
import statistics
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from gpt_lightning.monitoring.listing import summarize_run
from gpt_lightning.monitoring.records import RunRecord, open_runs
from gpt_lightning.parsing.strict_yaml import flatten
from gpt_lightning.reports.numbers import format_number
from gpt_lightning.reports.text_table import format_table

_SEED = "seed_everything"
_SILENT = ("run", "monitor")
"""Settings of folders and displays: no reason for another loss."""
_COMPARED = ("val/loss", "val/bits_per_byte", "val/perplexity", "train/loss", "perf/tokens_per_second")


def compare_command(runs: list[str], json: bool = False) -> None:
    """Compare runs: settings that differ, metrics side by side, and whether a difference may be chance.

    Example: gpt-lightning runs compare quickstart-1 quickstart-2

    Args:
        runs: Two or more folders of runs, names in runs/, or folders of runs.
        json: Write one JSON object instead.
    """
    records = open_runs(runs, least=2)
    if json:
        content = {
            "runs": [summarize_run(run) for run in records],
            "settings": {key: values for key, values in differing_settings(records)},
            "caveats": caveats(records),
        }
        sys.stdout.write(json_module.dumps(content, indent=1, default=str) + "\n")
        return
    sys.stdout.write(_describe(records))


def differing_settings(records: Sequence[RunRecord]) -> list[tuple[str, list[Any]]]:
    """Dotted settings that are not the same in all runs, with each run's value."""
    flats = [flatten(run.config) for run in records]
    keys = sorted({key for flat in flats for key in flat})
    rows = []
    for key in keys:
        values = [flat.get(key, "(not set)") for flat in flats]
        if any(repr(value) != repr(values[0]) for value in values[1:]):
            rows.append((key, values))
    return rows


def metric_rows(records: Sequence[RunRecord]) -> list[list[object]]:
    """A metric in each row, a run in each column."""
    rows: list[list[object]] = [["status", *(run.status.state for run in records)]]
    rows.append(["best val/loss", *(_number(run.best.value if run.best else None, 5) for run in records)])
    rows.append(["   at step", *(run.best.step if run.best else None for run in records)])
    rows += [
        [f"last {name}", *(_number(run.last(name), 5) for run in records)]
        for name in _COMPARED
        if any(run.last(name) is not None for run in records)
    ]
    rows.append(["steps", *(run.step for run in records)])
    rows.append(["tokens", *(run.tokens for run in records)])
    rows.append(["seconds", *(_number(run.seconds, 3) for run in records)])
    return rows


def _number(value: float | None, digits: int) -> str | None:
    return None if value is None else format_number(float(value), digits)


def _describe(records: Sequence[RunRecord]) -> str:
    names = [run.name for run in records]
    settings = [(key, values) for key, values in differing_settings(records) if key.split(".")[0] not in _SILENT]
    lines = []
    if settings:
        rows = [[key, *(_shown(value) for value in values)] for key, values in settings]
        lines.append(format_table(["setting", *names], rows))
    else:
        lines.append("The settings are the same.\n")
    lines.append(format_table(["metric", *names], metric_rows(records)))
    lines += [f"- {caveat}" for caveat in caveats(records)]
    return "\n".join(lines) + "\n"


def _shown(value: Any) -> str:
    return value if isinstance(value, str) else json_module.dumps(value, default=str)


@dataclass(frozen=True)
class Group:
    """Repeats: runs whose settings differ in the seed alone, and their best validation losses."""

    names: list[str]
    losses: list[float]


def group_repeats(records: Sequence[RunRecord]) -> list[Group]:
    """Runs put together that differ in their seed alone; a seed counts once, and only runs that have finished."""
    groups: dict[str, dict[object, tuple[str, float]]] = {}
    for run in records:
        if run.best is None or run.status.state not in ("finished", "unknown"):
            continue
        flat = flatten(run.config)
        seed = flat.pop(_SEED, None)
        kept = {key: value for key, value in flat.items() if key.split(".")[0] not in _SILENT}
        groups.setdefault(repr(sorted(kept.items())), {}).setdefault(seed, (run.name, run.best.value))
    return [
        Group([name for name, _ in seeds.values()], [loss for _, loss in seeds.values()]) for seeds in groups.values()
    ]


def caveats(records: Sequence[RunRecord]) -> list[str]:
    """Sentences on what the numbers do and do not say."""
    lines = [*_fairness(records)]
    unfinished = [run.name for run in records if run.status.state not in ("finished", "unknown")]
    if unfinished:
        lines.append(f"Not finished: {', '.join(unfinished)}. Their losses are of a part of their schedule.")
    groups = group_repeats(records)
    if len(groups) == 1 and len(groups[0].losses) > 1:
        losses = groups[0].losses
        lines.append(
            f"Repeats with {len(losses)} seeds: best val/loss {statistics.fmean(losses):.4f} on average, standard "
            f"deviation {statistics.stdev(losses):.4f}. A difference between other settings must be seen beside it."
        )
    if len(_fingerprints(records)) < 2:  # else their losses are no measure of one another, chance or not
        lines += [_compare_groups(groups[0], other) for other in groups[1:]]
    return lines


def _fingerprints(records: Sequence[RunRecord]) -> set[object]:
    return {run.starts[-1].get("data_fingerprint") for run in records if run.starts}


def _fairness(records: Sequence[RunRecord]) -> list[str]:
    lines = []
    if len(_fingerprints(records)) > 1:
        lines.append(
            "The runs were trained on other data or with other tokenizers: their losses per token are not comparable; "
            "val/bits_per_byte is, if the validation text is the same."
        )
    tokens = [run.tokens for run in records if run.tokens]
    if tokens and max(tokens) > 1.01 * min(tokens):
        lines.append(f"They have not seen the same number of tokens ({min(tokens):,} to {max(tokens):,}).")
    return lines


def _compare_groups(first: Group, other: Group) -> str:
    difference = statistics.fmean(other.losses) - statistics.fmean(first.losses)
    pair = f"{_names(other)} against {_names(first)}: val/loss {difference:+.4f}"
    if len(first.losses) < 2 or len(other.losses) < 2:
        return (
            f"{pair}. This may be chance: how much the loss varies from seed to seed is unknown with a single seed. "
            "Repeat both with --seed_everything 1, 2, 3."
        )
    low, high = welch_interval(first.losses, other.losses)
    verdict = "more than seeds explain" if low > 0 or high < 0 else "no more than seeds may explain"
    return f"{pair}, {verdict} (95 % interval {low:+.4f} to {high:+.4f}, Welch; {_sizes(first, other)} seeds)."


def _names(group: Group) -> str:
    return (
        group.names[0]
        if len(group.names) == 1
        else f"{group.names[0]} and {len(group.names) - 1} repeat{'s' * (len(group.names) > 2)}"
    )


def _sizes(first: Group, other: Group) -> str:
    return f"{len(other.losses)} and {len(first.losses)}"


def welch_interval(first: Sequence[float], other: Sequence[float], level: float = 0.95) -> tuple[float, float]:
    """Confidence interval of mean(other) - mean(first) for unequal variances (Welch 1947).

    Args:
        first: Two values or more.
        other: Two values or more.
        level: Of confidence, between 0 and 1.
    """
    parts = [statistics.variance(values) / len(values) for values in (first, other)]
    difference, error = statistics.fmean(other) - statistics.fmean(first), math.sqrt(sum(parts))
    if error == 0:
        return difference, difference
    sizes = (len(first), len(other))
    freedom = sum(parts) ** 2 / sum(part**2 / (size - 1) for part, size in zip(parts, sizes, strict=True))
    reach = student_quantile((1 + level) / 2, freedom) * error
    return difference - reach, difference + reach


def student_quantile(share: float, freedom: float) -> float:
    """The t below which ``share`` (0.5 to below 1) of Student's distribution lies; by bisection of its integral."""
    low, high = 0.0, 1.0
    while _student_share(high, freedom) < share:
        high *= 2
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if _student_share(middle, freedom) < share else (low, middle)
    return (low + high) / 2


def _student_share(t: float, freedom: float) -> float:
    """Share below ``t`` >= 0: Simpson's rule over the angle atan(t / sqrt(freedom)), where the density is smooth."""
    scale: float = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(math.pi)
    end, pieces = math.atan(t / math.sqrt(freedom)), 80
    heights: list[float] = [math.cos(end * number / pieces) ** (freedom - 1) for number in range(pieces + 1)]
    total = heights[0] + heights[-1] + 4 * sum(heights[1:-1:2]) + 2 * sum(heights[2:-1:2])
    return 0.5 + scale * total * end / pieces / 3
