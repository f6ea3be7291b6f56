from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.store import verification
from gpt_lightning.data.store.manifest import ShardRecord
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.errors import DataError
from tests.data.stores import write_store


@pytest.fixture
def checked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the shards whose content was read."""
    names: list[str] = []
    verify = verification.verify_shard

    def count(folder: Path, shard: ShardRecord) -> None:
        names.append(shard.tokens_file)
        verify(folder, shard)

    monkeypatch.setattr(verification, "verify_shard", count)
    return names


def test_a_shard_is_read_once_until_it_changes(checked: list[str], tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", [10, 10], shard_tokens=11)
    both = ["tokens-train-00000.bin", "tokens-train-00001.bin"]
    store.split("train")
    assert checked == both
    TokenStore.open(store.path).split("train")
    assert checked == both
    os.utime(store.path / both[1], ns=(1, 1))
    TokenStore.open(store.path).split("train")
    assert checked == [*both, both[1]]


def wait_for_verification() -> None:
    for thread in threading.enumerate():
        if thread.name == "verification":
            thread.join(timeout=10)


def test_the_rest_of_a_large_split_is_read_while_training_goes_on(
    checked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verification, "AT_ONCE_BYTES", 1)
    begin = threading.Event()
    run_behind = verification.ChecksumCache.run_behind
    monkeypatch.setattr(verification.ChecksumCache, "run_behind", lambda look: begin.wait(10) and run_behind(look))
    store, _ = write_store(tmp_path / "s", [10, 10, 10], shard_tokens=11)
    last = store.path / "tokens-train-00002.bin"
    last.write_bytes(last.read_bytes()[:-1] + b"\x7f")
    split = store.split("train")
    assert checked == ["tokens-train-00000.bin"]
    split.gather(np.array([0]), 4)
    begin.set()
    wait_for_verification()
    assert len(checked) == 3
    for read in (
        lambda: split.gather(np.array([0]), 4),
        lambda: split.copy_runs(np.empty(2, split.dtype), np.array([0]), np.array([0]), np.array([2])),
    ):
        with pytest.raises(DataError, match=r"what was trained .* in doubt: .*00002.bin is damaged: CRC-32"):
            read()
    # What is whole was remembered, what is not is read again.
    with pytest.raises(DataError, match="damaged"):
        TokenStore.open(store.path).split("train")
    assert checked[3:] == [last.name]


@pytest.mark.parametrize("content", ["", "[]", '{"tokens-train-00000.bin": 3}'])
def test_a_spoiled_memory_only_means_reading_again(content: str, checked: list[str], tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", [10])
    store.split("train")
    (memory,) = (cache_folder() / "verified").iterdir()
    memory.write_text(content)
    TokenStore.open(store.path).split("train")
    assert len(checked) == 2


def test_a_cache_that_cannot_be_written_only_means_reading_again(
    checked: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, _ = write_store(tmp_path / "s", [10])
    (tmp_path / "file").touch()
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(tmp_path / "file"))
    for _ in range(2):
        TokenStore.open(store.path).split("train")
    assert len(checked) == 2
