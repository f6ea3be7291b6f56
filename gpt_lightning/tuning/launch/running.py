"""``sweep run``: create, have workers started, watch, and finish with the best configuration.

This process holds nothing that is needed: it may die and be started again at any time.
"""

from __future__ import annotations

import logging
import sys
import time
from collections import Counter
from collections.abc import Callable

from gpt_lightning.errors import TrainingError
from gpt_lightning.tuning.launch.launchers import Launcher
from gpt_lightning.tuning.launch.live import Display
from gpt_lightning.tuning.report.report import write_report
from gpt_lightning.tuning.study.best import add_repeats, noise, write_best
from gpt_lightning.tuning.study.edges import edge_notes
from gpt_lightning.tuning.study.entries import Entry
from gpt_lightning.tuning.study.sweep import FAULT, Sweep
from gpt_lightning.tuning.workers.claiming import places_left, reason_to_end, same_failure, stopped
from gpt_lightning.tuning.workers.leases import StaleTrialReaper

log = logging.getLogger("gpt_lightning")

_LOOK_SECONDS = 0.5


def run_sweep(
    sweep: Sweep, launcher: Launcher, display: Display, asked_to_stop: Callable[[], bool], look: float = _LOOK_SECONDS
) -> str:
    """Watch until the budget is used and every trial has ended, or until asked to stop.

    Returns:
        Why it ended.
    """
    reaper, repeated = StaleTrialReaper(sweep), False
    try:
        while True:
            with sweep.folder.locked():
                reaper.reap()
            entries = sweep.entries()
            display.show(entries)
            if asked_to_stop():
                log.warning("stopping: the trials save first")
                return "stopped; go on with the same command"
            wanted = open_places(sweep, entries)
            if wanted == 0 and idle(entries):
                if repeated or stopped(sweep) or not add_repeats(sweep):
                    return reason_to_end(sweep) or "the budget is used"
                repeated = True
                continue
            if wanted:
                running = sum(entry.state == "running" for entry in entries)
                launcher.ensure(wanted + running, begun=count_begun(entries))
            time.sleep(look)
    finally:
        launcher.stop()
        display.close(sweep.entries())


def idle(entries: list[Entry]) -> bool:
    """Whether nothing runs any more."""
    return not any(entry.state == "running" for entry in entries)


def count_begun(entries: list[Entry]) -> int:
    """Attempts that some worker has begun so far."""
    return sum(attempt.datetime_start is not None for entry in entries for attempt in entry.attempts)


def open_places(sweep: Sweep, entries: list[Entry]) -> int:
    """Trials that could be started now."""
    waiting = sum(entry.state == "waiting" for entry in entries)
    if stopped(sweep) is not None:
        return 0
    if reason_to_end(sweep) is not None:
        return sum(entry.state == "waiting" and entry.repeats is not None for entry in entries)
    left = places_left(sweep, entries)
    return waiting + (10**6 if left is None else left)


def finish(sweep: Sweep) -> None:
    """Write ``best.yaml`` and the reports, and say where they are.

    Raises:
        TrainingError: There is no best trial, because all have failed or none has kept its limits.
    """
    if not sweep.ranked():
        _explain_no_best(sweep)
        return
    write_best(sweep, sweep.folder.best)
    best = sweep.ranked()[0]
    metrics = sweep.spec.metrics
    scores = ", ".join(f"{metric.name} {value:.6g}" for metric, value in zip(metrics, best.last.values, strict=True))
    by = "" if len(metrics) == 1 else f" by {metrics[0].name} (the report has the Pareto front)"
    sys.stdout.write(f"\nBest{by}: trial {best.first} with {scores}\n")
    for key, value in best.values.items():
        sys.stdout.write(f"  {key}: {value}\n")
    for number, (mean, deviation, count) in noise(sweep, sweep.entries()).items():
        sys.stdout.write(f"  trial {number} over {count} seeds: {mean:.6g} +- {deviation:.2g}\n")
    sys.stdout.write("".join(f"  {line}\n" for line in edge_notes(sweep.spec, sweep.entries(), sweep.folder.path)))
    page, *twin = write_report(sweep.folder.path, sweep.folder.report)
    sys.stdout.write(f"Report: {page}" + "".join(f" and {path.name}" for path in twin) + "\n")
    sys.stdout.write(f"Next:\n  train      gpt-lightning fit --config {sweep.folder.best}\n")


def _explain_no_best(sweep: Sweep) -> None:
    entries = sweep.entries()
    complete = [entry for entry in entries if entry.state == "complete"]
    if complete:
        raise TrainingError(
            f"None of {len(complete)} trials has kept its limits; nearest is {_describe_nearest(sweep, complete)}",
            fix=f"Widen constraints, or the space. See gpt-lightning sweep report {sweep.folder.path}.",
        )
    reasons = Counter(str(entry.reason) for entry in entries if entry.state == "failed")
    if not reasons:
        sys.stdout.write("No trial has come to a value.\n")
        return
    told = "; ".join(f"{count} x {reason.rstrip('.')}" for reason, count in reasons.most_common(3))
    raise TrainingError(
        f"No trial has come to a value, {reasons.total()} have failed: {told}",
        fix=f"Mend that, then: gpt-lightning sweep retry {sweep.folder.path}.",
    )


def _describe_nearest(sweep: Sweep, complete: list[Entry]) -> str:
    """The trial whose largest relative excess is the smallest."""
    limits = {each.name: abs(each.maximum or each.minimum or 1.0) or 1.0 for each in sweep.spec.constraints}

    def excess(entry: Entry) -> float:
        return max(over / limits.get(name, 1.0) for name, over in entry.last.constraints.items())

    nearest = min(complete, key=lambda entry: (excess(entry), entry.first))
    over = ", ".join(f"{name} by {value:.4g}" for name, value in nearest.last.constraints.items() if value > 0)
    metric = sweep.spec.metrics[0].name
    return f"trial {nearest.first} with {metric} {nearest.last.values[0]:.6g}, beyond {over}"


def why_it_failed(sweep: Sweep) -> str | None:
    """What stopped the sweep before its budget was used, and is to be mended; None = nothing did."""
    fault = sweep.store(lambda: sweep.study.user_attrs.get(FAULT), "reading the study")
    return str(fault) if fault else same_failure(sweep, sweep.entries())
