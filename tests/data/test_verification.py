from __future__ import annotations

import os
from pathlib import Path

import pytest

from gpt_lightning.data import verification
from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.manifest import ShardRecord
from gpt_lightning.data.shards import TokenStore
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
