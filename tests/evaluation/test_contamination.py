"""The n-gram index against looking for every run in the text itself."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

from gpt_lightning import cli
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.data.store.shards import TokenStore
from gpt_lightning.evaluation.texts import contamination
from gpt_lightning.evaluation.texts.contamination import NgramIndex, check_store, hash_ngrams
from gpt_lightning.metrics.cutting import cut_text

WORDS = ["the", "a", "cat", "dog", "sat", "ran", "on", "under", "mat", "tree", "and", "then", "slept", "ate", "fish"]
HAN = "天地玄黄宇宙洪荒日月盈昃辰宿列张"


def sentences(count: int, seed: int, letters: str | list[str], glue: str) -> list[str]:
    generator = random.Random(seed)
    return [glue.join(generator.choices(letters, k=generator.randint(2, 30))) for _ in range(count)]


def make_store(folder: Path, texts: list[str], tokenizer: str = "bytes") -> TokenStore:
    (folder / "train.txt").write_text("\n".join(texts), encoding="utf-8")
    settings = PrepareSettings(
        source=str(folder / "train.txt"), tokenizer=tokenizer, document_per="line", val_fraction=0.0
    )
    return find_or_prepare(settings, store=str(folder / "store"))


def runs(text: str, cut: str, n: int) -> list[tuple[str, ...]]:
    units = cut_text(text, cut)
    return [tuple(units[place : place + n]) for place in range(len(units) - n + 1)]


@pytest.mark.parametrize(
    ("letters", "glue", "cut", "unit"), [(WORDS, " ", "intl", "word"), (list(HAN), "", "zh", "character")]
)
@pytest.mark.parametrize("block", [16, 1 << 20])
def test_exactly_the_runs_that_are_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, letters: list[str], glue: str, cut: str, unit: str, block: int
) -> None:
    monkeypatch.setattr(contamination, "_BLOCK", block)
    texts, items = sentences(40, 0, letters, glue), sentences(30, 1, letters, glue)
    n = 3
    store = make_store(tmp_path, texts)
    found, chosen = check_store(store, [(str(k), str(k), item) for k, item in enumerate(items)], n=n)
    assert chosen == unit
    inside = {run for text in texts for run in runs(text, cut, n)}
    for item, each in zip(items, found, strict=True):
        expected = runs(item, cut, n)
        assert each.overlap.ngrams == len(expected)
        assert each.overlap.seen == sum(run in inside for run in expected)
        if each.overlap.seen:
            decoded = store.split("train").document_ends
            assert 0 <= each.overlap.document < len(decoded)
    assert 0 < sum(each.overlap.seen for each in found) < sum(each.overlap.ngrams for each in found)


@pytest.mark.parametrize("block", [16, 1 << 20])
def test_runs_of_tokens(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(contamination, "_BLOCK", block)
    texts = sentences(30, 2, WORDS, " ")
    store = make_store(tmp_path, texts)
    items = [texts[3], texts[4][5:40], "quite another text", "short"]
    found, _ = check_store(store, [(item, item, item) for item in items], n=8, unit="token")
    for item, each in zip(items, found, strict=True):
        expected = [item[place : place + 8] for place in range(len(item) - 7)]
        assert (each.overlap.ngrams, each.overlap.seen) == (
            len(expected),
            sum(any(run in text for text in texts) for run in expected),
        )


def test_the_order_of_units_counts() -> None:
    first, second = hash_ngrams(np.array([1, 2, 3], dtype=np.uint64), 3), np.array([3, 2, 1], dtype=np.uint64)
    assert first[0] != hash_ngrams(second, 3)[0]
    index = NgramIndex([second], 3)
    index.meet(np.array([1, 2, 3], dtype=np.uint64), 0)
    assert [each.seen for each in index.overlaps()] == [0]


def test_the_command_with_scores(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from tests.evaluation.models import write_byte_run

    texts = sentences(30, 3, WORDS, " ")
    make_store(tmp_path, texts)
    asked = [texts[0] + " one", "words that nobody wrote in any of the other files here at all", "short"]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in asked))
    (tmp_path / "q.yaml").write_text("kind: Cloze\nname: q\ndata: q.jsonl\ntext: 'Q: {text} end'\n")
    run, task, scores = str(write_byte_run(tmp_path / "run")), str(tmp_path / "q.yaml"), str(tmp_path / "s.json")
    assert cli.main(["evaluate", "tasks", run, task, "--output", scores]) == 0
    capsys.readouterr()
    out = tmp_path / "c.json"
    line = ["evaluate", "contamination", str(tmp_path / "store"), task, "--n", "4", "--scores", scores]
    assert cli.main([*line, "--output", str(out)]) == 0
    shown = capsys.readouterr().out
    assert "dirty      1 (50.0 % of those that can be judged)" in shown
    assert "too short  1" in shown
    assert "all (3)" in shown
    assert "dirty (1)" in shown
    assert [item["seen"] > 0 for item in json.loads(out.read_text())["items"]] == [True, False, False]


@pytest.mark.parametrize(
    ("extra", "code", "message"),
    [
        (["--n", "0"], 2, "n counts units: got 0"),
        (["--unit", "syllable"], 2, "allowed: auto, word, character, token"),
        (["--split", "dev"], 3, "has no split: got 'dev'"),
        (["--scores", "nowhere.json"], 3, "Cannot read the evaluation"),
    ],
)
def test_mistakes(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], extra: list[str], code: int, message: str
) -> None:
    make_store(tmp_path, ["a text of a few words"])
    (tmp_path / "t.txt").write_text("a text")
    line = ["evaluate", "contamination", str(tmp_path / "store"), str(tmp_path / "t.txt"), *extra]
    assert cli.main(line) == code
    assert message in capsys.readouterr().err
