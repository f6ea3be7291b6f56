from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gpt_lightning import cli
from gpt_lightning.data.open import open_store
from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare
from gpt_lightning.data.store.manifest import MANIFEST_FILE, read_manifest
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.errors import DataError
from gpt_lightning.files.sealing import seal, unseal
from tests.data.stores import read_like_llm_c, wide_tokenizer, write_store

LENGTHS = [5, 0, 12, 30, 3]


@pytest.mark.parametrize("shard_tokens", [10**6, 20, 1])
def test_an_independent_reader_agrees(shard_tokens: int, tmp_path: Path) -> None:
    store, expected = write_store(tmp_path / "s", LENGTHS, shard_tokens=shard_tokens)
    shards = sorted(store.path.glob("tokens-train-*.bin"))
    assert [token for shard in shards for token in read_like_llm_c(shard)] == expected
    assert len(shards) == {10**6: 1, 20: 3, 1: 5}[shard_tokens]


def test_wide_ids_use_the_other_header(tmp_path: Path) -> None:
    store, expected = write_store(tmp_path / "s", LENGTHS, tokenizer=wide_tokenizer())
    assert read_like_llm_c(store.path / "tokens-train-00000.bin") == expected
    assert max(expected) > 65_535


@pytest.mark.parametrize("shard_tokens", [10**6, 20])
def test_counts_and_document_ends(shard_tokens: int, tmp_path: Path) -> None:
    store, expected = write_store(tmp_path / "s", LENGTHS, shard_tokens=shard_tokens)
    split = store.split("train")
    assert split.num_tokens == len(expected) == 55
    assert split.num_documents == 5
    assert split.num_bytes == 50
    assert split.document_ends.tolist() == [6, 7, 20, 51, 55]
    assert store.manifest.max_id == max(expected)


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data(), shard_tokens=st.integers(1, 80), length=st.integers(1, 30))
def test_gather_equals_slicing(
    data: st.DataObject, shard_tokens: int, length: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    store, expected = write_store(tmp_path_factory.mktemp("x") / "s", LENGTHS, shard_tokens=shard_tokens)
    starts = data.draw(st.lists(st.integers(0, len(expected) - length), max_size=8))
    rows = store.split("train").gather(np.array(starts, dtype=np.int64), length)
    assert rows.tolist() == [expected[start : start + length] for start in starts]
    assert rows.dtype == np.uint16
    assert rows.flags.writeable


def test_the_fingerprint_ignores_paths_and_shard_size_but_no_token(tmp_path: Path) -> None:
    whole, _ = write_store(tmp_path / "a", LENGTHS)
    parts, _ = write_store(tmp_path / "b", LENGTHS, shard_tokens=20)
    other, _ = write_store(tmp_path / "c", LENGTHS, seed=1)
    assert whole.fingerprint == parts.fingerprint != other.fingerprint


def test_the_tokenizer_comes_with_the_store(tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", LENGTHS)
    assert store.tokenizer.decode(store.tokenizer.encode("héllo")) == "héllo"


@pytest.mark.parametrize("kept", [0, 1000, 1024, 1025, -1])
def test_a_truncated_shard_is_found_at_open(kept: int, tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", LENGTHS, shard_tokens=20)
    path = store.path / "tokens-train-00001.bin"
    content = path.read_bytes()
    path.write_bytes(content[:kept])
    found = len(content[:kept])
    with pytest.raises(DataError, match=rf"{path.name} is truncated: {len(content)} bytes expected, {found} found"):
        TokenStore.open(store.path)


@pytest.mark.parametrize("name", ["tokens-train-00000.bin", "docs-train-00000.idx"])
def test_missing_and_lengthened_files_are_found_at_open(name: str, tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", LENGTHS)
    path = store.path / name
    content = path.read_bytes()
    path.write_bytes(content + b"\0")
    with pytest.raises(DataError, match=f"{name} is too long"):
        TokenStore.open(store.path)
    path.unlink()
    with pytest.raises(DataError, match=f"{name} is missing"):
        TokenStore.open(store.path)


@pytest.mark.parametrize("position", [0, 4, 8, 500])
def test_a_foreign_header_is_found_at_open(position: int, tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", LENGTHS)
    flip(store.path / "tokens-train-00000.bin", position)
    with pytest.raises(DataError, match=r"tokens-train-00000.bin has another header"):
        TokenStore.open(store.path)


@pytest.mark.parametrize(("name", "first"), [("tokens-train-00001.bin", 1024), ("docs-train-00001.idx", 0)])
@pytest.mark.parametrize("bit", [0, 7])
def test_every_flipped_byte_is_refused_before_training(name: str, first: int, bit: int, tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", LENGTHS, shard_tokens=20)
    store.split("train")
    path = store.path / name
    for position in range(first, path.stat().st_size, 7):
        flip(path, position, bit)
        with pytest.raises(DataError, match=rf"{name} is damaged: CRC-32 [0-9a-f]{{8}} expected"):
            TokenStore.open(store.path).split("train")
        with pytest.raises(DataError, match=name):
            TokenStore.open(store.path).verify()
        flip(path, position, bit)
    TokenStore.open(store.path).verify()
    TokenStore.open(store.path).split("train")


def flip(path: Path, position: int, bit: int = 0) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 1 << bit
    path.write_bytes(content)


def test_a_wrong_split_is_explained(tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", LENGTHS)
    with pytest.raises(DataError, match=r"has no split: got 'val' \(allowed: train\)\. Set --data.val_fraction"):
        store.split("val")


def test_no_manifest_no_store(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"is not a prepared store: it has no manifest\.json"):
        TokenStore.open(tmp_path)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"format": 1, "fingerprint": "x", "splits": {}}', "\udcff"])
def test_damaged_manifests_are_named(content: str, tmp_path: Path) -> None:
    (tmp_path / MANIFEST_FILE).write_bytes(content.encode("utf-8", "surrogateescape"))
    with pytest.raises(DataError, match=r"manifest.json is damaged"):
        read_manifest(tmp_path)


def test_changed_and_newer_manifests_are_named(tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", LENGTHS)
    path = store.path / MANIFEST_FILE
    data = unseal(json.loads(path.read_text()))
    path.write_text(json.dumps(seal(data | {"format": 3})))
    with pytest.raises(DataError, match=r"store format: got 3 \(allowed: 1 to 2\)"):
        read_manifest(store.path)
    data["splits"]["train"]["sha256"] = "0" * 64
    path.write_text(json.dumps(data))
    with pytest.raises(DataError, match=r"manifest.json was changed"):
        read_manifest(store.path)


def test_every_flipped_bit_of_a_manifest_is_refused(tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", [3], shard_tokens=20)
    path = store.path / MANIFEST_FILE
    whole = path.read_bytes()
    for position in range(len(whole)):
        for bit in (0, 3):
            flip(path, position, bit)
            try:
                assert read_manifest(store.path) == store.manifest  # only blanks may change unnoticed
            except DataError as error:
                assert MANIFEST_FILE in str(error)  # noqa: PT017
            path.write_bytes(whole)


@pytest.mark.parametrize("name", ["eot_id", "text_bytes"])
def test_a_flipped_digit_is_found_by_verify_and_fit(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "t.txt").write_text("some text " * 50)
    made = prepare(PrepareSettings(str(tmp_path / "t.txt"), "bytes"), store=tmp_path / "s")
    path = made.path / MANIFEST_FILE
    text = path.read_text()
    path.write_text(re.sub(rf'("{name}": \d*)\d\b', r"\g<1>9", text, count=1))
    assert path.read_text() != text
    assert cli.main(["data", "verify", str(made.path)]) == 3
    assert "manifest.json is damaged (ValueError: its content has SHA-256 " in capsys.readouterr().err
    with pytest.raises(DataError, match=r"manifest\.json is damaged"):  # what fit opens its data with
        open_store(PrepareSettings(str(tmp_path / "t.txt"), "bytes"), str(made.path))


def test_a_store_from_before_the_checksum_is_as_good_as_ever(tmp_path: Path) -> None:
    store, _ = write_store(tmp_path / "s", LENGTHS)
    path = store.path / MANIFEST_FILE
    path.write_text(json.dumps(unseal(json.loads(path.read_text()))))
    assert TokenStore.open(store.path).manifest == store.manifest
