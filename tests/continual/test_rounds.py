"""Rounds: feedback in, a better version out; killed anywhere; nothing new; not passed; what is refused."""

from __future__ import annotations

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.cli import main
from gpt_lightning.continual import rounds
from gpt_lightning.continual.rounds import Round, list_rounds, look, run_round
from gpt_lightning.continual.settings import Continual, read_continual
from gpt_lightning.errors import ConfigError, FolderInUseError
from gpt_lightning.feedback.store import FeedbackStore
from gpt_lightning.files.locks import FileLock
from gpt_lightning.registry.gates import read_report
from gpt_lightning.registry.history import read_history
from gpt_lightning.registry.versions import read_version, read_versions
from gpt_lightning.training.fitting import build as fitting
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.weights.starting import read_initial_weights
from tests.continual.looping import FIT, MODEL, correct, run_with, write_base, write_loop
from tests.faults import Fault
from tests.feedback.stores import fill
from tests.training.forked import run_child
from tests.training.runs import Crash, crash_at
from tests.training.test_resume_exact import assert_equal


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A promoted base, and feedback."""
    place = tmp_path_factory.mktemp("loop")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(place)
        patch.setenv("GPT_LIGHTNING_CACHE", str(place / "cache"))
        write_base()
        write_loop(correct(0, 60))
    return place


@pytest.fixture(scope="module")
def whole(made: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same after a round."""
    place = tmp_path_factory.mktemp("whole") / "place"
    with pytest.MonkeyPatch.context() as patch:
        _copy(made, place, patch)
        assert main(["continual", "run", "continual.yaml"]) == 0
    return place


