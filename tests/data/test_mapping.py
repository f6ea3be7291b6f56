"""More files than a process may hold open: mapped when they are looked at, and let go again."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gpt_lightning.data.store import mapping
from gpt_lightning.data.store.mapping import MappedFile, count_mappings
from gpt_lightning.data.stream.packing import Pack
from gpt_lightning.data.stream.stream import TrainStream
from gpt_lightning.errors import DataError
from tests.data.stores import write_store

needs_descriptors = pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="counts descriptors through /proc")


def count_open(folder: Path) -> int:
    found = 0
    for descriptor in Path("/proc/self/fd").iterdir():
        try:
            found += str(folder) in os.readlink(descriptor)
        except OSError:
            continue
    return found


@needs_descriptors
def test_a_store_of_many_shards_holds_few_files_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mapping, "count_mappings", lambda: 16)
    store, expected = write_store(tmp_path / "s", [20] * 200, shard_tokens=21)
    split = store.split("train")
    assert len(split.record.shards) == 200
    starts = np.random.default_rng(0).integers(0, len(expected) - 40, 300)
    rows = split.gather(starts, 40)
    assert rows.tolist() == [expected[start : start + 40] for start in starts]
    assert split.document_ends.tolist() == list(range(21, 4201, 21))
    packed = TrainStream(split, 41, 0, packing=Pack()).windows(0, 90)
    assert packed.shape == (90, 42)
    gc.collect()
    assert count_open(store.path) <= 16
    del split, store
    gc.collect()
    assert count_open(tmp_path) == 0


def test_a_file_that_was_replaced_is_not_taken_for_the_old_one(tmp_path: Path) -> None:
    path = tmp_path / "x.bin"
    np.arange(10, dtype="<u2").tofile(path)
    file = MappedFile(path, "<u2", 2, 9)
    assert file.load().tolist() == list(range(1, 10))
    file.let_go()
    np.arange(10, 20, dtype="<u2").tofile(tmp_path / "y.bin")
    os.replace(tmp_path / "y.bin", path)
    with pytest.raises(DataError, match=r"x\.bin was replaced while it was in use"):
        file.load()
    path.unlink()
    with pytest.raises(DataError, match=r"Cannot map .*x\.bin"):
        file.load()


def test_the_allowance_follows_the_limit_of_the_process() -> None:
    assert 16 <= count_mappings() <= 8192


_MANY = """
import sys, resource
from pathlib import Path
import numpy as np
resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
from gpt_lightning.data.store.external import ForeignStore, find_token_files
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
store = ForeignStore(find_token_files(sys.argv[1]), ByteTokenizer())
split = store.split("train")
print(split.num_tokens, int(split.gather(np.arange(0, 20_000, 100), 50).sum()), len(split.document_ends))
"""


@pytest.mark.skipif(not hasattr(os, "sysconf"), reason="limits of POSIX")
def test_more_token_files_than_descriptors(tmp_path: Path) -> None:
    for number in range(200):
        (np.arange(100, dtype="<u2") + number % 7).tofile(tmp_path / f"{number:04d}.bin")
    expected = np.concatenate([np.arange(100) + number % 7 for number in range(200)])
    rows = sum(int(expected[start : start + 50].sum()) for start in range(0, 20_000, 100))
    done = subprocess.run([sys.executable, "-c", _MANY, str(tmp_path)], capture_output=True, text=True, timeout=100)
    assert done.stdout.split() == ["20000", str(rows), "200"], done.stderr
