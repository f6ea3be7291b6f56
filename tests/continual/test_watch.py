"""``continual watch``: rounds when there is something to learn, until told to end; which data were behind an answer."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from gpt_lightning.cli import main
from gpt_lightning.continual import commands
from gpt_lightning.continual.rounds import Round, Settled, list_rounds, look
from gpt_lightning.continual.settings import read_continual
from gpt_lightning.feedback.commands import show_command
from gpt_lightning.feedback.datasets import write_build
from gpt_lightning.feedback.records import Feedback, Interaction
from gpt_lightning.files.locks import FileLock
from gpt_lightning.registry.history import promote, read_history
from gpt_lightning.registry.versions import add_version
from tests.continual.looping import MODEL, correct, write_base, write_loop
from tests.feedback.stores import ask, fill, say
from tests.registry.versions import register, write_run


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A registered model, and too little feedback."""
    monkeypatch.chdir(tmp_path)
    (version,) = register(MODEL, 1)
    promote(MODEL, version.id, "production", who="test")
    write_loop(correct(0, 5), replay=None)
    return tmp_path


def _end_round(place: Path, passed: bool = True) -> None:
    continual = read_continual(place / "continual.yaml")
    folder = place / f"continual/chat/round-{len(list_rounds(continual.place)) + 1:04d}"
    folder.mkdir(parents=True)
    Round(folder, Settled(continual.digest, look(continual).base, "now")).settle(
        data={"x": "y"}, version="v", passed=passed, ended="now"
    )


def test_it_waits_for_enough_and_ends_when_told(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    naps: Iterator[int] = iter(range(9))
    rounds: list[str] = []
    really_sleep = time.sleep

    def sleep(seconds: float) -> None:
        if seconds != 7.0:  # of somebody else
            really_sleep(seconds)
        elif next(naps) == 1:
            fill(Path("feedback.db"), correct(5, 40)).close()
        elif rounds:
            os.kill(os.getpid(), signal.SIGTERM)

    def run_child(file: str) -> int:
        rounds.append(file)
        _end_round(place, passed=False)
        return 3

    monkeypatch.setattr(time, "sleep", sleep)
    monkeypatch.setattr(commands, "_run_child", run_child)
    line = ["continual", "watch", "continual.yaml", "--look_seconds", "7", "--round_hours", "1"]
    assert main(line) == 143
    told = capsys.readouterr().err
    assert rounds == ["continual.yaml"], "the second is not due for an hour"
    assert told.count("5 new rows since version") == 1
    assert "round-0001: version v, the gate was not passed" in told
    lock = FileLock(Path("continual/chat/watch.lock"))
    lock.acquire()
    assert main(line) == 3
    assert "is watched by" in capsys.readouterr().err
    lock.release()
    assert main([*line[:-1], "-1"]) == 2


def test_a_signal_within_a_line_of_the_log_is_none_of_its_errors(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    class Killing(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            try:
                os.kill(os.getpid(), signal.SIGTERM)
            except Exception:
                self.handleError(record)

    handler = Killing()
    commands.log.addHandler(handler)
    fill(Path("feedback.db"), correct(5, 40)).close()
    try:
        assert main(["continual", "run", "continual.yaml"]) == 143
    finally:
        commands.log.removeHandler(handler)
    assert "stopped by SIGTERM" in capsys.readouterr().err


def test_a_round_that_always_fails_ends_it(
    place: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fill(Path("feedback.db"), correct(5, 40)).close()
    codes = iter([4, 4, 4, 2])
    monkeypatch.setattr(commands, "_run_child", lambda file: next(codes))
    line = ["continual", "watch", "continual.yaml", "--look_seconds", "0.001"]
    assert main(line) == 4
    assert "exit code 4 3 times" in capsys.readouterr().err
    assert main(line) == 4
    assert "exit code 2 1 times" in capsys.readouterr().err


def test_which_version_answered_and_on_which_data_it_was_trained(
    place: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """100 of 100; a user who is forgotten is in no later data set, and the versions that used the rows are named."""
    ids = [read_history(MODEL)[0].version]
    used = {ids[0]: {"data1"}}
    for number in range(3):
        rows: list[Interaction | Feedback] = [
            replace(ask(f"b{number}", f"new {number}"), version=f"models/chat/versions/{ids[-1]}")
        ]
        rows += [say(f"b{number}", "correction", "so", "ada" if number == 1 else "bob")]
        with fill(Path("feedback.db"), rows) as store:
            record = write_build(store, Path(f"data-{number}"))
        data = {record["fingerprint"]: f"data-{number}"}
        version = add_version(MODEL, write_run(place, number + 2), parent=ids[-1], data=data)
        used[version.id] = used[ids[-1]] | {record["fingerprint"], f"data{number + 2}"}
        ids.append(version.id)
    asked = [replace(ask(f"c{n}", str(n)), version=f"{place}/models/chat/versions/{ids[n % 4]}") for n in range(100)]
    fill(Path("feedback.db"), asked).close()
    for number, each in enumerate(asked):
        show_command("feedback.db", each.id)
        lines = [line.split() for line in capsys.readouterr().out.splitlines()]
        wanted = ids[number % 4]
        assert next(line for line in lines if line[0] == "registry")[1] == f"chat@{wanted},"
        assert {line[1] for line in lines if line[0] == "data"} == used[wanted]
    assert main(["feedback", "delete-user", "feedback.db", "ada", "--is_hash", "true"]) == 0
    told = capsys.readouterr().out
    assert [f"chat@{each}" in told for each in ids] == [False, False, True, True]
    assert main(["feedback", "build", "feedback.db", "later"]) == 0
    written = "".join(path.read_text() for path in Path("later").rglob("*.json*"))
    assert ("new 0" in written, "new 1" in written, "new 2" in written) == (True, False, True)


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_stopped_in_a_round_the_next_start_goes_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_base()
    write_loop(correct(0, 60))
    line = [sys.executable, "-m", "gpt_lightning", "continual", "watch", "continual.yaml", "--rounds", "1"]
    with subprocess.Popen(line, stderr=subprocess.PIPE, text=True) as watching:
        assert watching.stderr is not None
        next(told for told in watching.stderr if told.startswith("round-0001: training"))
        watching.terminate()
        watching.communicate()  # what is still said has a reader
    assert watching.returncode == 143
    (begun,) = list_rounds(Path("continual/chat"))
    assert (begun.settled.data is not None, begun.settled.version) == (True, None)
    assert subprocess.run(line, timeout=300).returncode == 0
    (done,) = list_rounds(Path("continual/chat"))
    assert (done.folder, done.settled.passed) == (begun.folder, True)
    assert json.loads((done.folder / "round.json").read_text())["begun"] == begun.settled.begun
