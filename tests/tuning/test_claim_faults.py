"""Claims and results under injected faults: no result lost, no trial done twice, every end named truly.

A worker claims the trials of a small sweep, writes a result for each into its folder and tells the study, while the
n-th write, fsync, rename or unlink below the sweep's folder fails, kills it or stops it. What the study has taken in it
notes past the injector. Afterwards a worker whose disk is well ends the sweep, with ``sweep fsck --repair`` where it is
told to use that; then every trial has one result, and what was noted stands.
"""

from __future__ import annotations

import json
import os
import random
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from gpt_lightning.errors import MachineError, UserError
from tests.faults import Fault, install, wake
from tests.training.forked import run_child

TRIALS = 3
EXPECTED_CODES = {"ENOSPC": {0, 4}, "EIO": {0, 4}, "SIGKILL": {0, -9}, "SIGSTOP": {0}}
"""0 where the fault met what can be done later as well."""


def _note(place: Path, text: str) -> None:
    descriptor = os.open(place / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def work_all(place: Path, fault: Fault) -> None:
    """A worker whose trials take no time."""
    from gpt_lightning.tuning.study.sweep import open_sweep
    from gpt_lightning.tuning.study.sweep_folder import sweep_folder_of
    from gpt_lightning.tuning.trial.mailbox import Result
    from gpt_lightning.tuning.workers.claiming import claim
    from gpt_lightning.tuning.workers.leases import Lease, StaleTrialReaper, conclude

    folder = sweep_folder_of("s")
    injector = install(fault, folder.path)
    sweep = open_sweep(folder)
    while (trial := claim(sweep, StaleTrialReaper(sweep), Lease())) is not None:
        first = trial.user_attrs["first"]
        sweep.folder.trial(first).mkdir(parents=True, exist_ok=True)
        result = Result("complete", value=first + 0.5, number=trial.number, seconds=1.0)
        result.write(sweep.folder.trial(first))
        if conclude(sweep, trial, result):
            _note(place, str(first))
    _note(place, f"calls {injector.count}")


def mend(place: Path, fault: Fault) -> None:
    """``sweep fsck --repair``."""
    from gpt_lightning.tuning.study.sweep_folder import sweep_folder_of
    from gpt_lightning.tuning.workers.repair import check_folder

    check_folder(sweep_folder_of("s"), mend=True)


def run_under(place: Path, body: object, fault: Fault, seconds: float = 60.0) -> int:
    """Exit code of ``body`` in a fork of this process, which has imported everything; one that is stopped is woken."""
    pid = os.fork()
    if pid == 0:
        code = 1
        try:
            os.chdir(place)
            body(place, fault)  # type: ignore[operator]
            code = 0
        except UserError as error:
            code = error.exit_code
            (place / "error.txt").write_text(str(error), encoding="utf-8")
        except OSError as error:
            code = MachineError.exit_code
            (place / "error.txt").write_text(str(error), encoding="utf-8")
        finally:
            os._exit(code)
    end = time.monotonic() + seconds
    while True:
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            return os.waitstatus_to_exitcode(status)
        assert time.monotonic() < end, "the worker did not end"
        wake(pid)
        time.sleep(0.005)


def begin(place: Path) -> None:
    """A sweep of three trials that nobody has begun."""
    from tests.tuning.sweeping import bare_sweep

    place.mkdir()
    os.chdir(place)
    bare_sweep(place, {"budget": {"trials": TRIALS}, "retry": {"storage": 0.3, "wait": 0}})


def said(place: Path) -> str:
    """What the last worker that failed has said."""
    path = place / "error.txt"
    return path.read_text(encoding="utf-8") if path.exists() else ""


def check(place: Path, fault: Fault) -> None:
    """One fault, and the way back from it."""
    from gpt_lightning.tuning.study.sweep import open_sweep
    from gpt_lightning.tuning.study.sweep_folder import sweep_folder_of

    begin(place)
    code = run_under(place, work_all, fault)
    assert code in EXPECTED_CODES[fault.kind], (fault, code, said(place))
    told = (place / "told").read_text().splitlines() if (place / "told").exists() else []
    well = Fault("EIO", 0)
    code = run_under(place, work_all, well)
    if code == 3:
        assert "fsck" in said(place)
        assert run_under(place, mend, well) == 0
        code = run_under(place, work_all, well)
    assert code == 0, (fault, code, said(place))
    entries = open_sweep(sweep_folder_of("s")).entries()
    found = {entry.first: (entry.state, entry.last.values) for entry in entries}
    assert found == {number: ("complete", [number + 0.5]) for number in range(TRIALS)}, fault
    assert {int(line) for line in told if line.isdigit()} <= set(found)
    for number in found:
        folder = place / "runs" / "s" / "trials" / f"{number:05d}"
        assert json.loads((folder / "result.json").read_text())["value"] == number + 0.5


def check_points(place: Path, count: int, seed: int) -> None:
    """Faults at random points; the body of a child, which imports what a worker needs once."""
    import gpt_lightning.tuning.launch.running  # noqa: F401

    begin(place / "count")
    (place / "count" / "told").touch()
    assert run_under(place / "count", work_all, Fault("EIO", 0)) == 0
    calls = int((place / "count" / "told").read_text().split()[-1])
    assert calls > 20
    draw = random.Random(seed)
    kinds: Sequence[str] = ("ENOSPC", "EIO", "SIGKILL", "SIGKILL", "SIGSTOP")
    for number in range(count):
        fault = Fault(draw.choice(kinds), draw.randint(1, calls))
        check(place / f"{number}-{fault.kind}-{fault.at}", fault)


@pytest.mark.parametrize(
    ("count", "seed"), [(8, 5), pytest.param(300, 6, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])]
)
def test_claims_and_results_at_random_points(tmp_path: Path, count: int, seed: int) -> None:
    assert run_child(tmp_path, check_points, tmp_path, count, seed, timeout=3600 if count > 100 else 100) == 0
