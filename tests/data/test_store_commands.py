from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path

import fsspec  # type: ignore[import-untyped]
import pytest

from gpt_lightning import cli
from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare


@pytest.fixture
def store(tmp_path: Path) -> Path:
    folder = tmp_path / "text"
    folder.mkdir()
    for number in range(12):
        (folder / f"{number:02d}.txt").write_text(f"Document {number}: " + "grüße " * number)
    return prepare(PrepareSettings(str(folder), "bytes", val_fraction=0.3), store=tmp_path / "s").path


def test_info_tells_what_is_in_a_store(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "info", str(store)]) == 0
    out = capsys.readouterr().out
    for part in ("tokenizer   bytes, 257 ids", "vocabulary  ", "fingerprint ", "made by     python 3.", "00.txt ("):
        assert part in out
    assert "shard       tokens-train-00000.bin: " in out
    assert "settings    source ['" in out
    assert "            and 2 more" in out


def test_verify_finds_a_flipped_byte(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "verify", str(store)]) == 0
    assert "is whole: 2 shards, " in capsys.readouterr().out
    path = store / "tokens-train-00000.bin"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    assert cli.main(["data", "verify", str(store)]) == 3
    assert "tokens-train-00000.bin is damaged: CRC-32" in capsys.readouterr().err


def test_head_shows_documents(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "head", str(store), "--documents", "2", "--characters", "14"]) == 0
    out = capsys.readouterr().out
    assert out.count("--- train document") == 2
    assert "\nDocument 0: \n" in out
    assert "\nDocument 2: gr ...\n" in out  # number 1 went to validation
    assert cli.main(["data", "head", str(store), "--split", "test"]) == 3
    assert "has no split: got 'test'" in capsys.readouterr().err


def test_sample_shows_what_the_model_is_given(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "sample", str(store), "--block_size", "30", "--count", "2", "--sample", "5"]) == 0
    out = capsys.readouterr().out
    assert [line for line in out.splitlines() if line.startswith("---")] == [
        "--- sample 5 of seed 0, 31 tokens",
        "--- sample 6 of seed 0, 31 tokens",
    ]
    assert "grüße" in out
    assert cli.main(["data", "sample", str(store), "--block_size", "100000"]) == 3
    assert "fewer than one window of block_size + 1: got 100000" in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["head", "--documents", "0"], ["sample", "--count", "0"], ["sample", "--sample", "-1"]]
)
def test_counts_out_of_range(arguments: list[str], store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    name, *rest = arguments
    assert cli.main(["data", name, str(store), *rest]) == 2
    assert f"{rest[0]} is too small" in capsys.readouterr().err


def test_a_folder_that_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "info", str(tmp_path / "none")]) == 3
    assert "is not a prepared store" in capsys.readouterr().err


@pytest.fixture
def url(store: Path) -> Iterator[str]:
    files = fsspec.filesystem("memory")
    files.put(str(store), "/commands/store", recursive=True)
    yield "memory://commands/store"
    files.rm("/commands", recursive=True)


def test_a_store_behind_a_url_is_looked_into_like_a_local_one(
    store: Path, url: str, capsys: pytest.CaptureFixture[str]
) -> None:
    for command in (["info"], ["head"], ["sample", "--block_size", "30"]):
        name, *options = command
        assert cli.main(["data", name, str(store), *options]) == 0
        here = capsys.readouterr().out
        assert cli.main(["data", name, url, *options]) == 0
        assert capsys.readouterr().out == here
    assert cli.main(["data", "verify", url]) == 0
    assert f"{url} is whole: 2 shards, " in capsys.readouterr().out


@pytest.mark.parametrize("closed", [False, True])
def test_token_files_of_other_programs(closed: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    texts = ["one", "two and more", "three"]
    ids = [id_ for text in texts for id_ in ([*text.encode(), 256] if closed else [256, *text.encode()])]
    (tmp_path / "train.bin").write_bytes(struct.pack(f"<{len(ids)}H", *ids))
    place = [str(tmp_path), "--tokenizer", "bytes"]
    assert cli.main(["data", "info", *place, "--val_fraction", "0"]) == 0
    out = capsys.readouterr().out
    assert "shard       train.bin: 23 tokens, 3 documents, " in out
    assert "bytes of text" not in out
    assert cli.main(["data", "head", *place, "--val_fraction", "0"]) == 0
    shown = [f"--- train document {n} of 3, {len(text)} tokens\n{text}\n" for n, text in enumerate(texts, start=1)]
    assert capsys.readouterr().out == "".join(shown)
    assert cli.main(["data", "sample", *place, "--block_size", "22", "--val_fraction", "0"]) == 0
    assert "two and more<|endoftext|>three" in capsys.readouterr().out
    assert cli.main(["data", "verify", *place]) == 0
    assert "is whole: 1 shards, 23 tokens" in capsys.readouterr().out
    (tmp_path / "train.bin").write_bytes(b"odd")
    assert cli.main(["data", "verify", *place]) == 3
    assert "train.bin has an odd number of bytes" in capsys.readouterr().err


def test_a_file_is_no_store(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.txt").write_text("text")
    assert cli.main(["data", "head", str(tmp_path / "a.txt")]) == 3
    assert "a.txt is not a prepared store: it has no manifest.json" in capsys.readouterr().err


def test_token_files_are_not_prepared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a.bin").write_bytes(b"a\0b\0" * 500)
    assert cli.main(["prepare", "--source", str(tmp_path / "a.bin"), "--tokenizer", "bytes"]) == 2
    assert "Train on them with --data.store" in capsys.readouterr().err


def test_sample_packs_as_the_run_does(store: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["data", "sample", str(store), "--block_size", "100", "--packing", "Document"]) == 0
    assert capsys.readouterr().out.count("Document ") == 1
