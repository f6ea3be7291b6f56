"""``gpt-lightning models gate``: whether a version may take the place of the one in use."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from gpt_lightning.checkpoints.registered import VERSIONS_DIR, find_model, find_version
from gpt_lightning.continual.judging import judge_anchor, judge_answers, judge_better, judge_replay, judge_text
from gpt_lightning.continual.measuring import find_forbidden, measure_texts, read_forbidden, replay_log, run_tasks
from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.kinds.task_files import read_tasks
from gpt_lightning.evaluation.kinds.tasks import Asking
from gpt_lightning.evaluation.outcomes.results import Evaluation
from gpt_lightning.evaluation.scoring.models import open_model
from gpt_lightning.registry.gates import Check, GateReport, report_file, write_report
from gpt_lightning.registry.history import PRODUCTION
from gpt_lightning.registry.versions import now
from gpt_lightning.reports.page import Page, write_page


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
    must_not: str | None = None,
    requests: str | None = None,
    alias: str = PRODUCTION,
    data: str | None = None,
    tolerance: float = 1.0,
    text_growth: float = 0.01,
    answer_tokens: int = 100,
    resamples: int = 2000,
    seed: int = 0,
    device: str = "auto",
) -> None:
    """Measure a version beside the one in use, and say whether it may take its place. Exit code 3 if it may not.

    It has to be better on every task of --better, beyond luck (paired bootstrap on the same items, one-sided 95 %), and
    nowhere worse than said. The report lies beside the version, as JSON and as a page; models promote asks for it.

    Example: gpt-lightning models gate chat 3f2a9c01b7de gate.yaml --anchors eprstmt --texts base.txt

    Args:
        name: Of the registered model.
        version: The candidate: a version, or an alias.
        better: Tasks on which it has to be better: YAML files, or names of evaluate list.
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
    if not better:
        raise ConfigError("No task is named on which the version has to be better", got=[], fix="Give --better TASK.")
    if resamples < 100:
        raise ConfigError("resamples counts draws", got=resamples, allowed="100 or more")
    folder = find_model(name)
    candidate, baseline = find_version(folder, version), find_version(folder, alias)
    if candidate == baseline:
        raise DataError(f"Version {candidate} is {alias} already", fix="Name another version.")
    asking = Asking(None if data is None else Path(data).expanduser())
    tasks, kept = read_tasks(better), read_tasks(anchors or [])
    for task in (*tasks, *kept):
        task.check(asking)
    forbidden = [] if must_not is None else read_forbidden(Path(must_not))

    def measure(which: str) -> Measured:
        loaded = open_model(str(folder / VERSIONS_DIR / which), prefer="best", device=device)
        wrong = find_forbidden(loaded, forbidden, answer_tokens) if which == candidate and forbidden else []
        read = [measure_texts(loaded, texts)] if texts else []
        return Measured(run_tasks(loaded, tasks, asking), run_tasks(loaded, kept, asking), read, wrong)

    one, other = measure(baseline), measure(candidate)
    checks = [judge_better(a, b, seed=seed, resamples=resamples) for a, b in zip(one.better, other.better, strict=True)]
    checks += [judge_anchor(a, b, tolerance) for a, b in zip(one.anchors, other.anchors, strict=True)]
    checks += [judge_text(a, b, text_growth) for a, b in zip(one.texts, other.texts, strict=True)]
    checks += [judge_answers(other.wrong, len(forbidden))] if forbidden else []
    if requests is not None:
        played = replay_log(folder / VERSIONS_DIR / candidate, Path(requests), device)
        checks.append(judge_replay(played.refused, len(played.different) - len(played.refused), played.asked))
    report = GateReport(candidate, baseline, now(), checks)
    _tell(folder, report)


def _tell(folder: Path, report: GateReport) -> None:
    """The report to its files and to the terminal.

    Raises:
        DataError: The gate was not passed.
    """
    write_report(folder, report)
    word = "passed" if report.passed else "failed"
    page = Page(f"{folder.name}: gate {word}", f"{report.candidate} against {report.baseline}, {report.time}")
    rows = [[_mark(check), check.name, check.found, check.needed] for check in report.checks]
    page.table(["", "condition", "found", "needed"], rows)
    file = report_file(folder, report.candidate, report.baseline).with_suffix(".html")
    written = write_page(page, file)
    sys.stdout.write("".join(f"{_mark(check):<6} {check.name}: {check.found}\n" for check in report.checks))
    sys.stdout.write(f"wrote {', '.join(map(str, written))}\n")
    if not report.passed:
        raise DataError(
            f"Version {report.candidate} may not take the place of {report.baseline}",
            got=", ".join(check.name for check in report.checks if not check.passed),
        )


def _mark(check: Check) -> str:
    return "held" if check.passed else "FAILED"
