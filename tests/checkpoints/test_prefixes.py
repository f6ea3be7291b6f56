"""The store of shared checkpoints: budget, pins, several writers, and death at any moment."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.checkpoints.folder import read_checkpoint, write_checkpoint
from gpt_lightning.checkpoints.prefixes import Line, Prefix, PrefixStore

LINES: list[Line] = [{"step": 1, "train/loss": 0.5}]


def store_entry(store: PrefixStore, step: int, key: str, *, preferred: bool = False, numbers: int = 1000) -> bool:
    place = store.begin(step, key, LINES)
    if place is None:
        return True
    write_checkpoint(place, step=step, state={"weight": torch.full((numbers,), float(step))})
    return store.commit(place, step, key, LINES, preferred=preferred)


def names(store: PrefixStore) -> list[str]:
    return [f"{entry.step}{entry.key}" for entry in store.entries()]


def take(store: PrefixStore, keys: dict[int, str], owner: str = "run", home: Path | None = None) -> Prefix | None:
    return store.take(keys, lambda _: True, owner, home or store.folder)


def test_the_longest_usable_prefix_is_found(tmp_path: Path) -> None:
    store = PrefixStore(tmp_path / "store")
    for step, key in ((2, "a"), (4, "a"), (4, "b"), (6, "c")):
        assert store_entry(store, step, key)
    found = take(store, {2: "a", 4: "b", 6: "a"})
    assert found is not None
    assert (found.step, found.key, found.read_lines()) == (4, "b", LINES)
    assert read_checkpoint(found.checkpoint)["weight"][0] == 4
    assert take(store, {4: "c"}) is None
    assert store.take({2: "a", 4: "b"}, lambda entry: entry.step < 4, "run", tmp_path) == store.find(2, "a")
    assert store.total_bytes() == sum(f.stat().st_size for e in store.entries() for f in e.checkpoint.iterdir())


def test_a_damaged_entry_is_dropped(tmp_path: Path) -> None:
    store = PrefixStore(tmp_path / "store")
    store_entry(store, 2, "a")
    store_entry(store, 4, "a")
    file = store.place(4, "a").checkpoint / "state.pt"
    file.write_bytes(file.read_bytes()[:-9] + b"damagedxx")
    found = take(store, {2: "a", 4: "a"})
    assert found is not None
    assert found.step == 2
    assert names(store) == ["2a"]


def test_lines_are_only_ever_added(tmp_path: Path) -> None:
    store = PrefixStore(tmp_path / "store")
    store_entry(store, 2, "a")
    more: list[Line] = [{"step": 1, "val/loss": 0.25}, {"step": 1, "train/loss": 0.5}]
    assert store.begin(2, "a", more) is None
    assert store.place(2, "a").read_lines() == [LINES[0], more[0]]


def test_least_recently_used_goes_first_and_pins_stay(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store_entry(PrefixStore(folder), 1, "a")
    one = PrefixStore(folder).total_bytes()
    store = PrefixStore(folder, budget_bytes=4 * one)
    for step, key in ((2, "a"), (3, "a"), (4, "a")):
        store_entry(store, step, key)
    for age, entry in enumerate(reversed(store.entries())):
        os.utime(entry.path / "entry.json", (1000 - age, 1000 - age))
    home = tmp_path / "run"
    home.mkdir()
    assert take(store, {1: "a"}, home=home) is not None  # now the most recently used, and pinned
    assert store_entry(store, 5, "a")
    assert names(store) == ["1a", "3a", "4a", "5a"]
    store.pin("other", home, [store.place(3, "a")])
    assert store_entry(store, 6, "a", numbers=2200)
    assert names(store) == ["1a", "3a", "6a"]
    assert store.total_bytes() <= 4 * one
    # Nothing that may go is large enough: nothing goes.
    assert not store_entry(store, 7, "a", numbers=9000)
    assert names(store) == ["1a", "3a", "6a"]
    # A pin ends with its release, or with the folder of the run.
    store.release("run")
    home.rmdir()
    assert store_entry(store, 8, "a", numbers=3800)
    assert names(store) == ["8a"]
    assert not [path for path in folder.iterdir() if path.name.startswith((".writing", ".trash"))]


def test_entries_that_others_share_go_last_and_only_for_their_like(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store_entry(PrefixStore(folder), 1, "a", preferred=True)
    store = PrefixStore(folder, budget_bytes=2 * PrefixStore(folder).total_bytes())
    assert store_entry(store, 2, "a")
    assert store_entry(store, 3, "a")
    assert names(store) == ["1a", "3a"]
    assert store_entry(store, 4, "a", preferred=True)
    assert names(store) == ["1a", "4a"]
    assert not store_entry(store, 5, "a")
    assert names(store) == ["1a", "4a"]
    assert store_entry(store, 6, "a", preferred=True)
    assert names(store) == ["4a", "6a"]


def _store_many(folder: Path, budget: int, barrier: Any) -> None:
    store = PrefixStore(folder, budget)
    for step in range(1, 9):
        barrier.wait()
        store_entry(store, step, "same")
        store_entry(store, step, str(os.getpid() % 2))
        found = take(store, {step: "same"}, owner=str(os.getpid()))
        assert found is None or read_checkpoint(found.checkpoint)["weight"][0] == step
        store.release(str(os.getpid()))


def test_two_processes_store_the_same_at_the_same_time(tmp_path: Path) -> None:
    folder = tmp_path / "store"
    store_entry(PrefixStore(folder), 9, "same")
    budget = 6 * PrefixStore(folder).total_bytes()
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(2)
    workers = [context.Process(target=_store_many, args=(folder, budget, barrier)) for _ in range(2)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(60)
    assert [worker.exitcode for worker in workers] == [0, 0]
    store = PrefixStore(folder)
    assert 0 < store.total_bytes() <= budget
    for entry in store.entries():
        assert read_checkpoint(entry.checkpoint)["weight"][0] == entry.step
    assert not [path for path in folder.iterdir() if path.name.startswith((".writing", ".trash"))]


def _die_at(folder: Path, budget: int, name: str, number: int) -> None:
    """Store an entry that drives out another, and die in the ``number``-th call of ``os.<name>``."""
    real, left = getattr(os, name), [number]

    def call(*args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return real(*args, **kwargs)

    setattr(os, name, call)
    store_entry(PrefixStore(folder, budget), 4, "new", preferred=True)


@pytest.mark.parametrize(
    ("name", "number"),
    [("fsync", 1), ("fsync", 3), ("fsync", 6), ("rename", 1), ("rename", 2), ("rename", 3), ("utime", 1), ("mkdir", 2)],
)
def test_killed_in_a_store(tmp_path: Path, name: str, number: int) -> None:
    folder = tmp_path / "store"
    store_entry(PrefixStore(folder), 2, "a")
    store_entry(PrefixStore(folder), 3, "a")
    budget = PrefixStore(folder).total_bytes() + 10
    process = multiprocessing.get_context("fork").Process(target=_die_at, args=(folder, budget, name, number))
    process.start()
    process.join(60)
    assert process.exitcode in (0, -signal.SIGKILL)
    store = PrefixStore(folder, budget)
    for entry in store.entries():
        assert read_checkpoint(entry.checkpoint)["weight"][0] == entry.step
    assert store.total_bytes() <= budget
    # The next one finds the lock free and clears away what was left.
    assert take(store, {3: "a"}, home=tmp_path) is not None
    assert not [path for path in folder.iterdir() if path.name.startswith((".writing", ".trash"))]
    assert store_entry(store, 4, "new", preferred=True)
    assert "4new" in names(store)


@pytest.mark.parametrize("damage", ["", "{", '{"bytes": "x"}', None])
def test_a_damaged_record_stands_in_nobodys_way(tmp_path: Path, damage: str | None) -> None:
    store = PrefixStore(tmp_path / "store", budget_bytes=100_000)
    store_entry(store, 2, "a")
    for name in ("entry.json", "lines.jsonl"):
        file = store.place(2, "a").path / name
        file.unlink() if damage is None else file.write_text(damage)
    store = PrefixStore(tmp_path / "store", budget_bytes=100_000)
    assert store_entry(store, 4, "b"), "the next commit"
    if damage != '{"bytes": "x"}':
        assert store.begin(2, "a", LINES) is None
        assert store.place(2, "a").read_lines() == LINES, "another run with this key knows them"
    assert store.total_bytes() > 8000
    (store.folder / "pins").mkdir()
    (store.folder / "pins" / "run.json").write_text(damage or "")
    assert store_entry(store, 6, "c", numbers=20_000), "a damaged pin keeps nothing"


def test_lines_that_cannot_be_read_are_not_begun_with(tmp_path: Path) -> None:
    store = PrefixStore(tmp_path / "store")
    store_entry(store, 2, "a")
    store_entry(store, 4, "a")
    (store.place(4, "a").path / "lines.jsonl").write_text("{")
    found = store.take({2: "a", 4: "a"}, lambda entry: bool(entry.read_lines()), "run", tmp_path)
    assert found == store.find(2, "a")


def test_a_pin_holds_on_every_machine_that_reaches_the_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    store = PrefixStore(here / "prefixes", budget_bytes=10_000)
    home = here / "trials" / "00001"
    home.mkdir(parents=True)
    store_entry(store, 2, "a")
    name = store.pin_name(home)
    store.pin(name, home, store.entries())
    here.rename(there)  # the same disk, mounted elsewhere
    moved = PrefixStore(there / "prefixes", budget_bytes=10_000)
    assert moved.pin_name(there / "trials" / "00001") == name
    assert not store_entry(moved, 4, "b", numbers=2000)
    assert names(moved) == ["2a"]
    (there / "trials" / "00001").rmdir()
    with monkeypatch.context() as patch:
        patch.setattr("gpt_lightning.checkpoints.prefixes.socket.gethostname", lambda: "another")
        assert not store_entry(moved, 4, "b", numbers=2000), "whose run may be where this machine does not see it"
    assert store_entry(moved, 4, "b", numbers=2000)


def test_the_disk_keeps_room_for_the_runs_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    free = [10**12]
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage._replace(total=100_000, free=free[0]))
    store = PrefixStore(tmp_path / "store", budget_bytes=10**12)
    store_entry(store, 2, "a")
    free[0] = 9 * store.total_bytes() - 1
    assert not store_entry(store, 4, "b", numbers=9000), "larger than what could go for it"
    free[0] = 10**12
    assert store_entry(store, 6, "c")
    free[0] = 0
    store.pin("run", tmp_path, store.entries())
    assert store.begin(8, "d", LINES) is None
    assert not list(store.folder.glob(".writing-*"))
