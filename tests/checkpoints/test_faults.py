"""Saves and commits under injected faults: nothing lost, nothing believed that is not whole, every end named truly.

What a child has been told is saved it writes into ``told``, past the injector. Afterwards, whatever happened:

    every checkpoint that shows is whole, and is the one that its name says
    the newest is at least the last one that was told, and the best one of those told is there
    the next start sweeps what is left over, and ends as if nothing had happened
"""

from __future__ import annotations

import json
import os
import random
import time
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.checkpoints.best import VALIDATION, Validation, point_to_best, read_best
from gpt_lightning.checkpoints.checkpoint_dir import find_newest_valid, rotate, sweep
from gpt_lightning.checkpoints.durable import list_checkpoints, step_of, verify_checkpoint
from gpt_lightning.checkpoints.folder import read_checkpoint, write_checkpoint
from gpt_lightning.checkpoints.prefixes import PrefixStore
from gpt_lightning.errors import MachineError
from tests.faults import Fault, install, wake
from tests.training.forked import start_child

VALUES = {1: 3.0, 2: 1.0, 3: 2.0, 4: 1.5, 5: 0.5}
"""Validation losses: the second step is best for long, and would be rotated away."""
EXPECTED_CODES = {"ENOSPC": {0, 4}, "EIO": {0, 4}, "SIGKILL": {0, -9}, "SIGSTOP": {0}}
"""0 where the fault met what can be done later as well."""


def _state(step: int) -> dict[str, Any]:
    return {"step": step, "weight": torch.full((64,), float(step))}


def _tell(place: Path, text: str) -> None:
    """Past the injector, which watches what Python's ``open`` returns."""
    descriptor = os.open(place / "told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(descriptor, f"{text}\n".encode())
    os.close(descriptor)


def save_all(place: Path, fault: Fault | None) -> None:
    """Five saves with what goes with them, from where an earlier start got to."""
    shelf = place / "shelf"
    shelf.mkdir(exist_ok=True)
    sweep(shelf)
    point_to_best(shelf)
    injector = None if fault is None else install(fault, shelf)
    newest = find_newest_valid(shelf).path
    for step in range(1 + ((newest and step_of(newest)) or 0), 6):
        facts = {VALIDATION: Validation(step, "val/loss", VALUES[step]).facts()}
        write_checkpoint(shelf, step=step, state=_state(step), facts=facts)
        _tell(place, str(step))
        try:
            point_to_best(shelf)
            rotate(shelf, keep_last=2)
        except OSError:
            pass  # as ``Saving`` does
    if injector is not None:
        _tell(place, f"calls {injector.count}")


def run_under(place: Path, body: Any, fault: Fault, timeout: float = 60.0) -> int:
    """Exit code of ``body`` under a fault; a child that is stopped is woken."""
    child = start_child(place, body, place, fault)
    end = time.monotonic() + timeout
    while child.exitcode is None and time.monotonic() < end:
        wake(child.pid)
        child.join(0.02)
    assert child.exitcode is not None, "the child did not end"
    return int(child.exitcode)


def count_calls(place: Path, body: Any) -> int:
    place.mkdir()
    assert run_under(place, body, Fault("EIO", 0)) == 0
    return int((place / "told").read_text().splitlines()[-1].removeprefix("calls "))


def told_steps(place: Path) -> list[int]:
    lines = (place / "told").read_text().splitlines() if (place / "told").exists() else []
    return [int(line) for line in lines if line.isdigit()]


def check_saves(place: Path, fault: Fault) -> None:
    place.mkdir()
    code = run_under(place, save_all, fault)
    shelf, told = place / "shelf", told_steps(place)
    assert code in EXPECTED_CODES[fault.kind], code
    if code == 4:
        assert "Could not save checkpoint" in (place / "error.txt").read_text()
    for path in list_checkpoints(shelf):
        verify_checkpoint(path)
        assert torch.equal(read_checkpoint(path)["weight"], _state(step_of(path) or 0)["weight"])
    newest = find_newest_valid(shelf)
    assert newest.skipped == []
    assert ((newest.path and step_of(newest.path)) or 0) >= max(told, default=0)
    best = read_best(shelf)
    if told:
        assert best is not None
        assert best["value"] <= min(VALUES[step] for step in told)

    assert run_under(place, save_all, Fault("EIO", 0)) == 0
    assert [step_of(path) for path in list_checkpoints(shelf)][-2:] == [4, 5]
    assert json.loads((shelf / "best.json").read_text())["checkpoint"] == "step-000000005"
    assert [path.name for path in shelf.iterdir() if path.name.startswith(".")] == []


def _points(calls: int, count: int, seed: int) -> list[Fault]:
    draw = random.Random(seed)
    kinds = ["ENOSPC", "EIO", "SIGKILL", "SIGKILL", "SIGSTOP"]
    return [Fault(draw.choice(kinds), draw.randint(1, calls)) for _ in range(count)]


def test_saves_at_a_few_points(tmp_path: Path) -> None:
    calls = count_calls(tmp_path / "count", save_all)
    assert calls > 50
    for number, fault in enumerate(_points(calls, 4, seed=1)):
        check_saves(tmp_path / f"{number}-{fault.kind}-{fault.at}", fault)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_saves_at_six_hundred_points(tmp_path: Path) -> None:
    calls = count_calls(tmp_path / "count", save_all)
    for number, fault in enumerate(_points(calls, 600, seed=2)):
        check_saves(tmp_path / f"{number}-{fault.kind}-{fault.at}", fault)


def commit_all(place: Path, fault: Fault | None) -> None:
    """Three entries of a store of prefixes; an error of the disk is told, and the run would go on without."""
    store = PrefixStore(place / "store")
    store.folder.mkdir(exist_ok=True)
    sweep(store.folder)
    injector = None if fault is None else install(fault, store.folder)
    for step in (1, 2, 3):
        lines = [{"step": step, "train/loss": 1.0}]
        try:
            begun = store.begin(step, "key", lines)
            if begun is not None:
                write_checkpoint(begun, step=step, state=_state(step))
                store.commit(begun, step, "key", lines, preferred=True)
        except (MachineError, OSError):
            continue
        _tell(place, str(step))
    if injector is not None:
        _tell(place, f"calls {injector.count}")


def check_commits(place: Path, fault: Fault) -> None:
    place.mkdir()
    assert run_under(place, commit_all, fault) in EXPECTED_CODES[fault.kind]
    store, told = PrefixStore(place / "store"), told_steps(place)
    entries = store.entries()
    assert {entry.step for entry in entries} >= set(told)
    for entry in entries:
        verify_checkpoint(entry.checkpoint)
        assert entry.read_lines() == [{"step": entry.step, "train/loss": 1.0}]
    assert run_under(place, commit_all, Fault("EIO", 0)) == 0
    assert [entry.step for entry in store.entries()] == [1, 2, 3]


def test_commits_of_prefixes_at_a_few_points(tmp_path: Path) -> None:
    calls = count_calls(tmp_path / "count", commit_all)
    for number, fault in enumerate(_points(calls, 3, seed=3)):
        check_commits(tmp_path / f"{number}-{fault.kind}-{fault.at}", fault)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_commits_of_prefixes_at_two_hundred_points(tmp_path: Path) -> None:
    calls = count_calls(tmp_path / "count", commit_all)
    for number, fault in enumerate(_points(calls, 200, seed=4)):
        check_commits(tmp_path / f"{number}-{fault.kind}-{fault.at}", fault)
