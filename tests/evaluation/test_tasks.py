"""Tasks on rows in the form of the published files, against answers computed one by one."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt_lightning import cli
from gpt_lightning.evaluation.kinds.task_files import read_task, shipped_tasks
from gpt_lightning.evaluation.kinds.tasks import Asking
from gpt_lightning.metrics.labels import Choice
from gpt_lightning.metrics.likelihood import Likelihood
from gpt_lightning.metrics.overlap import Answer
from gpt_lightning.weights.loading import LoadedModel, load_model
from tests.evaluation.benchmark_rows import write_benchmarks
from tests.evaluation.models import write_byte_run
from tests.reports.documents import Document


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tasks")
    write_benchmarks(folder / "data")
    write_byte_run(folder / "run")
    return folder


@pytest.fixture(scope="module")
def loaded(place: Path) -> LoadedModel:
    return load_model(place / "run")


def nats(loaded: LoadedModel, context: str, continuation: str, start: bool = True) -> float:
    """By bytes, in one forward pass."""
    behind = continuation.encode()
    ids = [*([256] if start else []), *context.encode(), *behind]
    with torch.no_grad():
        scores = loaded.model.logits(loaded.model(torch.tensor([ids[:-1]]))[0]).double().log_softmax(-1)
    places = range(len(ids) - 1 - len(behind), len(ids) - 1)
    return -sum(float(scores[p, ids[p + 1]]) for p in places)


def chances(scores: list[float]) -> list[float]:
    powers = np.exp(np.array(scores) - max(scores))
    return [float(p) for p in powers / powers.sum()]


@pytest.mark.parametrize("name", sorted(shipped_tasks()))
def test_every_shipped_task_runs_on_rows_of_its_form(place: Path, loaded: LoadedModel, name: str) -> None:
    task = read_task(shipped_tasks()[name])
    asking = Asking(data=place / "data")
    task.check(asking)
    evaluation = task.run(loaded, asking)
    assert evaluation.name == name
    assert evaluation.items
    assert all(math.isfinite(value) for value in evaluation.scores.values())
    known = set(evaluation.scores)
    assert evaluation.published, "a published number stands beside ours"
    assert {each["metric"] for each in evaluation.published} <= known
    assert all(isinstance(each["value"], float) for each in evaluation.published)
    head = shipped_tasks()[name].read_text(encoding="utf-8").partition("kind:")[0]
    assert head.startswith("# ")
    assert task.files.data_from


def test_classification_compares_the_labels_in_three_ways(place: Path, loaded: LoadedModel) -> None:
    evaluation = read_task(shipped_tasks()["bustm"]).run(loaded, Asking(data=place / "data"))
    rows = [json.loads(line) for line in (place / "data/bustm/test_public.json").read_text().splitlines()]
    for row, item in zip(rows, evaluation.items, strict=True):
        context = f"“{row['sentence1']}”和“{row['sentence2']}”的意思"
        words = ("不同", "相同")
        scores = [-nats(loaded, context, word) for word in words]
        bare = [-nats(loaded, "意思", word) for word in words]
        expected = {
            "": chances(scores),
            "norm": chances([score / len(word) for score, word in zip(scores, words, strict=True)]),
            "pmi": chances([score - other for score, other in zip(scores, bare, strict=True)]),
        }
        for way, found in item.outcomes.items():
            assert isinstance(found, Choice)
            assert found.label == int(row["label"])
            assert found.probabilities == pytest.approx(expected[way], rel=1e-4)


def test_a_gap_is_scored_with_the_whole_passage(place: Path, loaded: LoadedModel) -> None:
    (item, *_) = read_task(shipped_tasks()["chid"]).run(loaded, Asking(data=place / "data")).items
    row = json.loads((place / "data/chid/test_public.json").read_text().splitlines()[0])
    scores = [-nats(loaded, "", row["content"].replace("#idiom#", choice)) for choice in row["candidates"]]
    found = item.outcomes[""]
    assert isinstance(found, Choice)
    assert found.probabilities == pytest.approx(chances(scores), rel=1e-4)
    assert found.label == row["answer"]


def test_examples_are_shown_solved_and_the_same_for_all(place: Path, loaded: LoadedModel) -> None:
    task = read_task(shipped_tasks()["eprstmt"])
    evaluation = task.run(loaded, Asking(data=place / "data", shots=2, seed=3))
    rows, shots = task.files.read(Asking(data=place / "data", shots=2, seed=3), Path())
    shown = "".join(
        f"评论：{shot.record['sentence']}\n这个商品很{'好' if shot.record['label'] == 'Positive' else '差'}\n\n"
        for shot in shots
    )
    context = f"{shown}评论：{rows[0].record['sentence']}\n这个商品很"
    found = evaluation.items[0].outcomes[""]
    assert isinstance(found, Choice)
    assert found.probabilities == pytest.approx(chances([-nats(loaded, context, w) for w in "好差"]), rel=1e-4)
    assert evaluation.settings == {"shots": 2, "begin": "eot", "seed": 3}
    again = [row.record for row in task.files.read(Asking(data=place / "data", shots=2, seed=3), Path())[1]]
    assert again == [row.record for row in shots]


def test_examples_from_the_questions_are_not_asked(place: Path, tmp_path: Path) -> None:
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps({"text": f"one {n}"}) + "\n" for n in range(5)))
    (tmp_path / "t.yaml").write_text("kind: Cloze\nname: t\ndata: rows.jsonl\n")
    rows, shots = read_task(tmp_path / "t.yaml").files.read(Asking(shots=2), tmp_path)
    assert len(rows) == 3
    assert not {row.place for row in rows} & {row.place for row in shots}


def test_cloze_is_the_last_word(place: Path, loaded: LoadedModel) -> None:
    evaluation = read_task(shipped_tasks()["lambada"]).run(loaded, Asking(data=place / "data", begin="none"))
    texts = [json.loads(line)["text"] for line in (place / "data/lambada_test.jsonl").read_text().splitlines()]
    total = 0.0
    for text, item in zip(texts, evaluation.items, strict=True):
        context, _, word = text.rpartition(" ")
        expected = nats(loaded, context, f" {word}", start=False)
        found = item.outcomes[""]
        assert isinstance(found, Likelihood)
        assert found.nats == pytest.approx(expected, rel=1e-5)
        total += expected
    assert evaluation.scores["target_perplexity"] == pytest.approx(math.exp(total / len(texts)), rel=1e-4)


def test_writing_is_greedy_and_judged_like_squad(place: Path, loaded: LoadedModel) -> None:
    (item,) = read_task(shipped_tasks()["cmrc2018"]).run(loaded, Asking(data=place / "data")).items
    ids = [256, *"北京是中国的首都。\n问：中国的首都是哪里？\n答：".encode()]
    written: list[int] = []
    with torch.no_grad():
        while len(written) < 48 and written[-1:] != [10]:
            logits = loaded.model.logits(loaded.model(torch.tensor([[*ids, *written]]))[0, -1])
            if int(logits.argmax()) == 256:
                break
            written.append(int(logits.argmax()))
    found = item.outcomes[""]
    assert isinstance(found, Answer)
    assert found.prediction == bytes(written).decode("utf-8", errors="replace").partition("\n")[0].strip()
    assert found.references == ("北京",)


def test_a_corpus_is_counted_by_words_of_the_original(place: Path, loaded: LoadedModel) -> None:
    evaluation = read_task(shipped_tasks()["wikitext2"]).run(loaded, Asking(data=place / "data"))
    text = (place / "data/wikitext-2/wiki.test.tokens").read_text()
    found = evaluation.items[0].outcomes[""]
    assert isinstance(found, Likelihood)
    assert found.num_units == len(text.replace("\n", " <eos> ").split())
    assert found.num_bytes < len(text), "the detokenizer takes spaces away"
    assert evaluation.scores["word_perplexity"] == pytest.approx(math.exp(found.nats / found.num_units))


def test_the_command_writes_a_file_for_each_task(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data, out = str(place / "data"), tmp_path / "out"
    line = ["evaluate", "tasks", str(place / "run"), "eprstmt", "c3", "--data", data, "--output", str(out)]
    assert cli.main([*line, "--report", str(tmp_path / "page.html")]) == 0
    shown = capsys.readouterr().out
    assert "accuracy_pmi" in shown
    assert "zero-shot GPT" in shown
    assert "57.54" in shown
    assert sorted(path.name for path in out.iterdir()) == ["c3.json", "eprstmt.json"]
    page = (tmp_path / "page.html").read_text()
    assert "calibration_error" in page
    assert len(Document(page).figures()) == 2
    assert "57.54" in page


BROKEN: list[tuple[str, dict[str, Any], bytes, int, str]] = [
    ("", {}, b"", 2, "does not say which kind of task it is"),
    ("kind: Close\n", {}, b"", 2, "allowed: MultipleChoice, Classification, Cloze"),
    ("kind: Cloze\nname: t\ndata: d.jsonl\ntxt: x\n", {}, b"", 2, "Did you mean text?"),
    ("kind: Cloze\nname: t\n", {}, b"", 2, "data"),
    ("kind: Cloze\nname: t\ndata: d.jsonl\ntext: '{text'\n", {}, b"", 2, "text is not a template"),
    ("kind: Cloze\nname: t\ndata: nowhere.jsonl\ndata_from: a shop\n", {}, b"", 3, "The data: a shop."),
    ("kind: Cloze\nname: t\ndata: d.jsonl\n", {}, b'{"text": "a b"}\n{"text": \n', 3, "d.jsonl:2 is not JSON"),
    ("kind: Cloze\nname: t\ndata: d.jsonl\n", {}, b'{"body": "a b"}\n', 3, "d.jsonl:1 has no field 'text': got 'body'"),
    ("kind: Cloze\nname: t\ndata: d.jsonl\n", {}, b'{"text": "alone"}\n', 3, "d.jsonl:1 has fewer than two words"),
    ("kind: Cloze\nname: t\ndata: d.jsonl\n", {}, b"", 3, "has no rows"),
    ("kind: Cloze\nname: t\ndata: d.jsonl\n", {"shots": "9"}, b'{"text": "a b"}\n', 3, "too few rows"),
    ("kind: Cloze\nname: t\ndata: d.jsonl\n", {"shots": "-1"}, b'{"text": "a b"}\n', 2, "shots is a count: got -1"),
    ("kind: Cloze\nname: t\ndata: d.jsonl\n", {"begin": "bos"}, b'{"text": "a b"}\n', 2, "allowed: eot, none"),
    (
        "kind: Classification\nname: t\ndata: d.jsonl\ncontext: '{text}'\nlabel: label\nlabels: {a: x, b: y}\n",
        {}, b'{"text": "a", "label": "c"}\n', 3, "d.jsonl:1 has a label that the task does not know: got 'c'",
    ),
    (
        "kind: MultipleChoice\nname: t\ndata: d.jsonl\ncontext: 'Q'\nchoices: c\nanswer: a\n",
        {}, b'{"c": ["x", "y"], "a": 2}\n', 3, "d.jsonl:1: the answer is none of the choices: got 2",
    ),
    (
        "kind: MultipleChoice\nname: t\ndata: d.jsonl\ncontext: 'Q'\nchoices: c\nanswer: a\ncontinuation: ''\n",
        {}, b'{"c": ["x", "y"], "a": 1}\n', 2, "no template has a place for the choice",
    ),
    ("kind: Corpus\nname: t\ndata: d.jsonl\nunit: words\n", {}, b"{}", 2, "allowed: word, character, byte"),
    ("kind: Corpus\nname: t\ndata: d.jsonl\nexamples: e.jsonl\n", {}, b"{}", 2, "examples"),
]  # fmt: skip


@pytest.mark.parametrize(("task", "options", "content", "code", "message"), BROKEN)
def test_mistakes(
    place: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    task: str,
    options: dict[str, str],
    content: bytes,
    code: int,
    message: str,
) -> None:
    (tmp_path / "t.yaml").write_text(task)
    (tmp_path / "d.jsonl").write_bytes(content)
    given = [part for name, value in options.items() for part in (f"--{name}", value)]
    out = tmp_path / "out.json"
    line = ["evaluate", "tasks", str(place / "run"), str(tmp_path / "t.yaml"), "--output", str(out), *given]
    assert cli.main(line) == code
    said = capsys.readouterr()
    assert message in said.err
    assert said.err.count("\n") == 1
    assert not said.out
    assert not out.exists()


def test_an_unknown_task_is_told(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "tasks", str(place / "run"), "lambda"]) == 2
    assert "Did you mean lambada?" in capsys.readouterr().err


def test_a_file_where_a_folder_belongs(place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "out").write_text("mine")
    line = ["evaluate", "tasks", str(place / "run"), "eprstmt", "c3", "--data", str(place / "data")]
    assert cli.main([*line, "--output", str(tmp_path / "out")]) == 2
    assert "output is a folder where there are several tasks" in capsys.readouterr().err
    assert cli.main([*line, "--tensorboard", str(tmp_path / "out")]) == 2
    assert (tmp_path / "out").read_text() == "mine"


def test_the_list_of_tasks(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["evaluate", "list"]) == 0
    shown = capsys.readouterr().out
    assert all(name in shown for name in shipped_tasks())
