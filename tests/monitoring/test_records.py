"""Run folders read back: true status, cost, best values."""

from __future__ import annotations

import json
import math
import time
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import RunFolderError
from gpt_lightning.monitoring.records import RunRecord, find_runs, judge, open_run, open_runs
from gpt_lightning.training.runs.run_folder import RunLock
from tests.monitoring.folders import write_run

_END: dict[str, Any] = {"state": "stopped", "reason": "stopped by SIGTERM", "step": 3, "seconds": 1.0}


@pytest.mark.parametrize(
    ("starts", "locked", "silent", "gap", "state"),
    [
        ([{"end": None}], True, 5, 0, "running"),
        ([{"end": _END}, {"end": None}], True, 599, 1, "running"),
        ([{"end": None}], True, 601, 1, "stale"),
        ([{"end": None}], True, 601, 100, "running"),
        ([{"end": None}], False, 1, 0, "crashed"),
        ([{"end": None}, {"end": _END}], False, 1, 0, "stopped"),
        ([{}], False, 1, 0, "unknown"),
        ([], False, 1, 0, "unknown"),
        ([{}], True, 1, 0, "running"),
    ],
)
def test_status(starts: list[dict[str, Any]], locked: bool, silent: float, gap: float, state: str) -> None:
    assert judge(starts, locked=locked, silent_seconds=float(silent), usual_gap=float(gap)).state == state


def test_a_lock_makes_a_dead_run_a_running_one_and_silence_a_stale_one(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a", ends=(None,))
    assert RunRecord(folder).status.state == "crashed"
    lock = RunLock(folder)
    lock.acquire()
    assert RunRecord(folder).status.state == "stale"
    with (folder / "metrics.jsonl").open("a") as file:
        file.write(json.dumps({"step": 101, "time": time.time(), "train/loss": 1.0}) + "\n")
    assert RunRecord(folder).status.state == "running"
    lock.release()
    assert RunRecord(folder).status.state == "crashed"


def test_values_and_cost(tmp_path: Path) -> None:
    crashed_first = (None, {"state": "finished", "reason": "", "step": 100, "total_steps": 100, "seconds": 50.0})
    run = RunRecord(write_run(tmp_path / "a", losses=(4.0, math.nan, 3.0, 3.5), ends=crashed_first))
    assert (run.best and (run.best.value, run.best.step)) == (3.0, 75)
    assert (run.step, run.total_steps, run.tokens) == (100, 100, 100_000)
    assert run.seconds == 50.0, "the first start left no line behind"
    assert run.last("val/loss") == 3.5
    assert run.last("val/nothing") is None
    assert run.config_files == ["configs/tiny.yaml"]
    assert RunRecord(write_run(tmp_path / "b", ends=(None,))).seconds == 50.0, "up to its last line"


def test_damaged_files_leave_the_rest_readable(tmp_path: Path) -> None:
    folder = write_run(tmp_path / "a")
    (folder / "manifest.json").write_text("{")
    (folder / "config.yaml").write_text("a: [")
    run = RunRecord(folder)
    assert (run.status.state, run.config, run.total_steps) == ("unknown", {}, None)
    assert run.best is not None
    empty = tmp_path / "b"
    empty.mkdir()
    (empty / "config.yaml").write_text("{}")
    bare = RunRecord(empty)
    assert (bare.step, bare.tokens, bare.best, bare.seconds, bare.metric_names) == (0, None, None, 0.0, [])
    assert bare.last_sign > 0


def test_runs_are_found_in_folders_and_sweeps(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("runs/a-10", "runs/a-9", "runs/sweep/trials/00001", "runs/sweep/trials/00000"):
        write_run(Path(name))
    (Path("runs") / "empty").mkdir()
    assert [str(path) for path in find_runs([Path("runs")])] == ["runs/a-9", "runs/a-10"]
    assert [path.name for path in find_runs([Path("runs/sweep")])] == ["00000", "00001"]
    assert open_run("a-9").name == open_run("runs/a-9").name == "a-9"
    assert len(open_runs(["runs"])) == 2
    assert len(open_runs(["sweep", "a-9"])) == 3
    with pytest.raises(RunFolderError, match=r"no run: got 'a-99'. Did you mean runs/a-9"):
        open_run("a-99")
    with pytest.raises(RunFolderError, match="too few runs"):
        open_runs(["a-9"], least=2)
