"""``runs list`` and ``runs show``: how runs stand, what they reached, what they cost."""

from __future__ import annotations

import fnmatch
import json
import shlex
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError
from gpt_lightning.monitoring.records import STATES, RunRecord, find_runs, open_run
from gpt_lightning.reports.numbers import format_bytes, format_number, format_seconds, format_short, sparkline
from gpt_lightning.reports.text_table import format_table, paint_states
from gpt_lightning.training.runs.run_folder import RUNS

_SORTS: dict[str, Callable[[RunRecord], Any]] = {
    "age": lambda run: -run.last_sign,
    "name": lambda run: run.name,
    "status": lambda run: STATES.index(run.status.state),
    "loss": lambda run: run.best.value if run.best else float("inf"),
    "steps": lambda run: run.step,
    "tokens": lambda run: run.tokens or 0,
    "time": lambda run: run.seconds,
}


def list_command(
    runs: str = "runs",
    sort: str = "age",
    reverse: bool = False,
    status: str | None = None,
    name: str | None = None,
    limit: int | None = None,
    json: bool = False,
) -> None:
    """List runs: how they stand, the best validation loss, what they cost.

    Example: gpt-lightning runs list --sort loss --status finished

    Args:
        runs: Folder of runs, of one run, or of a sweep.
        sort: age (the newest first), name, status, loss, steps, tokens or time.
        reverse: The other way round.
        status: Only these, with commas: running, stale, finished, stopped, failed, crashed, unknown.
        name: Only runs whose name fits, e.g. "lr-*".
        limit: How many to show.
        json: Write one JSON array instead of a table.
    """
    records = select_runs(runs, sort=sort, reverse=reverse, status=status, name=name, limit=limit)
    sys.stdout.write(_to_json(records) if json else _describe(records, Path(runs)))


def select_runs(
    place: str,
    *,
    sort: str = "age",
    reverse: bool = False,
    status: str | None = None,
    name: str | None = None,
    limit: int | None = None,
) -> list[RunRecord]:
    """The runs of a place in order; arguments as of ``list_command``.

    Raises:
        ConfigError: An order or a status is unknown.
        RunFolderError: The place is not there.
    """
    if sort not in _SORTS:
        raise ConfigError("--sort is unknown", got=sort, allowed=", ".join(_SORTS), fix="Say --sort loss.")
    wanted = None if status is None else {word.strip() for word in status.split(",")}
    if wanted is not None and not wanted <= set(STATES):
        raise ConfigError(
            "--status is unknown", got=status, allowed=", ".join(STATES), fix="Say --status running,finished."
        )
    if limit is not None and limit < 1:
        raise ConfigError("--limit is a number of runs", got=limit, allowed=">= 1", fix="Leave it out to see all.")
    folder = Path(place)
    if not folder.exists() and folder == RUNS:
        return []
    records = [RunRecord(each) for each in find_runs([folder])]
    records = [run for run in records if name is None or _is_called(run.folder.name, name)]
    records = [run for run in records if wanted is None or run.status.state in wanted]
    return sorted(records, key=_SORTS[sort], reverse=reverse)[:limit]


def _is_called(name: str, pattern: str) -> bool:
    """Whether a pattern fits; a name fits itself, whatever signs it holds."""
    return name == pattern or fnmatch.fnmatch(name, pattern)


def _describe(records: list[RunRecord], place: Path) -> str:
    sweeps = [path.parent for path in sorted(place.glob("*/trials"))]
    more = "".join(f"sweep {path}: gpt-lightning runs list {path}\n" for path in sweeps)
    if not records:
        return more or f"No runs in {place}. Train one: gpt-lightning fit --config configs/quickstart.yaml\n"
    headers = ["run", "status", "val/loss", "steps", "time", "tokens", "age", "train/loss", "tokens/s", "config"]
    rows: list[list[object]] = []
    for run in records:
        total = run.total_steps
        files = ", ".join(Path(file).stem for file in run.config_files)
        rows.append(
            [
                run.name,
                run.status.state,
                None if run.best is None else format_number(run.best.value, 5),
                f"{run.step:,}" + (f"/{total:,}" if total and total != run.step else ""),
                format_seconds(run.seconds),
                None if run.tokens is None else format_short(run.tokens),
                _age(time.time() - run.last_sign),
                _rounded(run.last("train/loss")),
                _short(run.last("perf/tokens_per_second")),
                files or None,
            ]
        )
    return paint_states(format_table(headers, rows)) + more


def _rounded(value: float | None) -> str | None:
    return None if value is None else format_number(value, 4)


def _short(value: float | None) -> str | None:
    return None if value is None else format_short(round(value))


