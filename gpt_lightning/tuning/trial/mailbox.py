"""What a trial and its supervisor tell each other: small files in the trial's folder, each written whole.

    trial.json             supervisor -> trial    how to build it (arguments of ``fit``), threads, what to report
    mailbox/reports.jsonl  trial -> supervisor    one line for each validation
    mailbox/verdict.json   supervisor -> trial    the answer to the report with the same number
    mailbox/exit.json      trial -> supervisor    how it ended, when it could still say so
    output.txt             trial                  what it printed
    result.json            supervisor             how the trial ended, for everyone; also what is told to the study

Files instead of a pipe, because every process of a distributed trial, a trial on another machine and a person
afterwards can read them, and because the trial survives its supervisor.

It may survive it by seconds, and the next supervisor has then begun the trial anew in the same folder. So each start
has a mark: a process whose mark is not in the letter is of an earlier start; it is not heard, and ends.

What an attempt has computed is read from the files of its run: a process that is killed cannot say it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import list_checkpoints, step_of
from gpt_lightning.files.atomic import write_text_atomically, write_text_durably
from gpt_lightning.parsing.strict_yaml import load_yaml
from gpt_lightning.training.runs.run_folder import read_metrics, read_starts

RESULT_FILE, TRIAL_FILE, OUTPUT_FILE = "result.json", "trial.json", "output.txt"
NEEDS_OWN = "needs processes of its own"
"""Reason with which a forked trial gives up that runs on several devices."""
_MAILBOX, _REPORTS, _VERDICT, _EXIT = "mailbox", "reports.jsonl", "verdict.json", "exit.json"


@dataclass(frozen=True)
class Report:
    """What a validation found.

    Attributes:
        n: Number of the report, from 0; the same number again after a resume.
        step: Optimizer steps done.
        tokens: Training tokens seen, the axis on which trials are compared.
        metrics: Latest value of every logged metric.
        shape: Key of the schedule's shape so far; trials with equal keys can be compared.
        total_tokens: Training tokens of the whole run.
        executed: Optimizer steps that this attempt computed itself so far.
    """

    n: int
    step: int
    tokens: int
    metrics: Mapping[str, float]
    shape: str = ""
    total_tokens: int = 0
    executed: int = 0


@dataclass(frozen=True)
class Decision:
    """The answer to report ``n``: a reason to stop, or None."""

    n: int
    stop: str | None


@dataclass(frozen=True)
class Exit:
    """How a trial ended, in its own words.

    Attributes:
        outcome: ``finished``, ``pruned``, ``stopped`` (by a signal, after saving), or that of a cause: ``failed``,
            ``diverged``, ``died`` (to be tried again, some times), ``machine`` (to be gone on with later).
        reason: Why it was pruned, stopped or failed; a short word first ("diverged", "oom", "config").
        detail: The error's text.
        step: Optimizer steps done.
        executed_steps: Of these, computed by this attempt.
        reused_steps: Of these, taken from another trial's checkpoint.
        tokens: Training tokens of ``step``.
        metrics: What was known before training, of a trial that ends there because it is beyond a limit.
    """

    outcome: str
    reason: str | None = None
    detail: str = ""
    step: int = 0
    executed_steps: int = 0
    reused_steps: int = 0
    tokens: int = 0
    metrics: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Result:
    """The end of a trial, as ``result.json``.

    Attributes:
        state: ``complete``, ``diverged``, ``pruned``, ``failed`` or ``stopped`` (to be gone on with).
        reason: Why, unless complete.
        value: The objective; a list for several; None unless complete.
        metrics: Latest value of every logged metric.
        steps: Optimizer steps of the run.
        executed_steps: Optimizer steps computed, over all attempts.
        reused_steps: Optimizer steps taken from other trials.
        tokens: Training tokens of ``steps``.
        seconds: Wall time over all attempts.
        attempts: How often it was started.
        seed: Its ``seed_everything``.
        number: Number in the study of the attempt that ended so.
    """

    state: str
    reason: str | None = None
    value: float | list[float] | None = None
    metrics: Mapping[str, float] = field(default_factory=dict)
    steps: int = 0
    executed_steps: int = 0
    reused_steps: int = 0
    tokens: int = 0
    seconds: float = 0.0
    attempts: int = 1
    seed: int | None = None
    number: int = -1

    def write(self, folder: Path) -> None:
        """Write ``result.json``."""
        _write(folder / RESULT_FILE, asdict(self))


def read_result(folder: Path) -> Result | None:
    """The result in a trial's folder; None when there is none yet."""
    content = _read(folder / RESULT_FILE)
    return None if content is None else Result(**content)


def write_trial_spec(folder: Path, letter: Mapping[str, Any]) -> None:
    """Write ``trial.json``."""
    _write(folder / TRIAL_FILE, letter)


