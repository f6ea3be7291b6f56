"""One attempt of a trial: its process is started, heard, answered, and its end is told to the study.

The supervisor never trains and never imports Lightning. It owns the trial: it alone writes to the study, so that any
storage works and all processes of a trial have one set of values. The result is in the trial's folder before the study
is told; if the storage stays silent, the next worker tells it.
"""

from __future__ import annotations

import logging
import math
import signal
import time
import uuid
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from gpt_lightning.files.processes import KILL_SIGNAL
from gpt_lightning.tuning.pruning.early_termination import Diverged
from gpt_lightning.tuning.pruning.pruning import Curve
from gpt_lightning.tuning.spec.causes import MACHINE, MACHINE_EXIT_CODE, find_cause
from gpt_lightning.tuning.spec.spec import Metric
from gpt_lightning.tuning.study import entries as names
from gpt_lightning.tuning.study.board_tab import close_killed
from gpt_lightning.tuning.study.entries import Entry
from gpt_lightning.tuning.study.sweep import STOP, Sweep, differences
from gpt_lightning.tuning.trial.children import Child, ForkedChild, OwnChild
from gpt_lightning.tuning.trial.mailbox import (
    NEEDS_OWN,
    OUTPUT_FILE,
    Decision,
    Exit,
    Mailbox,
    Report,
    Result,
    Work,
    count_starts,
    measure_work,
    newest_step,
    seed_of,
    write_trial_spec,
)
from gpt_lightning.tuning.workers.claiming import compose_trial_spec
from gpt_lightning.tuning.workers.leases import Lease, conclude, fail, requeue_lost, set_facts
from gpt_lightning.tuning.workers.slots import Slot

log = logging.getLogger("gpt_lightning")

_PAUSE_SECONDS = 0.01
_SAVE_SECONDS = 120.0
"""Longest time that a trial gets to save after it was asked to stop."""
_PARTING_SECONDS = 5.0
"""Longest time that the other processes of a trial take to end after the first, when all is well."""
_STARTS = 3
"""Tries to start a process: the server of forked trials may be killed at any moment, and is then started again."""


@dataclass
class Supervisor:
    """Runs attempts one after the other in a slot.

    Attributes:
        sweep: The sweep.
        slot: What its trials may use.
        lease: The right to the trial.
        asked_to_stop: Whether a signal has come; asked again and again.
        own_process: Whether trials are known to need an interpreter of their own.
        start_seconds: From the claim to the trial's process, of every attempt.
        faults: Faults of the machine in a row that the last trial met at its end; reason: why it waits again.
    """

    sweep: Sweep
    slot: Slot
    lease: Lease
    asked_to_stop: Callable[[], bool]
    own_process: bool = False
    start_seconds: list[float] = field(default_factory=list)
    faults: int = 0
    reason: str = ""
    _curves: dict[int, Curve] = field(default_factory=dict)

    def curve(self, entry: Entry) -> Curve:
        """The curve of a trial; of one that has ended it is read once, however many reports are judged by it."""
        number = entry.last.number
        if number in self._curves:
            return self._curves[number]
        spec, metric = self.sweep.spec, self.sweep.spec.metrics[0]
        curve = spec.early_terminate.curve(
            entry.first,
            entry.reports(metric.name),
            metric.name,
            metric.goal,
            total_tokens=entry.total_tokens,
            done=entry.state == "complete",
        )
        if entry.ended:
            self._curves[number] = curve
        return curve

    def run(self, trial: FrozenTrial) -> str:
        """Run a claimed attempt to its end; returns the state it ended in."""
        attempt = _Attempt(self, trial)
        try:
            return attempt.run()
        except optuna.exceptions.UpdateFinishedTrialError:
            # Another worker waited long enough and took the trial over: what this process does no longer counts.
            log.warning("trial %d was taken over by another worker", attempt.first)
            return "lost"
        finally:
            attempt.end()


