"""Names of run folders, their manifest, and the lock; no training."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import pytest

from gpt_lightning._version import __version__
from gpt_lightning.errors import RunFolderError
from gpt_lightning.training.runs.run_folder import (
    MANIFEST_FILE,
    RunLock,
    holds_run,
    list_runs,
    make_folder,
    make_numbered,
    write_manifest,
)


@pytest.fixture(autouse=True)
def _work_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_numbers_count_up_as_numbers() -> None:
    """Sorted as text, run 10 would come before run 9."""
    made = [make_numbered("lr") for _ in range(11)]
    assert [path.name for path in made] == [f"lr-{n}" for n in range(1, 12)]
    assert list_runs("lr") == made


def test_gaps_are_not_filled() -> None:
    for _ in range(3):
        make_numbered("lr")
    Path("runs/lr-2").rmdir()
    assert make_numbered("lr").name == "lr-4"


def test_names_that_begin_alike_are_kept_apart() -> None:
    make_numbered("lr")
    make_numbered("lr-small")
    make_numbered("l.")
    Path("runs/lr-x").mkdir()
    Path("runs/lr-7").write_text("a file")
    assert [path.name for path in list_runs("lr")] == ["lr-1"]
    assert [path.name for path in list_runs("l.")] == ["l.-1"]
    assert make_numbered("lr").name == "lr-2"


@pytest.mark.parametrize("name", ["lr[1]", "lr[0-9]", "a*", "what?", "{a,b}", "(x)+", "$HOME", "über", "%d", "lr-1"])
def test_a_name_is_no_pattern(name: str) -> None:
    """With brackets a run was never found again, and each start made another."""
    for other in ("lr1", "a", "ab", "whatx", "lr[1]x", "lr"):
        make_numbered(other)
    made = [make_numbered(name) for _ in range(2)]
    assert [path.name for path in made] == [f"{name}-1", f"{name}-2"]
    assert list_runs(name) == made


def test_a_number_taken_in_between_is_passed_over() -> None:
    make_numbered("lr")
    Path("runs/lr-2").write_text("in the way")
    assert make_numbered("lr").name == "lr-3"


@pytest.mark.parametrize("place", ["file/below", "/proc/new"])
def test_a_place_that_cannot_be_written_is_named(place: str) -> None:
    Path("file").touch()
    with pytest.raises(RunFolderError, match=rf"{place} cannot be written .*--run.dir"):
        make_folder(Path(place))
    with pytest.raises(RunFolderError, match=r"cannot be written"):
        RunLock(Path(place)).acquire()


def test_runs_that_is_a_file_is_named() -> None:
    Path("runs").touch()
    with pytest.raises(RunFolderError, match=r"runs cannot be written"):
        make_numbered("lr")


def test_only_a_config_or_a_checkpoint_makes_a_run() -> None:
    folder = make_numbered("lr")
    assert not holds_run(folder)
    (folder / "checkpoints" / ".writing-step-000000001-host-1").mkdir(parents=True)
    assert not holds_run(folder)
    (folder / "checkpoints" / "step-000000001").mkdir()
    assert holds_run(folder)
    other = make_numbered("lr")
    (other / "config.yaml").touch()
    assert holds_run(other)


def test_lock_is_exclusive_and_given_back() -> None:
    first, second = RunLock(Path("run")), RunLock(Path("run"))
    first.acquire()
    with pytest.raises(RunFolderError, match=rf"in use by host .*, process {os.getpid()}, since \d{{4}}-") as told:
        second.acquire()
    assert "--run.dir" in str(told.value)
    first.release()
    first.release()
    second.acquire()
    second.release()


def test_manifest_adds_one_entry_per_start() -> None:
    folder = make_numbered("lr")
    write_manifest(folder, command=["gpt-lightning", "fit"], seed=3, facts={"resumed_step": None})
    write_manifest(folder, command=["gpt-lightning", "fit", "--resume=auto"], seed=3, facts={"resumed_step": 40})
    first, second = json.loads((folder / MANIFEST_FILE).read_text())["starts"]
    assert first["command"] == ["gpt-lightning", "fit"]
    assert (first["seed"], first["resumed_step"], second["resumed_step"]) == (3, None, 40)
    assert first["gpt_lightning"] == __version__
    assert first["packages"].keys() >= {"torch", "lightning", "numpy"}
    assert all(first["packages"].values())
    assert {"time", "host", "python", "platform"} <= first.keys()
    assert first["git"] is None, "a temporary folder is no repository"
    assert sorted(path.name for path in folder.iterdir()) == [MANIFEST_FILE]


def test_manifest_names_the_commit_and_whether_files_changed() -> None:
    def git(*arguments: str) -> str:
        identity = ["-c", "user.name=n", "-c", "user.email=e@example.com"]
        done = subprocess.run(["git", *identity, *arguments], capture_output=True, text=True, check=True)
        return done.stdout.strip()

    git("init", "--quiet")
    Path("file").write_text("one")
    git("add", "file")
    git("commit", "--quiet", "--message", "first")
    folder = make_numbered("lr")
    write_manifest(folder, command=[], seed=0, facts={})
    Path("file").write_text("two")
    write_manifest(folder, command=[], seed=0, facts={})
    states = [start["git"] for start in json.loads((folder / MANIFEST_FILE).read_text())["starts"]]
    assert states == [{"commit": git("rev-parse", "HEAD"), "changed": changed} for changed in (False, True)]
