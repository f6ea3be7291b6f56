"""Stores behind a URL: fsspec's memory file system, and a real HTTP server on this machine."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import fsspec  # type: ignore[import-untyped]
import numpy as np
import pytest

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.store import shard_cache
from gpt_lightning.data.store.remote import RemoteStore, is_url
from gpt_lightning.data.store.shard_cache import cache_limit_bytes
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.data.stream.packing import Pack
from gpt_lightning.data.stream.stream import EvaluationWindows, TrainStream
from gpt_lightning.errors import ConfigError, DataError
from tests.data.stores import write_store

LENGTHS = [40, 3, 90, 17, 60, 60, 25, 80] * 4


@pytest.fixture
def local(tmp_path: Path) -> TokenStore:
    """13 shards of about 120 tokens."""
    return write_store(tmp_path / "made", LENGTHS, shard_tokens=130)[0]


@pytest.fixture
def url(local: TokenStore) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    files.put(str(local.path), "/bucket/store", recursive=True)
    yield "memory://bucket/store"
    files.rm("/bucket", recursive=True)


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shard_cache, "_PAUSES_SECONDS", ())


def copies() -> list[str]:
    return sorted(path.name for path in (cache_folder() / "remote").glob("*/[!.]*"))


def test_a_far_store_is_read_like_a_local_one(local: TokenStore, url: str) -> None:
    far = RemoteStore(url)
    assert far.fingerprint == local.fingerprint
    assert copies() == []
    for packing in (None, Pack()):
        options: Any = {} if packing is None else {"packing": packing, "documents": True}
        here, there = (TrainStream(store.split("train"), 16, seed=1, **options) for store in (local, far))
        count = here.windows_per_epoch
        assert there.windows(0, 2 * count).tolist() == here.windows(0, 2 * count).tolist()
    rows, expected = (
        [batch.tokens.tolist() for batch in EvaluationWindows(store.split("train"), 50).batches(4)]
        for store in (far, local)
    )
    assert rows == expected
    far.verify()


def test_verify_looks_at_what_is_far_away_and_not_at_copies(url: str) -> None:
    far = RemoteStore(url)
    far.verify()
    name = "bucket/store/tokens-train-00003.bin"
    files = fsspec.filesystem("memory")
    content = bytearray(files.cat(name))
    content[-1] ^= 1
    files.pipe(name, bytes(content))
    with pytest.raises(DataError, match=r"tokens-train-00003\.bin cannot be fetched: DataError: damaged: CRC-32"):
        RemoteStore(url).verify()


def test_only_what_is_read_is_fetched_once(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    fetched: list[str] = []
    real = shard_cache.RemoteFolder.copy

    def copy(self: shard_cache.RemoteFolder, name: str, target: Path) -> None:
        fetched.append(name)
        real(self, name, target)

    monkeypatch.setattr(shard_cache.RemoteFolder, "copy", copy)
    split = RemoteStore(url).split("train")
    split.gather(np.array([5, 9], dtype=np.int64), 20)
    assert fetched == ["manifest.json", "tokens-train-00000.bin"] == ["manifest.json", *copies()]
    RemoteStore(url).split("train").gather(np.array([5, 9], dtype=np.int64), 20)
    assert fetched[2:] == ["manifest.json"]


def test_the_next_shards_are_fetched_ahead(local: TokenStore, url: str) -> None:
    split = RemoteStore(url).split("train")
    border = local.manifest.splits["train"].shards[0].num_tokens
    split.expect(np.array([border, 0, border + 5], dtype=np.int64))
    wait(split)
    assert copies() == ["tokens-train-00000.bin", "tokens-train-00001.bin"]


def test_a_stream_announces_what_it_will_read(url: str) -> None:
    stream = TrainStream(RemoteStore(url).split("train"), 16, shuffle_tokens=250)
    batches = stream.super_batches(0, 100, batch_size=1, gather_batches=1)
    rows = next(batches)
    assert rows[0].position == 0
    wait(stream._split)
    held = len(copies())
    assert 2 <= held <= 5
    assert len(list(batches)) == 99
    wait(stream._split)
    assert len(copies()) > held


def wait(split: Any) -> None:
    split._shards._cache.wait()


def test_shuffling_in_stretches_stays_with_few_shards_and_shows_all(local: TokenStore) -> None:
    stream = TrainStream(local.split("train"), 16, seed=2, shuffle_tokens=200)
    count, stretch = stream.windows_per_epoch, 200 // 16
    rows = stream.windows(0, count).tolist()
    places = {
        str(row): place
        for place, row in enumerate(TrainStream(local.split("train"), 16, seed=2).windows(0, count).tolist())
    }
    assert sorted(map(str, rows)) == sorted(places)
    tokens = local.split("train").gather(np.array([0], dtype=np.int64), local.split("train").num_tokens)[0].tolist()
    starts = [find(tokens, row) for row in rows]
    for first in range(0, count - stretch, stretch):
        part = starts[first : first + stretch]
        assert max(part) - min(part) < 200
    assert starts != sorted(starts)


def find(tokens: list[int], row: list[int]) -> int:
    return next(place for place in range(len(tokens)) if tokens[place : place + len(row)] == row)


def test_the_cache_keeps_to_its_limit(local: TokenStore, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_CACHE_GB", str(5000 / 1e9))
    far = RemoteStore(url)
    stream, expected = TrainStream(far.split("train"), 16), TrainStream(local.split("train"), 16)
    for sample in range(40):
        assert stream.windows(sample, 1).tolist() == expected.windows(sample, 1).tolist()
        assert sum(path.stat().st_size for path in far.path.glob("[!.]*")) <= 5000
        assert sum(array.nbytes for array in far._cache._mapped.values()) <= 5000


def test_a_store_that_would_not_fit_asks_for_stretches(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_CACHE_GB", str(2000 / 1e9))
    far = RemoteStore(url)
    with pytest.raises(
        ConfigError, match=r"the cache holds 2e-06 GB: got None \(allowed: data\.shuffle_tokens up to \d+"
    ):
        far.check_cache(None)
    far.check_cache(200)
    monkeypatch.setenv("GPT_LIGHTNING_CACHE_GB", "1")
    far.check_cache(None)


@pytest.mark.parametrize("text", ["0", "-1", "much", "nan", "inf"])
def test_a_wrong_limit_is_refused(text: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GPT_LIGHTNING_CACHE_GB", text)
    with pytest.raises(ConfigError, match=rf"GPT_LIGHTNING_CACHE_GB is a size: got '{text}'"):
        cache_limit_bytes()


@pytest.mark.parametrize(("position", "message"), [(1100, "CRC-32 [0-9a-f]{8} expected"), (None, "is truncated")])
def test_a_damaged_shard_never_reaches_the_cache(
    position: int | None, message: str, local: TokenStore, url: str
) -> None:
    content = bytearray((local.path / "tokens-train-00000.bin").read_bytes())
    if position is None:
        del content[-2:]
    else:
        content[position] ^= 1
    fsspec.filesystem("memory").pipe("/bucket/store/tokens-train-00000.bin", bytes(content))
    with pytest.raises(DataError, match=rf"store/tokens-train-00000\.bin cannot be fetched: DataError: .*{message}"):
        RemoteStore(url).split("train").gather(np.array([0], dtype=np.int64), 5)
    assert copies() == []


def test_a_copy_that_a_crash_cut_short_is_fetched_again(local: TokenStore, url: str) -> None:
    start = np.array([0], dtype=np.int64)
    far = RemoteStore(url)
    expected = far.split("train").gather(start, 5).tolist()
    (far.path / "tokens-train-00000.bin").unlink()
    (far.path / "tokens-train-00000.bin").write_bytes(b"short")
    assert RemoteStore(url).split("train").gather(start, 5).tolist() == expected


def test_an_outage_is_waited_out(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real, failures = shard_cache.RemoteFolder.copy, [OSError("reset"), TimeoutError("slow")]

    def copy(self: shard_cache.RemoteFolder, name: str, target: Path) -> None:
        if failures and name.startswith("tokens"):
            raise failures.pop()
        real(self, name, target)

    monkeypatch.setattr(shard_cache.RemoteFolder, "copy", copy)
    monkeypatch.setattr(shard_cache, "_PAUSES_SECONDS", (0.0, 0.0))
    assert RemoteStore(url).split("train").gather(np.array([0], dtype=np.int64), 5).shape == (1, 5)
    assert failures == []


def test_what_is_no_store_is_named(url: str) -> None:
    with pytest.raises(DataError, match=r"No store can be read at memory://bucket/other: .*manifest\.json is missing"):
        RemoteStore("memory://bucket/other")
    with pytest.raises(DataError, match=r"nothing://x cannot be opened: Protocol not known: nothing"):
        RemoteStore("nothing://x")
    assert [is_url(place) for place in ("s3://a/b", "memory://a", "/a/b", "a", "C:/x")] == [True, True] + [False] * 3


def test_over_http(local: TokenStore) -> None:
    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, format: str, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(local.path.parent)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        stream = TrainStream(RemoteStore(f"http://127.0.0.1:{server.server_port}/made").split("train"), 16)
        assert stream.windows(0, 30).tolist() == TrainStream(local.split("train"), 16).windows(0, 30).tolist()
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