def _age(seconds: float) -> str:
    """In one unit: whoever looks for a run knows whether it was minutes or days ago."""
    for size, unit in ((86400.0, "d"), (3600.0, "h"), (60.0, "min")):
        if seconds >= size:
            return f"{seconds / size:.0f} {unit}"
    return f"{max(0.0, seconds):.0f} s"


def summarize_run(run: RunRecord) -> dict[str, Any]:
    """The facts of a run as plain data: seconds, bytes and counts."""
    return {
        "run": str(run.folder),
        "status": run.status.state,
        "reason": run.status.reason,
        "step": run.step,
        "total_steps": run.total_steps,
        "best_val_loss": run.best.value if run.best else None,
        "best_step": run.best.step if run.best else None,
        "last": {name: run.last(name) for name in run.metric_names},
        "tokens": run.tokens,
        "seconds": run.seconds,
        "starts": len(run.starts),
        "last_sign": run.last_sign,
        "config_files": run.config_files,
        "checkpoints": [str(path) for _, path, _ in run.checkpoints],
    }


def _to_json(records: list[RunRecord]) -> str:
    return json.dumps([summarize_run(run) for run in records], indent=1) + "\n"


def show_command(run: str, json: bool = False) -> None:
    """Show one run: status, starts, latest metrics, checkpoints, and what to type next.

    Example: gpt-lightning runs show quickstart-1

    Args:
        run: Its folder, or its name in runs/.
        json: Write one JSON object instead.
    """
    record = open_run(run)
    sys.stdout.write(_one_to_json(record) if json else _show(record))


def _one_to_json(run: RunRecord) -> str:
    return json.dumps(summarize_run(run) | {"history": run.starts}, indent=1) + "\n"


def _show(run: RunRecord) -> str:
    reason = f": {run.status.reason}" if run.status.reason else ""
    total = f" of {run.total_steps:,}" if run.total_steps else ""
    lines = [f"{run.folder} is {run.status.state}{reason}", ""]
    facts: list[tuple[str, str]] = [("steps", f"{run.step:,}{total}")]
    if run.tokens is not None:
        facts.append(("tokens", f"{run.tokens:,}"))
    facts.append(("time", f"{format_seconds(run.seconds)} in {len(run.starts)} start{'s' * (len(run.starts) != 1)}"))
    if run.best is not None:
        facts.append(("best val/loss", f"{format_number(run.best.value, 6)} at step {run.best.step:,}"))
    if run.starts:
        facts.append(("command", shlex.join(run.starts[0]["command"])))
    lines += [f"{name:<15}{value}" for name, value in facts]
    lines += ["", *_metric_lines(run), *_start_lines(run), *_checkpoint_lines(run), *_next_lines(run)]
    return "\n".join(lines) + "\n"


def _metric_lines(run: RunRecord) -> list[str]:
    rows: list[list[object]] = []
    for name in run.metric_names:
        steps, values = run.curve(name)
        rows.append([name, format_number(values[-1], 5), steps[-1], sparkline(values, 24)])
    return [format_table(["metric", "last", "step", "course"], rows)] if rows else ["Nothing was logged yet.", ""]


def _start_lines(run: RunRecord) -> list[str]:
    rows: list[list[object]] = []
    for number, start in enumerate(run.starts, 1):
        end = start.get("end")
        how = run.status.state if number == len(run.starts) else "crashed"
        git = start.get("git") or {}
        commit = f"{git['commit'][:9]}{' + changes' if git.get('changed') else ''}" if git else None
        rows.append(
            [
                number,
                str(start["time"])[:19].replace("T", " "),
                end["state"] if end else how,
                start.get("resumed_step"),
                end["step"] if end else None,
                format_seconds(end["seconds"]) if end else None,
                start.get("host"),
                commit,
            ]
        )
    return [format_table(["start", "time", "end", "from step", "to step", "took", "host", "commit"], rows)]


def _checkpoint_lines(run: RunRecord) -> list[str]:
    best = run.best_checkpoint
    rows = [[path.name, format_bytes(size), "best" if path.name == best else None] for _, path, size in run.checkpoints]
    return [format_table(["checkpoint", "size", ""], rows)] if rows else ["No checkpoint yet.", ""]


def _next_lines(run: RunRecord) -> list[str]:
    commands = [
        f"  plot       gpt-lightning runs plot {run.name}",
        f"  report     gpt-lightning runs report {run.name}",
    ]
    if run.checkpoints:
        commands.append(f"  generate   gpt-lightning generate {run.folder}")
    if run.status.state in ("crashed", "stopped", "failed"):
        commands.append(f"  go on      gpt-lightning fit --resume {run.folder}")
    return ["Next:", *commands]
