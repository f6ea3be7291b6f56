"""How a run ended stands in its manifest, whatever ended it."""

from __future__ import annotations

import json
import logging
import signal
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import RunFolderError, StopRequested, TrainingError
from gpt_lightning.training.runs.run_folder import RunLock, is_in_use, write_manifest
from gpt_lightning.training.runs.run_status import end_recorded
from tests.training.forked import run_child, train, write_corpus
from tests.training.runs import Crash, crash_at, tiny_run


def _starts(folder: Path) -> list[dict[str, Any]]:
    return list(json.loads((folder / "manifest.json").read_text())["starts"])


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    write_corpus(tmp_path)
    return tmp_path


def test_crashed_then_failed_then_finished_then_nothing_to_do(place: Path) -> None:
    settings = {"trainer.max_steps": 6, "run.save_every": 2, "run.validate_every": 6}
    assert run_child(place, train, place / "run", settings, ("batch_start", 3)) == -signal.SIGKILL
    assert [start["end"] for start in _starts(place / "run")] == [None]
    assert not is_in_use(place / "run"), "the kernel drops the lock of the dead"

    own = {**settings, "run.dir": str(place / "run"), "run.keep_checkpoints": 3}
    with pytest.raises(Crash):
        crash_at(tiny_run(own), 4).fit(resume="auto")
    tiny_run(own).fit(resume="auto")
    tiny_run(own).fit(resume="auto")
    ends = [start["end"] for start in _starts(place / "run")]
    assert [end and (end["state"], end["reason"], end["step"], end["total_steps"]) for end in ends] == [
        None,
        ("failed", "Crash:", 4, 6),
        ("finished", "", 6, 6),
        ("finished", "", 6, 6),
    ]
    assert 0 < ends[2]["seconds"] < 60


def _record(folder: Path, error: BaseException | None, step: int = 3) -> dict[str, Any]:
    write_manifest(folder, command=[], seed=0, facts={})
    with end_recorded(folder, step=lambda: step, total_steps=6):
        if error is not None:
            raise error
    return {}


@pytest.mark.parametrize(
    ("error", "state", "reason"),
    [
        (StopRequested("SIGTERM", 3), "stopped", "stopped by SIGTERM after saving step 3"),
        (KeyboardInterrupt(), "stopped", "interrupted"),
        (TrainingError("The loss is\nnan", fix="Lower it."), "failed", "TrainingError: The loss is nan. Lower it."),
        (SystemExit(3), "failed", "SystemExit: 3"),
        (RuntimeError("x" * 1000), "failed", f"RuntimeError: {'x' * 385}…"),
    ],
)
def test_the_record_tells_and_the_error_goes_on(tmp_path: Path, error: BaseException, state: str, reason: str) -> None:
    with pytest.raises(type(error)):
        _record(tmp_path, error)
    end = _starts(tmp_path)[-1]["end"]
    assert (end["state"], end["reason"], end["step"]) == (state, reason, 3)


def test_a_run_that_a_callback_ended_says_so(tmp_path: Path) -> None:
    _record(tmp_path, None)
    assert _starts(tmp_path)[-1]["end"]["reason"] == "ended early, at step 3 of 6"


def test_a_record_that_cannot_be_written_hides_no_error(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_manifest(tmp_path, command=[], seed=0, facts={})

    def crash() -> None:
        with end_recorded(tmp_path, step=int, total_steps=1):
            (tmp_path / "manifest.json").unlink()
            raise Crash

    with caplog.at_level(logging.WARNING), pytest.raises(Crash):
        crash()
    assert "how the run ended could not be written" in caplog.text


def test_only_the_first_process_writes(tmp_path: Path) -> None:
    write_manifest(tmp_path, command=[], seed=0, facts={})
    with end_recorded(tmp_path, step=int, total_steps=1, active=False):
        pass
    assert _starts(tmp_path)[-1]["end"] is None


def test_asking_for_the_lock_leaves_it_alone(tmp_path: Path) -> None:
    assert not is_in_use(tmp_path)
    lock = RunLock(tmp_path)
    lock.acquire()
    assert is_in_use(tmp_path)
    assert is_in_use(tmp_path)
    with pytest.raises(RunFolderError, match="in use by host"):
        RunLock(tmp_path).acquire()
    lock.release()
    assert not is_in_use(tmp_path)
    lock.acquire()
    lock.release()
