"""Aliases move by one rename: whatever fails leaves the old one or the new one, and a history that tells which."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from gpt_lightning.checkpoints.checkpoint_dir import locate
from gpt_lightning.checkpoints.registered import read_aliases
from gpt_lightning.errors import CheckpointError, ConfigError, DataError
from gpt_lightning.registry.history import promote, read_history, rollback
from tests.registry.versions import judge, register

ROOT = Path(__file__).parents[2]


def _move(folder: Path, version: str, why: str = "test") -> None:
    promote(folder, version, "production", who="ada", why=why, force=True)


def test_promotions_and_rollbacks_are_told(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    first, second, third = (each.id for each in register(folder, 1, 2, 3))
    for version in (first, second, third):
        _move(folder, version)
    assert rollback(folder, "production", who="bob", why="worse").version == second
    assert rollback(folder, "production", who="bob", why="worse still").version == first
    with pytest.raises(CheckpointError, match="it has stood for no other version"):
        rollback(folder, "production", who="bob", why="")
    _move(folder, third)
    promote(folder, second, "canary", who="ada")
    assert rollback(folder, "production", who="bob", why="", to=first[:8]).version == first
    told = [(each.action, each.alias, each.before, each.version, each.who) for each in read_history(folder)]
    assert told == [
        ("promote", "production", None, first, "ada"),
        ("promote", "production", first, second, "ada"),
        ("promote", "production", second, third, "ada"),
        ("rollback", "production", third, second, "bob"),
        ("rollback", "production", second, first, "bob"),
        ("promote", "production", first, third, "ada"),
        ("promote", "canary", None, second, "ada"),
        ("rollback", "production", third, first, "bob"),
    ]
    assert [each.alias for each in read_history(folder, "canary")] == ["canary"]


def test_nothing_is_promoted_without_a_passed_gate_or_a_reason(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    first, second, third = register(folder, 1, 2, 3)
    assert promote(folder, first.id, "production", who="ada") is not None  # replaces nothing
    with pytest.raises(DataError, match=f"has not passed the gate against {first.id}.*no report"):
        promote(folder, second.id, "production", who="ada", why="I want to")
    judge(folder, second, first, passed=False)
    with pytest.raises(DataError, match="failed: better on the gate set"):
        promote(folder, second.id, "production", who="ada")
    judge(folder, second, third)  # against another version than the one that it would replace
    with pytest.raises(DataError, match="has not passed"):
        promote(folder, second.id, "production", who="ada")
    with pytest.raises(ConfigError, match="needs a reason"):
        promote(folder, second.id, "production", who="ada", force=True)
    judge(folder, second, first)
    change = promote(folder, second.id, "production", who="ada")
    assert change is not None
    assert change.gate is not None
    assert not change.forced
    assert promote(folder, second.id, "production", who="ada") is None  # it is already
    forced = promote(folder, third.id, "production", who="ada", why="an emergency", force=True)
    assert forced is not None
    assert (forced.forced, forced.why, forced.gate) == (True, "an emergency", None)


def test_an_altered_report_opens_no_gate(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    first, second = register(folder, 1, 2)
    promote(folder, first.id, "production", who="ada")
    judge(folder, second, first, passed=False)
    (report,) = (folder / "versions" / second.id / "gates").iterdir()
    report.write_text(report.read_text().replace("false", "true"))
    with pytest.raises(DataError, match="is damaged"):
        promote(folder, second.id, "production", who="ada")


def test_a_damaged_version_is_not_promoted(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    (version,) = register(folder, 1)
    file = folder / "versions" / version.id / next(iter(version.files))
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.unlink()  # the run's own file is another name of it
    file.write_bytes(content)
    with pytest.raises(CheckpointError, match="must not be used"):
        _move(folder, version.id)


def test_names_stand_for_versions_wherever_a_run_is_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    first, second = register(Path("models/chat"), 1, 2)
    _move(Path("models/chat"), first.id)
    for name in ("chat@production", f"chat@{first.id[:6]}", "models/chat@production"):
        assert locate(name) == Path(f"models/chat/versions/{first.id}/checkpoints/step-000000001")
    _move(Path("models/chat"), second.id)
    assert locate("chat@production").name == "step-000000002"
    with pytest.raises(CheckpointError, match=r"no alias or version 'prod' \(allowed: production, .*models list"):
        locate("chat@prod")
    with pytest.raises(CheckpointError, match=r"no registered model 'chit' \(allowed: chat\)"):
        locate("chit@production")
    shutil.copytree("models/run-1", "chat@production")  # somebody's own folder
    assert locate("chat@production") == Path("chat@production/checkpoints/step-000000001")


@pytest.mark.parametrize("alias", ["", "a b", "../x", "beef01", "日本", "1st"])
def test_an_alias_is_a_word(tmp_path: Path, alias: str) -> None:
    folder = tmp_path / "chat"
    (version,) = register(folder, 1)
    with pytest.raises(ConfigError, match="An alias is a word"):
        promote(folder, version.id, alias, who="ada")


def test_an_altered_history_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    first, second = register(folder, 1, 2)
    _move(folder, first.id)
    _move(folder, second.id)
    file = folder / "history.jsonl"
    whole = file.read_text()
    file.write_text(whole.replace("ada", "eve", 1))
    with pytest.raises(DataError, match="is missing or was altered"):
        read_history(folder)
    assert locate(f"{folder}@production").name == "step-000000002"  # what counts is not affected
    file.write_text(whole)
    assert len(read_history(folder)) == 2


def _check_old_or_new(folder: Path, first: str, second: str) -> str:
    """Old or new, with the history that belongs to it; afterwards everything goes on."""
    now = read_aliases(folder).versions["production"]
    assert now in (first, second)
    assert [each.version for each in read_history(folder)] == [first, second][: 1 + (now == second)]
    if now == first:
        _move(folder, second)
    assert rollback(folder, "production", who="bob", why="").version == first
    assert [each.version for each in read_history(folder)] == [first, second, first]
    left = {path.name for path in folder.iterdir()}
    assert left == {"versions", "aliases.json", "history.jsonl", "registry.lock"}
    return now


@pytest.mark.parametrize("kinds", [["SIGKILL"], pytest.param(["ENOSPC", "EIO"], marks=pytest.mark.slow)])
def test_a_fault_at_any_call_leaves_the_old_or_the_new_alias(tmp_path: Path, kinds: list[str]) -> None:
    folder = tmp_path / "before"
    first, second = (each.id for each in register(folder, 1, 2))
    _move(folder, first)
    command = [sys.executable, "-m", "tests.registry.moving", str(tmp_path), second, *kinds]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=ROOT)
    assert ran.returncode == 0, ran.stderr
    calls = int(ran.stdout)
    assert calls >= 5  # a line, its fsync, the new file, its fsync, the rename, the folder's fsync
    places = [tmp_path / f"{kind}-{at}" for kind in kinds for at in range(1, calls + 1)]
    ends = ["new" if _check_old_or_new(place, first, second) == second else "old" for place in places]
    assert set(ends) == {"old", "new"}
    assert ends[0] == "old"


def test_two_at_once_do_not_lose_a_change(tmp_path: Path) -> None:
    folder = tmp_path / "chat"
    versions = [each.id for each in register(folder, 1, 2)]

    def move(number: int) -> None:
        promote(folder, versions[number % 2], f"alias{number % 4}", who=str(number), why="test", force=True)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(move, range(16)))
    changes = read_history(folder)
    assert {each.alias for each in changes} == {"alias0", "alias1", "alias2", "alias3"}
    assert all(change.previous == before.id for before, change in itertools.pairwise(changes))
