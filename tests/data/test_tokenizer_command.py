from __future__ import annotations

import itertools
import logging
from pathlib import Path

import numpy as np
import pytest
import rustbpe

from gpt_lightning import cli
from gpt_lightning.data.prepare import learning
from gpt_lightning.data.prepare.chunks import plan_chunks
from gpt_lightning.data.prepare.cleaning import Cleaning
from gpt_lightning.data.prepare.intake import Intake
from gpt_lightning.data.prepare.learning import sample_texts
from gpt_lightning.data.prepare.prepare import PrepareSettings, prepare
from gpt_lightning.data.readers.sources import open_sources
from gpt_lightning.data.tokenizers.bpe import PATTERNS, train_vocabulary
from gpt_lightning.data.tokenizers.kinds import EncodingTokenizer
from gpt_lightning.data.tokenizers.resolve import read_tokenizer

CHINESE = "我们今天去北京市中心abc中文。明天再去上海。Then we'll see 12345 things!\n\n 再见 "


@pytest.mark.parametrize("pattern", list(PATTERNS))
def test_tiktoken_gives_the_ids_of_the_trainer(pattern: str) -> None:
    texts = [CHINESE, CHINESE[::-1], "hello world " * 3, "\t\r\n x"] * 3
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(texts), 349, pattern=PATTERNS[pattern])
    tokenizer = EncodingTokenizer(train_vocabulary(texts, 350, pattern))
    for text in [*texts, "我们中文abc北京 123 unseen 你好 don't"]:
        np.testing.assert_array_equal(tokenizer.encode(text), trainer.encode(text))
        assert tokenizer.decode(tokenizer.encode(text)) == text


def test_the_default_pattern_is_the_trainers_own() -> None:
    trainer = rustbpe.Tokenizer()
    trainer.train_from_iterator(iter(["a"]), 256)
    assert trainer.get_pattern() == PATTERNS["gpt4"]


def test_the_chinese_pattern_caps_runs_and_separates_scripts() -> None:
    vocabulary = train_vocabulary(["中文中文中文中文abc中文"] * 50, 400, "chinese")
    words = [token.decode(errors="replace") for token in vocabulary.tokens]
    assert max(len(word) for word in words) == 4
    assert "中文中文" in words
    assert not [word for word in words if "c" in word and "中" in word]
    assert vocabulary.name.endswith("-chinese")


def test_files_are_learned_from_and_the_vocabulary_can_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    for number in range(3):
        (tmp_path / f"{number}.txt").write_text(CHINESE * 20)
    out = tmp_path / "v.json"
    files = [str(tmp_path / "0.txt"), str(tmp_path / "1.txt")]
    arguments = ["tokenizer", "train", *files, "--vocab_size", "300", "--out", str(out), "--pattern", "chinese"]
    assert cli.main(arguments) == 0
    tokenizer = read_tokenizer(out)
    assert tokenizer.vocab_size == 300
    told = capsys.readouterr().out
    assert f"bpe-300-chinese, 300 ids, fingerprint {tokenizer.fingerprint[:12]}" in told
    store = prepare(PrepareSettings(files, str(out)))
    assert store.manifest.tokenizer["fingerprint"] == tokenizer.fingerprint
    # The same as in one step, and one-step specs are part of messages and help.
    assert prepare(PrepareSettings(files, "bpe:300:chinese")).tokenizer.fingerprint == tokenizer.fingerprint
    with caplog.at_level(logging.WARNING):
        assert cli.main([*arguments[:4], "--vocab_size", "5000", "--out", str(out)]) == 0
    assert "too small for 5000 tokens" in caplog.text


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--vocab_size", "100", "--out", "v.json"], "--vocab_size is out of range: got 100"),
        (["--vocab_size", "300", "--out", "v.txt"], "--out is the file to write: got 'v.txt'"),
        (["--vocab_size", "300", "--out", "no/such/v.json"], "--out is the file to write"),
        (["--vocab_size", "300", "--out", "v.json", "--pattern", "x"], "--pattern: got 'x' (allowed: gpt4, chinese)"),
        (["--vocab_size", "300", "--out", "v.json", "--max_bytes", "0"], "--max_bytes is a size"),
        (["--vocab_size", "300", "--out", "v.json"], "The corpus is empty"),
    ],
)
def test_mistakes(
    arguments: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty.txt").write_text("")
    assert cli.main(["tokenizer", "train", "empty.txt", *arguments]) in (2, 3)
    assert message in capsys.readouterr().err


def test_specs_with_an_unknown_pattern_are_refused(tmp_path: Path) -> None:
    (tmp_path / "x.txt").write_text("x")
    with pytest.raises(Exception, match=r"No such pattern: got 'bpe:300:klingon' \(allowed: gpt4, chinese\)"):
        prepare(PrepareSettings(str(tmp_path / "x.txt"), "bpe:300:klingon"))


def test_a_large_corpus_is_sampled_evenly_and_always_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "x.txt"
    path.write_text("".join(f"line {number:05d}\n" for number in range(10_000)))
    reading = PrepareSettings(document_per="line").reading
    readers = open_sources([str(path)], reading)
    intake = Intake(Cleaning(normalize_nfc=False, min_characters=0, max_characters=None))
    units = plan_chunks(readers, reading, unit_bytes=1000)
    assert len(units) == 110
    whole = list(sample_texts(readers, units, intake, max_bytes=200_000))
    assert whole == [f"line {number:05d}" for number in range(10_000)]
    sample = list(sample_texts(readers, units, intake, max_bytes=20_000))
    assert sample == list(sample_texts(readers, units, intake, max_bytes=20_000))
    assert 20_000 <= sum(map(len, sample)) < 20_000 + 64 * 10
    numbers = [int(text.split()[1]) for text in sample]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] > 9_800
    assert max(after - before for before, after in itertools.pairwise(numbers)) < 200
    monkeypatch.setattr(learning, "_PLACES", 1)
    assert len(list(sample_texts(readers, units, intake, max_bytes=1000))) == 91