class _Attempt:
    def __init__(self, supervisor: Supervisor, trial: FrozenTrial) -> None:
        self._boss, self._sweep, self._trial = supervisor, supervisor.sweep, trial
        self.first = int(trial.user_attrs[names.FIRST])
        self._folder = self._sweep.folder.trial(self.first)
        self._mailbox = Mailbox(self._folder, "")
        self._reports: list[Report] = []
        self._started = self._renewed = time.monotonic()
        self._stop: str | None = None
        self._verdict: str | None = None
        self._stop_since = 0.0
        self._child: Child | None = None
        self._begun_at, self._starts = newest_step(self._folder), count_starts(self._folder)

    def run(self) -> str:
        try:
            return self._conclude(self._live())
        except OSError as problem:
            # Our own letters, verdicts and results go to a disk as well.
            cause = find_cause(problem)
            if cause != MACHINE:
                raise
            self.end()
            return self._wait_again(Exit(cause.outcome, cause.word, str(problem)))

    def _live(self) -> Exit:
        """From the start to the end of its process."""
        self._folder.mkdir(parents=True, exist_ok=True)
        set_facts(self._sweep, self._trial, {names.STARTS: self._starts})
        self._start(own=self._boss.own_process)
        code = self._attend()
        end = self._mailbox.last_words()
        if end is not None and end.reason == NEEDS_OWN:
            self._boss.own_process = True
            self._start(own=True)
            code = self._attend()
            end = self._mailbox.last_words()
        if end is None:
            end = self._explain_death(code)
            self._tell_run(end)
        return end

    def _tell_run(self, end: Exit) -> None:
        """What the killed process could not say of its run."""
        close_killed(
            self._folder,
            stopped=end.outcome == "stopped",
            reason=str(end.reason),
            step=max(newest_step(self._folder), max((report.step for report in self._reports), default=0)),
            seconds=time.monotonic() - self._started,
        )

    def end(self) -> None:
        """Leave nothing running."""
        if self._child is not None and self._child.poll() is None:
            self._child.kill()

    def _start(self, *, own: bool) -> None:
        begun = time.monotonic()
        environment = {"OMP_NUM_THREADS": str(self._boss.slot.threads)} if self._boss.slot.threads else {}
        environment |= self._boss.slot.environment()
        for left in reversed(range(_STARTS)):
            start = uuid.uuid4().hex
            self._mailbox = Mailbox(self._folder, start)
            self._mailbox.clear()
            self._reports.clear()
            boss = self._boss
            write_trial_spec(
                self._folder, compose_trial_spec(self._sweep, self._trial, boss.slot, boss.lease.owner, start)
            )
            try:
                self._child = OwnChild(self._folder, start, environment) if own else ForkedChild(self._folder, start)
                break
            except OSError:
                if not left:
                    raise
        self._boss.start_seconds.append(time.monotonic() - begun)
        self._renew()

    def _renew(self) -> None:
        assert self._child is not None
        set_facts(self._sweep, self._trial, {names.LEASE: self._boss.lease.next(self._child.pid)})
        self._renewed = time.monotonic()
        stop = self._sweep.store(lambda: self._sweep.study.user_attrs.get(STOP), "reading the study")
        if stop:
            self._ask_to_stop(str(stop))

    def _attend(self) -> int:
        """Listen until the process has ended; its exit code."""
        assert self._child is not None
        while True:
            code = self._child.poll()
            for report in self._mailbox.collect():
                self._hear(report)
            if code is not None:
                self._child.end_rest(0.0 if code else _PARTING_SECONDS)
                return code
            now = time.monotonic()
            if now - self._renewed > self._sweep.spec.retry.lease_seconds:
                self._renew()
            if self._boss.asked_to_stop():
                self._ask_to_stop("stopped")
            limit = self._sweep.spec.retry.timeout_seconds
            if limit is not None and now - self._started > limit and self._stop is None:
                self._stop, self._stop_since = "timeout", now - _SAVE_SECONDS
            if self._stop is not None and now - self._stop_since > _SAVE_SECONDS:
                self._child.kill()
            time.sleep(_PAUSE_SECONDS)

    def _ask_to_stop(self, reason: str) -> None:
        assert self._child is not None
        if self._stop is None:
            self._stop, self._stop_since = reason, time.monotonic()
            self._child.ask_to_stop()

    def _hear(self, report: Report) -> None:
        """Judge first, so that the trial does not wait for the storage; then write the report down."""
        self._reports.append(report)
        reason = self._verdict = None if report.tokens >= report.total_tokens else self._judge(report)
        self._mailbox.answer(Decision(report.n, reason))
        metric = self._sweep.spec.metrics[0].name
        lines = [
            [each.n, each.step, each.tokens, _plain(each.metrics[metric]), each.shape]
            for each in self._latest()
            if metric in each.metrics
        ]
        facts = {names.REPORTS: lines, "total_tokens": report.total_tokens, "lr": _rate(report)}
        set_facts(self._sweep, self._trial, facts)
        if len(self._sweep.spec.metrics) == 1 and math.isfinite(report.metrics.get(metric, math.nan)):
            self._report_to_dashboard(report, report.metrics[metric])

    def _report_to_dashboard(self, report: Report, value: float) -> None:
        # The column is 32 bits wide: thousands of tokens for runs that would not fit.
        step = report.tokens if report.total_tokens < 2**31 else report.tokens // 1000
        storage, number = self._sweep.study._storage, self._trial._trial_id
        self._sweep.store(lambda: storage.set_trial_intermediate_value(number, step, value), "writing a report")

    def _latest(self) -> list[Report]:
        """One report for each number: what lay behind a checkpoint is reported again."""
        return list({report.n: report for report in sorted(self._reports, key=lambda each: each.n)}.values())

    def _judge(self, report: Report) -> str | None:
        spec, metric = self._sweep.spec, self._sweep.spec.metrics[0]
        # A repetition measures the noise of a winner: one that is stopped would leave the lucky seeds.
        if metric.name not in report.metrics or self._trial.user_attrs.get("repeats") is not None:
            return None
        early = spec.early_terminate
        goal = metric.goal
        mine = early.curve(self.first, self._latest(), metric.name, goal, total_tokens=report.total_tokens, done=False)
        entries = [entry for entry in self._sweep.entries() if entry.first != self.first and entry.repeats is None]
        return early.judge(mine, [self._boss.curve(entry) for entry in entries])

    def _explain_death(self, code: int) -> Exit:
        if self._stop is not None:
            return Exit("failed" if self._stop == "timeout" else "stopped", self._stop)
        if code == MACHINE_EXIT_CODE:
            return Exit(MACHINE.outcome, MACHINE.word, f"not even its end could be written, see {OUTPUT_FILE}")
        name = signal.Signals(-code).name if code < 0 else f"exit code {code}"
        hint = " (the kernel does that when memory runs out)" if code == -KILL_SIGNAL else ""
        return Exit("died", f"killed by {name}{hint}" if code < 0 else f"ended with {name}")

    def _conclude(self, end: Exit) -> str:
        if self._stop == "timeout" and end.outcome != "finished":
            limit = self._sweep.spec.retry.timeout_seconds
            end = Exit("failed", f"timeout after {limit:g} s", "", end.step, end.executed_steps)
        if self._stop is not None and end.outcome == "machine":
            end = replace(end, outcome="stopped")  # it could not save any more; what it saved before is there
        if end.outcome in ("stopped", "died", "machine"):
            return self._wait_again(end)
        result = self._result(end)
        result.write(self._folder)
        others = differences(self._sweep, self._folder)
        if others:
            set_facts(self._sweep, self._trial, {names.DIFFERS: others})
            log.warning("trial %d ran under other conditions than the first: %s", self.first, "; ".join(others))
        return result.state if conclude(self._sweep, self._trial, result) else "lost"

    def _wait_again(self, end: Exit) -> str:
        """End this attempt so that the trial goes on from its own checkpoint."""
        faults = 0
        if end.outcome == "machine":
            went_on = newest_step(self._folder) > self._begun_at
            faults = 1 + (0 if went_on else int(self._trial.user_attrs.get(names.FAULTS, 0)))
        fail(
            self._sweep,
            self._trial,
            _reason(end) or end.outcome,
            died=end.outcome == "died",
            faults=faults,
            work=self._work(end),
            seconds=time.monotonic() - self._started,
        )
        with self._sweep.folder.locked():
            requeue_lost(self._sweep)
        self._boss.faults, self._boss.reason = faults, _reason(end) or ""
        return end.outcome

    def _work(self, end: Exit) -> Work:
        """What it says itself; or what its files and reports say, where it was killed or ended with an error."""
        found = measure_work(self._folder, self._starts)
        reported = max((report.executed for report in self._reports), default=0)
        return Work(max(end.executed_steps, found.executed_steps, reported), end.reused_steps or found.reused_steps)

    def _totals(self, end: Exit) -> dict[str, Any]:
        before, work = self._trial.user_attrs, self._work(end)
        return {
            "executed_steps": int(before.get("executed_steps", 0)) + work.executed_steps,
            "reused_steps": int(before.get("reused_steps", 0)) + work.reused_steps,
            "seconds": float(before.get("seconds", 0.0)) + time.monotonic() - self._started,
        }

    def _result(self, end: Exit) -> Result:
        spec = self._sweep.spec
        last = max(self._reports, key=lambda each: each.n, default=None)
        metrics = dict(last.metrics) if last is not None else dict(end.metrics)
        state = {"finished": "complete"}.get(end.outcome, end.outcome)
        if state == "pruned" and isinstance(self._verdict, Diverged):
            state = names.DIVERGED
        reason, values = _reason(end), [_value(metric, self._latest()) for metric in spec.metrics]
        if state == "complete":
            reason = self._why_not(values, metrics)
            state = "complete" if reason is None else names.DIVERGED if _is_lost(values) else "failed"
        plain = [value for value in values if value is not None]
        return Result(
            state=state,
            reason=reason,
            value=None if state != "complete" else plain[0] if len(spec.metrics) == 1 else plain,
            metrics=metrics,
            steps=end.step or (last.step if last else 0),
            tokens=end.tokens or (last.tokens if last else 0),
            attempts=int(self._trial.user_attrs.get(names.ATTEMPTS, 1)),
            seed=seed_of(self._folder),
            number=self._trial.number,
            **self._totals(end),
        )

    def _why_not(self, values: list[float | None], metrics: dict[str, float]) -> str | None:
        """Why a trial that ran to its end has no usable value."""
        for metric, value in zip(self._sweep.spec.metrics, values, strict=True):
            if value is None:
                return f"metric {metric.name} was never reported; there were {', '.join(sorted(metrics))}"
            if not math.isfinite(value):
                return f"diverged: {metric.name} is {value}"
        for constraint in self._sweep.spec.constraints:
            if constraint.metric not in {*metrics, "seconds", "tokens"}:
                return f"constraint {constraint.name}: metric {constraint.metric} was never reported"
        return None


def _reason(end: Exit) -> str | None:
    return f"{end.reason}: {end.detail}" if end.detail else end.reason


def _value(metric: Metric, reports: list[Report]) -> float | None:
    """The value of a metric over a trial's reports."""
    values = [report.metrics[metric.name] for report in reports if metric.name in report.metrics]
    if not values:
        return None
    if metric.at == "last":
        return values[-1]
    if metric.at == "best":
        known = [value for value in values if not math.isnan(value)] or [math.nan]
        return min(known) if metric.goal == "minimize" else max(known)
    count = int(metric.at.rpartition("_")[2])
    return math.fsum(values[-count:]) / len(values[-count:])


def _is_lost(values: Sequence[float | None]) -> bool:
    return any(value is not None and not math.isfinite(value) for value in values)


def _rate(report: Report) -> float | None:
    return next((value for name, value in report.metrics.items() if name.startswith("optim/lr/")), None)


def _plain(value: float) -> float | str:
    """Numbers that JSON has; the others as text that ``float`` reads."""
    return value if math.isfinite(value) else repr(value)