def read_trial_spec(folder: Path) -> dict[str, Any]:
    """Read ``trial.json``."""
    letter = _read(folder / TRIAL_FILE)
    assert letter is not None, "the supervisor writes it before it starts the trial"
    return letter


class Mailbox:
    """Both ends of the exchange for the trial in ``folder``.

    Args:
        folder: Of the trial.
        start: Mark of the start whose messages these are; None = of any, to look at afterwards.
    """

    def __init__(self, folder: Path, start: str | None = None) -> None:
        self.folder, self.start = folder, start
        self._box = folder / _MAILBOX
        self._offset = 0

    def clear(self) -> None:
        """Before an attempt: nothing of the one before may be taken for its own."""
        self._box.mkdir(parents=True, exist_ok=True)
        for name in (_REPORTS, _VERDICT, _EXIT):
            (self._box / name).unlink(missing_ok=True)
        self._offset = 0

    def is_current(self) -> bool:
        """Trial: whether the letter is still that of this start; one that cannot be read now names no other."""
        try:
            letter = _read(self.folder / TRIAL_FILE)
        except (OSError, ValueError):
            return True
        return self.start is None or letter is None or letter["start"] == self.start

    def post(self, report: Report) -> None:
        """Trial: add a report."""
        self._box.mkdir(parents=True, exist_ok=True)
        with (self._box / _REPORTS).open("a", encoding="utf-8") as file:
            file.write(json.dumps({**asdict(report), "start": self.start}) + "\n")

    def collect(self) -> list[Report]:
        """Supervisor: reports since the last call; a line that is still being written waits for the next."""
        path = self._box / _REPORTS
        try:
            if path.stat().st_size <= self._offset:
                return []
            with path.open("rb") as file:
                file.seek(self._offset)
                content = file.read()
        except FileNotFoundError:
            return []
        whole = content[: content.rfind(b"\n") + 1]
        self._offset += len(whole)
        reports = [json.loads(line) for line in whole.splitlines()]
        return [Report(**each) for each in reports if self._is_mine(each.pop("start", None))]

    def answer(self, verdict: Decision) -> None:
        """Supervisor: answer a report."""
        # Whole or absent, but not durable: after a power cut nobody waits for it, and a fsync costs milliseconds.
        write_text_atomically(self._box / _VERDICT, json.dumps(asdict(verdict)))

    def verdict(self, n: int) -> Decision | None:
        """Trial: the answer to report ``n``, or None when it has not come yet."""
        content = _read(self._box / _VERDICT)
        return Decision(**content) if content is not None and content["n"] == n else None

    def leave(self, end: Exit) -> None:
        """Trial: the last words; unsaid when somebody else has begun the trial anew."""
        if not self.is_current():
            return
        self._box.mkdir(parents=True, exist_ok=True)
        _write(self._box / _EXIT, {**asdict(end), "start": self.start})

    def last_words(self) -> Exit | None:
        """Supervisor: how the trial ended; None when it was killed."""
        content = _read(self._box / _EXIT)
        return Exit(**content) if content is not None and self._is_mine(content.pop("start", None)) else None

    def _is_mine(self, start: str | None) -> bool:
        return self.start is None or start == self.start


def _write(path: Path, content: Mapping[str, Any]) -> None:
    write_text_durably(path, json.dumps(content) + "\n")


def _read(path: Path) -> dict[str, Any] | None:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        return None


@dataclass(frozen=True)
class Work:
    """Of one attempt.

    Attributes:
        executed_steps: Optimizer steps computed, those that were lost behind the last checkpoint among them.
        reused_steps: Optimizer steps taken over from other trials.
    """

    executed_steps: int = 0
    reused_steps: int = 0


def newest_step(folder: Path) -> int:
    """Step of a run's newest checkpoint; 0 when there is none."""
    return max((step_of(path) or 0 for path in list_checkpoints(folder / CHECKPOINTS_DIR)), default=0)


def count_starts(folder: Path) -> int:
    """How often a run has begun to train; 0 where that cannot be read."""
    try:
        return len(read_starts(folder))
    except (OSError, ValueError, LookupError):
        return 0


def measure_work(folder: Path, starts_before: int) -> Work:
    """What the run's last start has done, from its manifest, its checkpoints and its curves.

    Args:
        folder: Of the trial.
        starts_before: ``count_starts`` before the attempt; where there are no more now, it never began to train.
    """
    if count_starts(folder) <= starts_before:
        return Work()
    start = read_starts(folder)[-1]
    logged = max((int(line["step"]) for line in read_metrics(folder)), default=0)
    done = max(newest_step(folder), logged)
    return Work(max(0, done - int(start.get("resumed_step") or 0)), int(start.get("reused_steps") or 0))


def seed_of(folder: Path) -> int | None:
    """The seed of the run in ``folder``; None before it has a configuration."""
    try:
        return int(load_yaml((folder / "config.yaml").read_text(encoding="utf-8"))["seed_everything"])
    except (OSError, KeyError, TypeError, ValueError):
        return None
