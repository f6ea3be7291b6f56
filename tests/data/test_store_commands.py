from __future__ import annotations

from pathlib import Path

import pytest

from gpt_lightning import cli
from gpt_lightning.data.prepare import PrepareSettings, prepare


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
    assert "fewer than one window: got 100000" in capsys.readouterr().err


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
