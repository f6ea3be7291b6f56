"""What a gate found, as a promotion reads it: the report of a candidate against the version that it would replace."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from gpt_lightning.checkpoints.registered import VERSIONS_DIR
from gpt_lightning.errors import DataError
from gpt_lightning.files.atomic import write_json_durably
from gpt_lightning.files.sealing import SEAL, seal, unseal

GATES_DIR = "gates"


@dataclass(frozen=True)
class Check:
    """One condition.

    Attributes:
        name: What was looked at.
        passed: Whether it held.
        found: What was found.
        needed: What was asked for.
    """

    name: str
    passed: bool
    found: str
    needed: str


@dataclass(frozen=True)
class GateReport:
    """A comparison.

    Attributes:
        candidate: Version that asks to be promoted.
        baseline: Version that it would replace.
        time: When, UTC.
        checks: The conditions.
        sha256: Of the file it was read from; names it in the history.
    """

    candidate: str
    baseline: str
    time: str
    checks: Sequence[Check]
    sha256: str = ""

    @property
    def passed(self) -> bool:
        """Whether all conditions held; none is no pass."""
        return bool(self.checks) and all(check.passed for check in self.checks)


def report_file(folder: Path, candidate: str, baseline: str) -> Path:
    """Where the report lies."""
    return folder / VERSIONS_DIR / candidate / GATES_DIR / f"{baseline}.json"


def write_report(folder: Path, report: GateReport) -> Path:
    """Write the report beside the candidate; an earlier one of the same two versions is replaced."""
    file = report_file(folder, report.candidate, report.baseline)
    file.parent.mkdir(exist_ok=True)
    content = asdict(report)
    del content["sha256"]
    write_json_durably(file, seal(content))
    return file


def read_report(folder: Path, candidate: str, baseline: str) -> GateReport | None:
    """The newest report of two versions; None where there is none.

    Raises:
        DataError: It is damaged.
    """
    file = report_file(folder, candidate, baseline)
    try:
        sealed = json.loads(file.read_text(encoding="utf-8"))
        content = unseal(sealed)
        checks = [Check(**each) for each in content.pop("checks")]
        return GateReport(**content, checks=checks, sha256=sealed[SEAL])
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise DataError(f"{file} is damaged ({error})", fix="Run the gate again.") from error
