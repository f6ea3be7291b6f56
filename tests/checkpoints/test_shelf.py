"""Newest valid checkpoint, best pointer, rotation, sweeping, and what a user may type."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from gpt_lightning.checkpoints.best import read_best, write_best
from gpt_lightning.checkpoints.checkpoint_dir import discard_after, find_newest_valid, locate, rotate, sweep
from gpt_lightning.checkpoints.durable import STATE_FILE, checkpoint_name, list_checkpoints
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.errors import CheckpointError
from gpt_lightning.files.processes import ProcessIdentity


def fill(shelf: Path, *steps: int) -> None:
    for step in steps:
        write_checkpoint(shelf, step=step, state={"step": step})


def steps(shelf: Path) -> list[int]:
    return [int(path.name.removeprefix("step-")) for path in list_checkpoints(shelf)]


def test_newest_valid_passes_over_damage(tmp_path: Path) -> None:
    fill(tmp_path, 9, 10, 100)
    (tmp_path / checkpoint_name(100) / STATE_FILE).write_bytes(b"x")
    found = find_newest_valid(tmp_path)
    assert found.path == tmp_path / checkpoint_name(10)
    assert len(found.skipped) == 1
    assert "step-000000100" in found.skipped[0]


def test_rotation_keeps_the_newest_and_the_best(tmp_path: Path) -> None:
    fill(tmp_path, 1, 2, 3, 4, 5)
    write_best(tmp_path, step=2, metric="val/loss", value=1.5)
    rotate(tmp_path, keep_last=2)
    assert steps(tmp_path) == [2, 4, 5]


def test_best_pointer_to_a_missing_checkpoint_is_no_pointer(tmp_path: Path) -> None:
    fill(tmp_path, 1)
    write_best(tmp_path, step=1, metric="val/loss", value=1.5)
    assert read_best(tmp_path) == {"checkpoint": checkpoint_name(1), "metric": "val/loss", "value": 1.5}
    discard_after(tmp_path, 0)
    assert read_best(tmp_path) is None


def test_sweep_removes_leftovers_of_the_dead_only(tmp_path: Path) -> None:
    here = ProcessIdentity.of(os.getppid())
    dead = tmp_path / f".writing-step-000000001@{replace(here, pid=4194399).mark()}"  # above Linux's largest number
    alive = tmp_path / f".writing-step-000000002@{here.mark()}"
    elsewhere = tmp_path / f".writing-step-000000003@{replace(here, host='gpu-' + here.host).mark()}"
    older = tmp_path / f".writing-step-000000004-{here.host}-4194399"  # as written before 0.9: whose, nobody can tell
    for path in (dead, alive, elsewhere, older):
        path.mkdir()
        (path / "state.pt").touch()
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere, older])
    for path in (alive, elsewhere, older):
        os.utime(path, (0, 0))
    os.utime(older / "state.pt", (0, 0))
    sweep(tmp_path)
    assert sorted(tmp_path.iterdir()) == sorted([alive, elsewhere]), "of another machine: only after long silence"


@pytest.mark.parametrize("typed", ["", "checkpoints", "checkpoints/step-000000002"])
def test_locate_takes_a_run_its_shelf_or_a_checkpoint(tmp_path: Path, typed: str) -> None:
    fill(tmp_path / "checkpoints", 1, 2)
    write_best(tmp_path / "checkpoints", step=1, metric="val/loss", value=1.0)
    assert locate(tmp_path / typed, prefer="last").name == checkpoint_name(2)
    best = 2 if "step" in typed else 1
    assert locate(tmp_path / typed).name == checkpoint_name(best)


def test_a_file_of_weights_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "weights.pt").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"weights.pt is a file.* --init_from .*weights.pt"):
        locate(tmp_path / "weights.pt")


def test_locate_without_checkpoints_says_so(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="No usable checkpoint in"):
        locate(tmp_path)
