"""A sweep's folder, its study and its trials belong together: nothing of one is written over another's."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import optuna
import pytest

from gpt_lightning.cli import main
from gpt_lightning.errors import RunFolderError
from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.tuning.launch import creating
from gpt_lightning.tuning.launch.creating import begin, fork, read_named
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.study.best import add_repeats
from gpt_lightning.tuning.study.checking import Checked
from gpt_lightning.tuning.study.study import open_study
from gpt_lightning.tuning.study.sweep import Sweep, open_sweep
from gpt_lightning.tuning.study.sweep_folder import MARK_FILE, SweepFolder, find_sweep, sweep_folder_of
from gpt_lightning.tuning.trial.mailbox import read_trial_spec, write_trial_spec
from gpt_lightning.tuning.workers.claiming import enqueue_points
from gpt_lightning.tuning.workers.repair import check_folder
from tests.selections import seldom
from tests.tuning.sweeping import bare_sweep, make_sweep, pretend, write_sweep

POINTS = [{"model.optimizer.lr": each, "model.schedule": "Cosine"} for each in (2e-3, 4e-3, 8e-3)]


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(creating, "check_sweep", lambda _: Checked())  # is another's test, and takes a second


def everything(folder: Path) -> dict[str, bytes]:
    """Content of all files below a folder but its locks."""
    files = [each for each in sorted(folder.rglob("*")) if each.is_file() and each.suffix != ".lock"]
    return {str(each.relative_to(folder)): each.read_bytes() for each in files}


def test_a_file_that_a_user_called_sweep_yaml_is_only_read(tmp_path: Path) -> None:
    file = write_sweep(tmp_path, {"budget": {"trials": 1}}, "sweep")
    file.write_text("# my notes, which must survive\n" + file.read_text())
    (tmp_path / "base").mkdir()
    (tmp_path / "trials").mkdir()
    before = everything(tmp_path)
    spec, folder = read_named("sweep.yaml", ["budget.trials=2"])
    begin(spec, folder)
    assert folder.path == Path("runs/sweep")
    assert read_yaml(folder.file)["budget"] == {"trials": 2}
    shutil.rmtree(tmp_path / "runs")
    assert everything(tmp_path) == before


def test_a_folder_of_somebody_else_below_runs_is_not_taken(tmp_path: Path) -> None:
    place = tmp_path / "runs" / "s"
    place.mkdir(parents=True)
    (place / "sweep.yaml").write_text("# mine\nparameters: {model.optimizer.lr: {values: [1]}}\n")
    before = everything(place)
    with pytest.raises(RunFolderError, match=r"no sweep of ours.*sweep\.yaml.*--set name="):
        make_sweep(tmp_path, {})
    assert everything(place) == before
    with pytest.raises(RunFolderError, match="There is no sweep s"):
        find_sweep("s")


def test_a_begun_sweep_is_gone_on_with_from_its_file_and_comments_stay(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {})
    text = "# a thought\n" + sweep.folder.file.read_text()
    sweep.folder.file.write_text(text)
    spec, folder = read_named(str(sweep.folder.file), [])
    with folder.locked():
        folder.prepare(spec)
    assert (folder.path, folder.file.read_text()) == (sweep.folder.path, text)


def test_a_sweep_of_before_the_marks_is_known_and_marked_when_it_goes_on(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 4}})
    pretend(sweep, 2, on_disk=True)
    (sweep.folder.path / MARK_FILE).unlink()
    sweep.study.set_user_attr("gpt_lightning:folder", None)
    spec, folder = read_named("runs/s", [])
    assert len(open_sweep(folder).entries()) == 2
    with folder.locked():
        folder.prepare(spec)
    assert folder.mark()["study"]
    assert len(pretend(open_sweep(folder), 2)) == 2


def lose_file(sweep: Sweep) -> None:
    sweep.folder.journal.unlink()


def lose_study(sweep: Sweep) -> None:
    optuna.delete_study(study_name="s", storage=sweep.study._storage)


def replace_study(sweep: Sweep) -> None:
    """Somebody else has begun a sweep of that name in the same storage."""
    lose_study(sweep)
    study = optuna.create_study(study_name="s", storage=sweep.study._storage)
    study.set_user_attr("gpt_lightning:folder", "another")
    study.set_user_attr("gpt_lightning:space", {"hash": "", "space": {}})


def go_back(sweep: Sweep) -> None:
    """The file is an older copy, which knows the first trial only."""
    lines = sweep.folder.journal.read_bytes().splitlines(keepends=True)
    second = [place for place, line in enumerate(lines) if json.loads(line).get("op_code") == 4][1]
    sweep.folder.journal.write_bytes(b"".join(lines[:second]))


@pytest.mark.parametrize("damage", [replace_study, lose_file, *seldom(lose_study, go_back)])
def test_a_folder_whose_trials_the_study_does_not_know_stays_as_it_is(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: Callable[[Sweep], None]
) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 5}, "repeat_best": {"top_k": 1, "seeds": [7]}})
    values = pretend(sweep, 4, on_disk=True)
    add_repeats(sweep)
    values += pretend(sweep, 1, on_disk=True)
    facts = [(e.first, e.state, e.values, e.last.values, e.repeats, e.fact("seed")) for e in sweep.entries()]
    sweep.folder.report.write_text("good")
    damage(sweep)
    before = everything(sweep.folder.path)
    for command in (["status"], ["best"], ["export"], ["report"], ["dashboard"], ["stop"], ["retry"], ["worker"]):
        if command == ["dashboard"] and damage is go_back:
            continue  # shows the study that is there
        assert main(["sweep", *command, "runs/s"]) == 3
        assert "sweep fsck runs/s --repair" in capsys.readouterr().err
    with pytest.raises(RunFolderError, match=r"sweep fsck runs/s --repair"):
        begin(*read_named("runs/s", ["budget.trials=9"]))
    assert main(["sweep", "fsck", "runs/s"]) == 3
    capsys.readouterr()
    assert everything(sweep.folder.path) == before
    assert main(["sweep", "fsck", "runs/s", "--repair"]) == 0
    assert "trials were added to the study" in capsys.readouterr().out
    assert main(["sweep", "fsck", "runs/s", "--repair"]) == 0
    assert capsys.readouterr().out == "nothing to mend\n"
    rebuilt = open_sweep(sweep.folder)
    assert [(e.first, e.state, e.values, e.last.values, e.repeats, e.fact("seed")) for e in rebuilt.entries()] == facts
    assert len(pretend(rebuilt, 1, on_disk=True)) == 1  # of a budget of 5, with one repetition
    assert rebuilt.folder.numbers() == [0, 1, 2, 3, 4, 5]
    assert everything(sweep.folder.path)["report.html"] == b"good"


def test_trials_that_had_not_ended_wait_again_and_letters_of_old_are_read(tmp_path: Path) -> None:
    choices = {"values": [{"class_path": "WSD", "init_args": {"decay": each}} for each in ("20%", "40%")]}
    space = {"model.optimizer.lr": {"distribution": "log_grid", "min": 1e-3, "max": 8e-3}, "model.schedule": choices}
    sweep = bare_sweep(tmp_path, {"parameters": space, "budget": {"trials": 4}})
    values = pretend(sweep, 3, on_disk=True)
    (sweep.folder.trial(1) / "result.json").unlink()
    for number in (0, 1):
        letter = read_trial_spec(sweep.folder.trial(number))
        write_trial_spec(
            sweep.folder.trial(number), {k: v for k, v in letter.items() if k not in ("values", "repeats")}
        )
    shutil.rmtree(sweep.folder.trial(2))  # withdrawn, or never started
    sweep.folder.trial(2).mkdir()
    lose_file(sweep)
    check_folder(sweep.folder, mend=True)
    again = open_sweep(sweep.folder)
    assert [entry.state for entry in again.entries()] == ["complete", "waiting", "failed"]
    assert again.entries()[0].values == values[0]
    assert pretend(again, 1) == values[1:2]
    assert [entry.first for entry in again.entries()] == [0, 1, 2]


def test_another_storage_or_name_is_not_begun_in_the_old_folder(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 3}})
    pretend(sweep, 2, on_disk=True)
    before = everything(sweep.folder.path)
    for change in ("storage=sqlite", "name=other"):
        for force in (False, True):
            with pytest.raises(RunFolderError):
                begin(*read_named("runs/s", [change]), force=force)
    assert everything(sweep.folder.path) == before
    assert main(["sweep", "fsck", "runs/s", "--repair", "--set", "storage=sqlite"]) == 0
    moved = open_sweep(sweep.folder)
    assert (moved.spec.storage, len(moved.entries())) == ("sqlite", 2)


def test_the_database_of_another_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/shared.db"
    pretend(bare_sweep(tmp_path, {"storage": url}), 1, on_disk=True)
    other = tmp_path / "elsewhere"
    other.mkdir()
    monkeypatch.chdir(other)
    with pytest.raises(RunFolderError, match=r"of another folder.*--set name=OTHER"):
        bare_sweep(other, {"storage": url})


class Killed(BaseException):
    """In place of SIGKILL."""


def kill_at(monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, call: int) -> Callable[[], None]:
    """Let the ``call``-th call of a method end the process; what it returns takes that back."""
    real, calls = getattr(owner, name), iter(range(1000))

    def counted(*args: Any, **kwargs: Any) -> Any:
        if next(calls) == call:
            raise Killed
        return real(*args, **kwargs)

    monkeypatch.setattr(owner, name, counted)
    return lambda: monkeypatch.setattr(owner, name, real)


@pytest.mark.parametrize("call", range(3))
def test_given_points_are_all_there_whenever_the_first_start_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    restore = kill_at(monkeypatch, optuna.Study, "enqueue_trial", call)
    content = {"enqueue": [*POINTS, POINTS[0]], "budget": {"trials": 5}}
    with pytest.raises(Killed):
        bare_sweep(tmp_path, content)
    restore()
    sweep = open_sweep(sweep_folder_of("s"))
    enqueue_points(sweep)
    found = pretend(sweep, 1)
    enqueue_points(sweep)  # as every later start does
    assert [*found, *pretend(sweep, 3)] == [*POINTS, POINTS[0]]
    assert len(pretend(sweep, 1)) == 1
    assert len(sweep.entries()) == 5


@pytest.mark.parametrize("call", [0, 1, 3])
def test_a_fork_is_whole_whenever_its_start_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: int
) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 9}})
    values = pretend(sweep, 4, on_disk=True)
    spec = read_spec(write_sweep(tmp_path, {"storage": "journal", "budget": {"trials": 6}, "enqueue": [values[0]]}))
    restore = kill_at(monkeypatch, optuna.Study, "add_trial", call)
    with pytest.raises(Killed):
        fork(spec)
    restore()
    new, folder = fork(spec)  # the same command once more
    assert folder.path == Path("runs/s-2")
    taken = open_sweep(folder)
    assert [entry.values for entry in taken.entries()] == values  # and the given point is one of them
    assert new.name == "s-2"
    assert fork(spec)[1].path == Path("runs/s-3")


def test_copies_of_the_base_are_whole_or_not_there(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"base": ["base.yaml", "base.yaml"]})
    (sweep.folder.path / "base" / "0-base.yaml").unlink()
    with pytest.raises(RunFolderError, match="not all copies"):
        open_sweep(sweep.folder)


def test_reading_creates_nothing(tmp_path: Path) -> None:
    spec = read_spec(write_sweep(tmp_path, {}))
    folder = sweep_folder_of("s")
    with folder.locked():
        folder.prepare(spec)
    before = everything(folder.path)
    with pytest.raises(RunFolderError, match="holds no study"):
        open_sweep(folder)
    assert everything(folder.path) == before
    open_study(spec, folder)
    assert open_sweep(SweepFolder(Path("runs/s"))).entries() == []
