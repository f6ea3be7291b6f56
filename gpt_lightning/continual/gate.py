"""``gpt-lightning models gate``: whether a version may take the place of the one in use."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from gpt_lightning.checkpoints.registered import VERSIONS_DIR, find_model, find_version
from gpt_lightning.continual.judging import judge_anchor, judge_answers, judge_better, judge_replay, judge_text
from gpt_lightning.continual.measuring import (
    Forbidden,
    find_forbidden,
    measure_rows,
    measure_texts,
    read_forbidden,
    read_rows,
    replay_log,
    run_tasks,
)
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.kinds.task_files import read_tasks
from gpt_lightning.evaluation.kinds.tasks import Asking, Task
from gpt_lightning.evaluation.outcomes.results import Evaluation
from gpt_lightning.evaluation.scoring.models import open_model
from gpt_lightning.registry.gates import Check, GateReport, report_file, write_report
from gpt_lightning.registry.history import PRODUCTION
from gpt_lightning.registry.versions import now
from gpt_lightning.reports.page import Page, write_page


@dataclass(frozen=True)
class Gate:
    """What a version has to show before it may take the place of another one.

    Args:
        better: What it has to be better on: tasks (YAML files, or names of evaluate list), and rows that feedback build
            has set aside (gate/conversations.jsonl, preferences.jsonl, ratings.jsonl).
        anchors: Tasks on which it must not be worse.
        texts: Texts of the old kind, on which it must not have forgotten: files, folders, globs.
        must_not: File of prompts with what must not be answered, a JSON object per line: prompt or messages, and
            must_not, a regular expression.
        requests: File of serve --request_log: each of its requests must still be answered.
        data: Folder of the tasks' data; null = that of each task's YAML file.
        tolerance: By how much an anchor may be worse, in the units of its first result (accuracy: percent).
        text_growth: By what share bits per byte of the texts may grow.
        answer_tokens: Most tokens of an answer to must_not's prompts.
        resamples: How often items are drawn anew.
        seed: Which items are drawn.
        device: Where to run: auto, cpu, cuda, mps.

    Raises:
        ConfigError: Nothing is named on which it has to be better, or a number is out of range.
    """

    better: list[str] = field(default_factory=list)
    anchors: list[str] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    must_not: str | None = None
    requests: str | None = None
    data: str | None = None
    tolerance: float = 1.0
    text_growth: float = 0.01
    answer_tokens: int = 100
    resamples: int = 2000
    seed: int = 0
    device: str = "auto"

    def __post_init__(self) -> None:
        if self.resamples < 100:
            raise ConfigError("resamples counts draws", got=self.resamples, allowed="100 or more")

    def check(self) -> None:
        """Refuse what cannot be asked, before a model is loaded.

        Raises:
            UserError: A task or a file is missing or broken, or nothing is named on which to be better.
        """
        if not self.better:
            raise ConfigError(
                "Nothing is named on which the version has to be better",
                got=[],
                fix="Name a task, or rows that were set aside, such as data/feedback-1/gate/conversations.jsonl.",
            )
        self.check_files()

    def check_files(self) -> None:
        """As ``check``, of what is named.

        Raises:
            UserError: A task or a file is missing or broken.
        """
        rows, tasks = self._divide()
        for file in rows:
            read_rows(file)
        for task in (*tasks, *read_tasks(self.anchors)):
            task.check(self._asking)
        if self.must_not is not None:
            read_forbidden(Path(self.must_not))

    def _divide(self) -> tuple[list[Path], list[Task]]:
        """Files of rows, and tasks, on which to be better."""
        rows = [name for name in self.better if name.endswith(".jsonl")]
        return list(map(Path, rows)), read_tasks([name for name in self.better if name not in rows])

    @property
    def _asking(self) -> Asking:
        return Asking(None if self.data is None else Path(self.data).expanduser())

    def judge(self, folder: Path, candidate: str, baseline: str) -> GateReport:
        """Measure both versions, and write the report beside the candidate, as JSON and as a page.

        Args:
            folder: Of the registered model.
            candidate: The version.
            baseline: The one whose place it would take.

        Raises:
            UserError: What is asked does not fit the models.
        """
        forbidden = [] if self.must_not is None else read_forbidden(Path(self.must_not))
        one = self._measure(folder / VERSIONS_DIR / baseline, [])
        other = self._measure(folder / VERSIONS_DIR / candidate, forbidden)
        found = (zip(getattr(one, name), getattr(other, name), strict=True) for name in ("better", "anchors", "texts"))
        better, anchors, texts = found
        checks = [judge_better(a, b, seed=self.seed, resamples=self.resamples) for a, b in better]
        checks += [judge_anchor(a, b, self.tolerance) for a, b in anchors]
        checks += [judge_text(a, b, self.text_growth) for a, b in texts]
        checks += [judge_answers(other.wrong, len(forbidden))] if forbidden else []
        if self.requests is not None:
            played = replay_log(folder / VERSIONS_DIR / candidate, Path(self.requests), self.device)
            checks.append(judge_replay(played.refused, len(played.different) - len(played.refused), played.asked))
        report = GateReport(candidate, baseline, now(), checks)
        _tell(folder, report)
        return report

    def _measure(self, version: Path, forbidden: Sequence[Forbidden]) -> Measured:
        loaded = open_model(str(version), prefer="best", device=self.device)
        rows, tasks = self._divide()
        return Measured(
            [*(measure_rows(loaded, file) for file in rows), *run_tasks(loaded, tasks, self._asking)],
            run_tasks(loaded, read_tasks(self.anchors), self._asking),
            [measure_texts(loaded, self.texts)] if self.texts else [],
            find_forbidden(loaded, forbidden, self.answer_tokens) if forbidden else [],
        )


@dataclass(frozen=True)
class Measured:
    """What a version was found to be."""

    better: list[Evaluation]
    anchors: list[Evaluation]
    texts: list[Evaluation]
    wrong: list[str]


def gate_command(
    name: str,
    version: str,
    better: list[str],
    anchors: list[str] | None = None,
    texts: list[str] | None = None,
    must_not: str | None = Gate.must_not,
    requests: str | None = Gate.requests,
    alias: str = PRODUCTION,
    data: str | None = Gate.data,
    tolerance: float = Gate.tolerance,
    text_growth: float = Gate.text_growth,
    answer_tokens: int = Gate.answer_tokens,
    resamples: int = Gate.resamples,
    seed: int = Gate.seed,
    device: str = Gate.device,
) -> None:
    """Measure a version beside the one in use, and say whether it may take its place. Exit code 3 if it may not.

    It has to be better on everything in --better, beyond luck (paired bootstrap on the same items, one-sided 95 %), and
    nowhere worse than said. The report lies beside the version, as JSON and as a page; models promote asks for it.

    Example: gpt-lightning models gate chat 3f2a9c01b7de gate.yaml --anchors eprstmt --texts base.txt
    Example: gpt-lightning models gate chat 3f2a9c01b7de data/feedback-1/gate/conversations.jsonl

    Args:
        name: Of the registered model.
        version: The candidate: a version, or an alias.
        better: What it has to be better on: tasks (YAML files, or names of evaluate list), and rows that feedback build
            has set aside (gate/conversations.jsonl, preferences.jsonl, ratings.jsonl).
        anchors: Tasks on which it must not be worse.
        texts: Texts of the old kind, on which it must not have forgotten: files, folders, globs.
        must_not: File of prompts with what must not be answered, a JSON object per line: prompt or messages, and
            must_not, a regular expression.
        requests: File of serve --request_log: each of its requests must still be answered.
        alias: The alias that it would take.
        data: Folder of the tasks' data; null = that of each task's YAML file.
        tolerance: By how much an anchor may be worse, in the units of its first result (accuracy: percent).
        text_growth: By what share bits per byte of the texts may grow.
        answer_tokens: Most tokens of an answer to must_not's prompts.
        resamples: How often items are drawn anew.
        seed: Which items are drawn.
        device: Where to run: auto, cpu, cuda, mps.
    """
    gate = Gate(
        better,
        anchors or [],
        texts or [],
        must_not,
        requests,
        data,
        tolerance,
        text_growth,
        answer_tokens,
        resamples,
        seed,
        device,
    )
    folder = find_model(name)
    candidate, baseline = find_version(folder, version), find_version(folder, alias)
    if candidate == baseline:
        raise DataError(f"Version {candidate} is {alias} already", fix="Name another version.")
    gate.check()
    require_passed(gate.judge(folder, candidate, baseline))


def require_passed(report: GateReport) -> None:
    """Refuse a version that did not pass.

    Raises:
        DataError: It did not; names the conditions that failed.
    """
    if not report.passed:
        raise DataError(
            f"Version {report.candidate} may not take the place of {report.baseline}",
            got=", ".join(check.name for check in report.checks if not check.passed),
        )


def _tell(folder: Path, report: GateReport) -> None:
    """The report to its files and to the terminal."""
    write_report(folder, report)
    word = "passed" if report.passed else "failed"
    page = Page(f"{folder.name}: gate {word}", f"{report.candidate} against {report.baseline}, {report.time}")
    rows = [[_mark(check), check.name, check.found, check.needed] for check in report.checks]
    page.table(["", "condition", "found", "needed"], rows)
    file = report_file(folder, report.candidate, report.baseline).with_suffix(".html")
    written = write_page(page, file)
    sys.stdout.write("".join(f"{_mark(check):<6} {check.name}: {check.found}\n" for check in report.checks))
    sys.stdout.write(f"wrote {', '.join(map(str, written))}\n")


def _mark(check: Check) -> str:
    return "held" if check.passed else "FAILED"