@pytest.fixture
def place(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy to work in."""
    return _copy(made, tmp_path / "place", monkeypatch)


def _copy(source: Path, place: Path, patch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(source, place)
    patch.chdir(place)
    patch.setenv("GPT_LIGHTNING_CACHE", str(place / "cache"))
    return place


def test_rounds_follow_each_other(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _copy(whole, tmp_path / "place", monkeypatch)
    base = read_version(MODEL, read_history(MODEL)[0].version)
    (first,) = (each for each in read_versions(MODEL) if each.id != base.id)
    report = read_report(MODEL, first.id, base.id)
    assert report is not None
    assert [check.name for check in report.checks if check.passed] == ["better: conversations"]
    assert [change.version for change in read_history(MODEL, "production")] == [base.id, first.id]
    build = json.loads(Path("continual/chat/round-0001/data/build.json").read_text())
    assert first.parent == base.id
    assert first.data[build["fingerprint"]] == "continual/chat/round-0001/data"
    assert any(what == "repeated: base.txt" for what in first.data.values())

    assert main(["continual", "run", "continual.yaml"]) == 0
    assert f"nothing new since version {first.id}: 0 new rows" in capsys.readouterr().out
    fill(Path("feedback.db"), correct(60, 90)).close()
    news = look(read_continual(Path("continual.yaml")))
    assert 10 <= news.new < news.rows
    second = run_round(read_continual(Path("continual.yaml")))
    assert second is not None
    assert second.folder.name == "round-0002"
    assert (second.settled.base, second.settled.passed) == (first.id, True)
    assert main(["models", "rollback", "chat", "--why", "test"]) == 0


def test_a_verdict_holds_against_one_version(whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The alias may be moved between judgement and promotion."""
    _copy(whole, tmp_path / "place", monkeypatch)
    continual = read_continual(Path("continual.yaml"))
    judged: list[str] = []

    def judge(*args: Any) -> bool:
        judged.append(args[-1])
        return False

    (found,) = list_rounds(continual.place)
    assert found.settled.against == found.settled.base
    monkeypatch.setattr(rounds, "_judge", judge)
    for in_use in (found.settled.against, found.settled.version, "another", "another"):
        monkeypatch.setattr(rounds, "_baseline", lambda *_, each=in_use: each)
        rounds._do(continual, found, until="judge")
    assert judged == ["another"]
    assert (found.settled.passed, found.settled.against) == (False, "another")


def _outcome(place: Path) -> tuple[dict[str, Any], dict[str, Any], list[Any]]:
    """Weights and data of the version in use, and what the gate measured."""
    change = read_history(place / MODEL, "production")[-1]
    version = read_version(place / MODEL, change.version)
    report = read_report(place / MODEL, version.id, str(change.before))
    assert report is not None
    weights = read_initial_weights(place / MODEL / "versions" / version.id).weights
    return weights, dict(version.data), list(report.checks)


def test_stopped_between_any_two_stages_the_round_ends_the_same(
    place: Path, whole: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before and after each record of a stage, and within training."""
    expected = _outcome(whole)
    assert main(["continual", "run", "continual.yaml", "--dry_run", "true"]) == 0
    assert f"begins with version {read_history(MODEL)[0].version}" in capsys.readouterr().out
    assert not Path("continual").exists()
    settle, crashes = Round.settle, 0
    build = fitting.build

    def settle_and_crash(found: Round, **facts: Any) -> None:
        nonlocal crashes
        crashes += 1
        if crashes % 3 == 2:
            raise Crash
        settle(found, **facts)
        if crashes % 3 == 0:
            raise Crash

    def build_and_crash(*args: Any, **settings: Any) -> Run:
        monkeypatch.setattr(fitting, "build", build)
        return crash_at(build(*args, **settings), 3)

    monkeypatch.setattr(Round, "settle", settle_and_crash)
    monkeypatch.setattr(fitting, "build", build_and_crash)
    starts = 0
    while not any(each.settled.ended for each in list_rounds(Path("continual/chat"))):
        starts += 1
        with contextlib.suppress(Crash):
            run_round(read_continual(Path("continual.yaml")))
    assert starts >= 6
    assert len(list_rounds(Path("continual/chat"))) == 1
    weights, *rest = _outcome(place)
    assert_equal(weights, expected[0])
    assert rest == list(expected[1:])
    assert run_round(read_continual(Path("continual.yaml"))) is None


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_killed_anywhere_the_round_ends_the_same(place: Path) -> None:
    """At 20 calls of the system spread over a round's: data, training, registering, judging, promoting."""
    whole, kills = place.with_name("whole"), 20
    shutil.copytree(place, whole)
    assert run_child(whole, run_with, Fault("SIGKILL", 0)) == 0
    calls, expected = json.loads((whole / "calls.json").read_text()), _outcome(whole)
    assert calls > 60
    for number in range(kills):
        at = 1 + round((number + 0.5) * calls / kills)
        copy = place.with_name(f"kill-{at}")
        shutil.copytree(place, copy)
        assert run_child(copy, run_with, Fault("SIGKILL", at)) == -9
        assert run_child(copy, run_with, Fault("SIGKILL", 0)) == 0, at
        weights, *rest = _outcome(copy)
        assert_equal(weights, expected[0])
        assert rest == list(expected[1:])
        assert len(list_rounds(copy / "continual/chat")) == 1


def test_what_has_not_passed_is_not_promoted_nor_trained_again(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    still = {**FIT, "model": {"adaptation": "LoRA", "optimizer": {"lr": 1e-9}}}
    Path("feedback.db").unlink()
    write_loop(correct(0, 60), fit=still, replay=None)
    assert main(["continual", "run", "continual.yaml"]) == 3
    assert "may not take the place" in capsys.readouterr().err
    assert len(read_versions(MODEL)) == 2
    assert len(read_history(MODEL)) == 1
    assert main(["continual", "run", "continual.yaml"]) == 0
    assert "nothing new" in capsys.readouterr().out


def test_a_round_stops_where_it_is_told_and_goes_on(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["continual", "run", "continual.yaml", "--until", "data"]) == 0
    assert "version none yet, not judged yet" in capsys.readouterr().out
    Path("base.txt").write_text("It is the round's own by now.\n")
    with FeedbackStore("feedback.db") as store:
        store.delete_user(store.hash_user("nobody"))
    lock = FileLock(Path("continual/chat/continual.lock"))
    lock.acquire()
    with pytest.raises(FolderInUseError, match="is in use by"):
        run_round(read_continual(Path("continual.yaml")))
    lock.release()
    assert main(["continual", "run", "continual.yaml", "--dry_run", "true"]) == 0
    assert "goes on with continual/chat/round-0001" in capsys.readouterr().out
    # Somebody's copy is no round of ours.
    shutil.copytree("continual/chat/round-0001", "continual/chat/round-0001 (copy)")
    continual = read_continual(Path("continual.yaml"))
    assert [each.folder.name for each in list_rounds(continual.place)] == ["round-0001"]
    assert rounds._begin(continual, look(continual)).folder.name == "round-0002"
    assert main(["continual", "run", "continual.yaml", "--until", "later"]) == 2
    assert "no such stage" in capsys.readouterr().err


def test_the_file_that_is_written_can_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["continual", "init", "c.yaml", "--name", "mood"]) == 0
    found = read_continual(Path("c.yaml"))
    assert (found.model, found.wanted, found.place) == ("mood", "production", Path("continual/mood"))
    assert main(["continual", "init", "c.yaml"]) == 2
    Path("c.yaml").write_text("base: chat@production\nfeedback: f.db\nrules:\ngate:\nfit:\nreplay:\n")
    assert read_continual(Path("c.yaml")) == Continual("chat@production", "f.db")
    for wrong, word in (
        ("kind: labels", "kind"),
        ("min_rows: 0", "min_rows"),
        ("base: chat", "NAME@ALIAS"),
        ("data: x", "one of them"),
        ("replay: {source: x, share: 1.0}", "replay.share"),
        ("replay: {source: x, rows: 0}", "replay.rows"),
        ("gate: {resamples: 1}", "resamples"),
        ("minrows: 3", "min_rows"),
    ):
        lines = [line for line in ("base: chat@production", "feedback: f.db") if line[:5] != wrong[:5]]
        Path("wrong.yaml").write_text("\n".join([*lines, wrong]))
        with pytest.raises(ConfigError, match=word):
            read_continual(Path("wrong.yaml"))
    with pytest.raises(ConfigError, match="continual init"):
        read_continual(Path("none.yaml"))
