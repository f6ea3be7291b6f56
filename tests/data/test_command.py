from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt_lightning.batch import LossOutput
from gpt_lightning.data.commands.prepare import ProgressLine, prepare_command
from gpt_lightning.data.commands.stores import format_progress
from gpt_lightning.data.store.manifest import read_manifest
from gpt_lightning.data.store.shards import TokenStore, count_text_bytes
from gpt_lightning.data.tokenizers.bpe import Vocabulary
from gpt_lightning.data.tokenizers.kinds import EncodingTokenizer, write_tokenizer
from gpt_lightning.errors import DataError
from gpt_lightning.metrics.language import BitsPerByte
from tests.data.library_tokenizers import BLOOM, LINES, byte_level, wordpiece


def test_the_summary_holds_the_numbers(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = tmp_path / "text"
    folder.mkdir()
    (folder / "a.txt").write_text("a" * 80 + "\n" + "b" * 19)
    (folder / "b.txt").write_text("")
    prepare_command(store=str(tmp_path / "s"), source=str(folder), tokenizer="bytes", val_fraction=0.2)
    out, err = capsys.readouterr()
    assert err == ""
    for part in (
        "tokenizer   bytes, 257 ids, uint16, fingerprint ",
        "train       1 documents, 82 tokens, 81 bytes of text (0.99 bytes per token)",
        "val         1 documents, 20 tokens, 19 bytes of text (0.95 bytes per token)",
        "skipped     1 empty",
        f"store       {tmp_path / 's'}\n",
    ):
        assert part in out


def test_replaced_surrogates_are_reported(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "x.jsonl").write_text('{"text": "a\\ud800b"}\n')
    prepare_command(source=str(tmp_path / "x.jsonl"), tokenizer="bytes", val_fraction=0.0)
    assert "replaced    1 lone surrogates" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("done", "total", "text"),
    [
        (25_000_000, 100_000_000, "preparing 25.0 MB of 100.0 (25%), 6.0 M tokens, 2.5 MB/s, 30 s left"),
        (25_000_000, 0, "preparing 25.0 MB, 6.0 M tokens, 2.5 MB/s"),
        (0, 100, "preparing 0.0 MB of 0.0 (0%), 6.0 M tokens, 0.0 MB/s, very long left"),
    ],
)
def test_the_progress_line(done: int, total: int, text: str) -> None:
    assert format_progress(done, total, 6_000_000, 10.0, "preparing") == text


def test_the_line_is_cleared_on_a_terminal(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    line = ProgressLine()
    line.show(10, 10, 5)
    line.close()
    shown, blank = capsys.readouterr().err.lstrip("\r").removesuffix("\r").split("\r")
    assert shown.startswith("preparing 0.0 MB of 0.0 (100%)")
    assert blank == " " * len(shown)


def prepare_with(tokenizer: dict[str, Any], folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    lines = [json.dumps({"text": text}) for text in (*LINES[:3], "Hello, world! 12345")]
    (folder / "text.jsonl").write_text("\n".join(lines))
    files: dict[str, Any] = {"source": str(folder / "text.jsonl"), "tokenizer": str(folder / "tokenizer.json")}
    prepare_command(store=str(folder / "store"), val_fraction=0.0, **files)
    return capsys.readouterr().out


def test_a_pattern_that_leaves_text_out_loses_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = prepare_with(byte_level(BLOOM), tmp_path, capsys)
    assert "decoding    gives all 4 texts back" in told
    store = TokenStore.open(tmp_path / "store")
    split = store.split("train")
    assert "Hello, world! 12345" in store.tokenizer.decode(split.gather(np.array([0]), split.num_tokens)[0])


def test_a_tokenizer_that_changes_text_says_how_much(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    told = prepare_with(wordpiece(), tmp_path, capsys)
    counts = read_manifest(tmp_path / "store").round_trip
    assert counts["unknown"] > 0
    assert (
        f"warning     this tokenizer changes text: decoding gives {counts['changed']} of {counts['texts']} texts "
        f"otherwise; {counts['unknown']} tokens stand for text it cannot write"
    ) in told


def test_a_tokenizer_that_drops_text_is_found_out(tmp_path: Path) -> None:
    # As an older version read such a file: tiktoken leaves out what the pattern does not match.
    tokens = tuple(bytes([value]) for value in range(256))
    dropping = EncodingTokenizer(Vocabulary("letters", r"\p{L}+", tokens, {"<|endoftext|>": 256}))
    write_tokenizer(dropping, tmp_path / "letters.json")
    (tmp_path / "text.txt").write_text("Hello, world!")
    with pytest.raises(DataError, match=r"Tokenizer letters does not give the text back: 10 of 1[0-9] bytes") as told:
        prepare_command(source=str(tmp_path / "text.txt"), tokenizer=str(tmp_path / "letters.json"), val_fraction=0.0)
    assert "\n" not in str(told.value)


@pytest.mark.parametrize(("form", "letters"), [("NFC", "e\u0301"), ("NFKC", "\ufb01")])
def test_bits_per_byte_divide_by_the_bytes_of_the_text(tmp_path: Path, form: str, letters: str) -> None:
    tokens = tuple(bytes([value]) for value in range(256))
    vocabulary = Vocabulary("x", r"[\s\S]", tokens, {"<|endoftext|>": 256}, normalization=form)
    write_tokenizer(EncodingTokenizer(vocabulary), tmp_path / "x.json")
    (tmp_path / "text.txt").write_text(letters * 320, encoding="utf-8")
    files: dict[str, Any] = {"source": str(tmp_path / "text.txt"), "tokenizer": str(tmp_path / "x.json")}
    prepare_command(store=str(tmp_path / "store"), val_fraction=0.5, **files)
    store = TokenStore.open(tmp_path / "store")
    lengths, split = count_text_bytes(store), store.split("val")
    ids = split.gather(np.array([0]), split.num_tokens)[0]
    assert lengths[ids].sum() == pytest.approx(split.num_bytes, rel=1e-12)
    assert split.num_bytes == 480
    assert store.tokenizer.token_bytes()[ids].sum() == 320
    assert lengths[256] == 0
    metric = BitsPerByte(torch.from_numpy(lengths))
    targets = torch.from_numpy(ids.astype(np.int64))[None]
    losses = torch.full(targets.shape, 2.0)
    total = 2.0 * (targets != 256).sum().item()
    metric.update(LossOutput(torch.tensor(2.0), torch.tensor(1.0), losses=losses, targets=targets))
    assert metric.compute().item() == pytest.approx(total / math.log(2) / 480, rel=1e-12)
