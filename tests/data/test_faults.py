"""Preparing under injected faults: a store is whole or not there, and the next call makes it as if nothing had been."""

from __future__ import annotations

import json
import random
from pathlib import Path

import pytest

from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.store.shards import TokenStore
from tests.checkpoints.test_faults import count_calls, run_under
from tests.faults import Fault, install

CODES = {"ENOSPC": {0, 3, 4}, "EIO": {0, 3, 4}, "SIGKILL": {0, -9}, "SIGSTOP": {0}}


def make_store(place: Path, fault: Fault) -> None:
    """The store ``stores/s`` of a hundred small documents, by one process."""
    source = place / "x.jsonl"
    source.write_text("".join(json.dumps({"text": f"document {number}"}) + "\n" for number in range(100)))
    (place / "stores").mkdir(exist_ok=True)
    injector = install(fault, place / "stores")
    find_or_prepare(PrepareSettings(str(source), "bytes"), store=place / "stores" / "s", workers=1)
    if not fault.at:
        (place / "told").write_text(f"calls {injector.count}\n")


def check_prepare(place: Path, expected: list[str], fault: Fault) -> None:
    place.mkdir()
    code = run_under(place, make_store, fault)
    assert code in CODES[fault.kind], (fault, code)
    if (place / "stores" / "s").exists():
        assert hashes(place) == expected
    assert run_under(place, make_store, Fault("EIO", 0)) == 0
    assert hashes(place) == expected
    assert sorted(child.name for child in (place / "stores").iterdir()) == ["s", "s.lock"]


def hashes(place: Path) -> list[str]:
    """Of the files of tokens, which the manifest states and ``verify`` compares."""
    store = TokenStore.open(place / "stores" / "s")
    store.verify()
    return [store.manifest.splits[name].sha256 for name in ("train", "val")]


def _points(calls: int, count: int, seed: int) -> list[Fault]:
    draw = random.Random(seed)
    return [Fault(draw.choice(["ENOSPC", "EIO", "SIGKILL"]), draw.randint(1, calls)) for _ in range(count)]


def test_preparing_at_a_few_points(tmp_path: Path) -> None:
    calls = count_calls(tmp_path / "count", make_store)
    expected = hashes(tmp_path / "count")
    for number, fault in enumerate(_points(calls, 5, seed=1)):
        check_prepare(tmp_path / f"{number}-{fault.kind}-{fault.at}", expected, fault)


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_preparing_at_two_hundred_points(tmp_path: Path) -> None:
    calls = count_calls(tmp_path / "count", make_store)
    expected = hashes(tmp_path / "count")
    for number, fault in enumerate(_points(calls, 200, seed=2)):
        check_prepare(tmp_path / f"{number}-{fault.kind}-{fault.at}", expected, fault)
