from __future__ import annotations

import json
from pathlib import Path

import pytest
from sacrebleu.metrics.bleu import BLEU

from gpt_lightning import cli
from gpt_lightning.evaluation.outcomes.results import read_evaluation

CHINESE = (
    "今天天气很好，我们去公园散步。\n他在北京大学学习。\n",
    "今天天气真好，我们到公园去散步。\n他在北京大学读书。\n",
)
ENGLISH = ("The cat sat on the mat.\nIt rained.\n", "A cat sat on the mat.\nIt rained all day.\n")


def write(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def ask(*args: str) -> int:
    return cli.main(["evaluate", "text", *args])


def test_a_table_with_signatures(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hyp, ref = (write(tmp_path, name, text) for name, text in zip(("h.txt", "r.txt"), CHINESE, strict=True))
    assert ask(hyp, ref, "--output", str(tmp_path / "out.json")) == 0
    shown = capsys.readouterr().out
    expected = BLEU(tokenize="zh").corpus_score(CHINESE[0].splitlines(), [CHINESE[1].splitlines()]).score
    assert f"bleu                  {expected:.2f}" in shown
    assert "BLEU|nrefs:1|case:mixed|eff:no|tok:zh|smooth:exp|version:" in shown
    scores = json.loads((tmp_path / "out.json").read_text())["scores"]
    assert scores["bleu"] == pytest.approx(expected)
    assert min(scores[name] for name in ("rouge1", "rouge2", "rougeL", "rougeLsum", "chrf")) > 20
    assert read_evaluation(tmp_path / "out.json").scores == scores


def test_several_references_and_the_tokenization_of_choice(tmp_path: Path) -> None:
    hyp, ref = (write(tmp_path, name, text) for name, text in zip(("h.txt", "r.txt"), ENGLISH, strict=True))
    second = write(tmp_path, "second.txt", "The cat was on a mat.\nIt rained.\n")
    assert ask(hyp, ref, second, "--tokenize", "intl", "--output", str(tmp_path / "out.json")) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    columns = [(Path(path).read_text().splitlines()) for path in (ref, second)]
    assert found["scores"]["bleu"] == pytest.approx(
        BLEU(tokenize="intl").corpus_score(ENGLISH[0].splitlines(), columns).score
    )
    assert found["scores"]["exact_match"] == 50
    assert "nrefs:2" in found["how"]["bleu"]


def test_records_may_hold_lists_of_references(tmp_path: Path) -> None:
    rows = [{"made": "Paris", "wanted": ["Paris", "paris"]}, {"made": "1889", "wanted": ["in 1889"]}]
    file = write(tmp_path, "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    fields = ("--hypothesis_field", "made", "--reference_field", "wanted")
    assert ask(file, file, *fields, "--output", str(tmp_path / "out.json")) == 0
    found = json.loads((tmp_path / "out.json").read_text())
    assert found["scores"]["exact_match"] == 50
    assert "nrefs:var" in found["how"]["bleu"]


def test_an_empty_line_is_an_empty_text(tmp_path: Path) -> None:
    hyp, ref = write(tmp_path, "h.txt", "\nb\n"), write(tmp_path, "r.txt", "a\nb\n")
    assert ask(hyp, ref, "--output", str(tmp_path / "out.json")) == 0
    assert json.loads((tmp_path / "out.json").read_text())["scores"]["exact_match"] == 50


@pytest.mark.parametrize(
    ("hypotheses", "references", "extra", "code", "message"),
    [
        ("a\nb\nc\n", "a\nb\n", (), 3, "r.txt has 2 references for the 3 texts of"),
        ("", "", (), 3, "h.txt holds no text"),
        ("a\n", "a\n", ("--tokenize", "chinese"), 2, "got 'chinese' (allowed: auto, 13a, intl, zh, char)"),
        ("a\n", "a\n", ("--report", "page.pdf"), 2, "report is a page: got 'page.pdf'"),
        ("a\n", "a\n", ("--output", "nowhere/out.json"), 2, "Cannot write the results there: got 'nowhere/out.json'"),
        ("a\n", "a\n", ("--tokenise", "zh"), 2, "Did you mean --tokenize?"),
    ],
)
def test_mistakes(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    hypotheses: str,
    references: str,
    extra: tuple[str, ...],
    code: int,
    message: str,
) -> None:
    assert ask(write(tmp_path, "h.txt", hypotheses), write(tmp_path, "r.txt", references), *extra) == code
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not said.out


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b'{"text": "a"}\n{"text": \n', "a.jsonl:2 is not JSON"),
        (b'{"text": "a"}\n{"txt": "b"}\n', "a.jsonl:2 has no field 'text': got 'txt'"),
        (b'{"text": "a"}\n["b"]\n', "a.jsonl:2 is not a JSON object: got 'list'"),
        (b'{"text": 3}\n', "a.jsonl:1 is not one text: got 'int'"),
        (b'{"text": "a"}\n{"text": "\xff"}\n', "a.jsonl:2 is not UTF-8"),
    ],
)
def test_broken_records_are_named_by_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], content: bytes, message: str
) -> None:
    (tmp_path / "a.jsonl").write_bytes(content)
    assert ask(str(tmp_path / "a.jsonl"), str(tmp_path / "a.jsonl")) == 3
    assert message in capsys.readouterr().err


def test_a_page_and_events(tmp_path: Path) -> None:
    hyp, ref = (write(tmp_path, name, text) for name, text in zip(("h.txt", "r.txt"), ENGLISH, strict=True))
    for suffix in (".html", ".md"):
        assert ask(hyp, ref, "--report", str(tmp_path / f"page{suffix}"), "--tensorboard", str(tmp_path / "tb")) == 0
        page = (tmp_path / f"page{suffix}").read_text()
        assert "rougeLsum" in page
        assert "BLEU|nrefs:1" in page.replace("\\|", "|")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    events = EventAccumulator(str(tmp_path / "tb"))
    events.Reload()
    assert "eval/text/bleu" in events.Tags()["scalars"]
