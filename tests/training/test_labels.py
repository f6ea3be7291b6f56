"""Texts labelled by a trained model: in process, by ``predict``, measured by ``evaluate classify``, calibrated."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from gpt_lightning.errors import CheckpointError, DataError, RunFolderError
from gpt_lightning.evaluation.commands.classify import classify_command
from gpt_lightning.evaluation.outcomes.results import read_evaluation
from gpt_lightning.metrics.labels import Choice, Marks
from gpt_lightning.objectives.classifier import load_classifier
from gpt_lightning.training.commands import trainer_command
from gpt_lightning.training.fitting.build import build
from tests.data.labelled import make_reviews, make_words, write_jsonl
from tests.selections import seldom
from tests.training.runs import tiny_run, weights_of

_LAYOUTS = {
    "Classify": "Labelled",
    "MultiLabel": "MultiLabelled",
    "Regress": "Regression",
    "TokenClassify": "Tagged",
}


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Records, and a run of every kind as it is asked for."""
    folder = tmp_path_factory.mktemp("labels")
    write_jsonl(folder / "reviews.jsonl", make_reviews(60))
    write_jsonl(folder / "words.jsonl", make_words(60))
    return folder


def _train(place: Path, objective: str, name: str = "", **settings: Any) -> Path:
    run = place / f"{objective}{name}"
    if not run.exists():
        source = "words.jsonl" if objective == "TokenClassify" else "reviews.jsonl"
        common = {
            "data.source": str(place / source),
            "data.layout": _LAYOUTS[objective],
            "data.packing": "Document",
            "data.block_size": 64,
            "data.val_fraction": 0.3,
            "model.objective": objective,
            "model.optimizer.lr": 1e-2,
            "run.dir": str(run),
        }
        tiny_run({**common, **settings}).fit()
    return run


def _lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.mark.parametrize(
    "objective",
    ["Classify", *seldom("TokenClassify", "MultiLabel", "Regress")],
)
def test_texts_get_the_labels_that_their_tokens_in_the_store_get(place: Path, tmp_path: Path, objective: str) -> None:
    run = _train(place, objective)
    trainer_command("predict", ["--checkpoint", str(run), "--data.predict_split", "val"])
    of_split = _lines(run / "predictions.jsonl")
    assert all("answer" in line for line in of_split)
    source = place / ("words.jsonl" if objective == "TokenClassify" else "reviews.jsonl")
    given = ["--generate.input", str(source), "--generate.output", str(tmp_path / "labels.jsonl")]
    trainer_command("predict", ["--checkpoint", str(run), *given])
    of_file = _lines(tmp_path / "labels.jsonl")
    assert [line["id"] for line in of_file] == list(range(1, 61))
    if objective == "TokenClassify":
        of_file = [{**word, "text": word.pop("word")} for line in of_file for word in line["words"]]
        of_split = [{**line, "text": line["text"].strip()} for line in of_split]
    values = {line["text"]: _numbers(line) for line in of_file}
    if objective == "TokenClassify":  # the same word in another place is another thing
        assert {line["text"] for line in of_split} <= values.keys()
        return
    assert of_split
    for line in of_split:
        assert _numbers(line) == pytest.approx(values[line["text"]], abs=2e-5)
    with pytest.raises(RunFolderError, match="exists"):
        trainer_command("predict", ["--checkpoint", str(run), *given])


def _numbers(line: dict[str, Any]) -> list[float]:
    return list(line["probabilities"].values()) if "probabilities" in line else [line["value"]]


def test_a_text_is_labelled_alike_in_any_company(place: Path) -> None:
    classifier = load_classifier(_train(place, "Classify"))
    texts = [[row["text"]] for row in make_reviews(30, seed=3)]
    together = [line["probabilities"]["good"] for line in classifier.label(texts)]
    alone = [next(classifier.label([text]))["probabilities"]["good"] for text in texts]
    assert together == pytest.approx(alone, abs=2e-6)
    (long,) = classifier.label([["word " * 100]])  # cut as in training
    assert long["label"] in ("good", "bad")


def test_scores_are_those_of_scikit_learn(place: Path, tmp_path: Path) -> None:
    metrics = pytest.importorskip("sklearn.metrics")
    classify_command(str(_train(place, "Classify")), [str(place / "reviews.jsonl")], output=str(tmp_path / "a.json"))
    found = read_evaluation(tmp_path / "a.json")
    outcomes = [item.outcomes[""] for item in found.items]
    assert len(outcomes) == 60
    chosen = [outcome.prediction for outcome in outcomes if isinstance(outcome, Choice)]
    answers = [["bad", "good"].index(row["label"]) for row in make_reviews(60)]
    assert found.scores["accuracy"] == pytest.approx(100 * metrics.accuracy_score(answers, chosen))
    assert found.scores["macro_f1"] == pytest.approx(100 * metrics.f1_score(answers, chosen, average="macro"))
    assert found.intervals["accuracy"][0] <= found.scores["accuracy"] <= found.intervals["accuracy"][1]
    run = _train(place, "MultiLabel")
    classify_command(str(run), [str(place / "reviews.jsonl")], output=str(tmp_path / "b.json"))
    found = read_evaluation(tmp_path / "b.json")
    marks = [item.outcomes[""] for item in found.items if isinstance(item.outcomes[""], Marks)]
    truth, decided = (np.array([vars(each)[name] for each in marks]) for name in ("marks", "decisions"))
    for average in ("micro", "macro"):
        expected = metrics.f1_score(truth, decided, average=average, zero_division=0)
        assert found.scores[f"{average}_f1"] == pytest.approx(100 * expected)


def test_a_split_is_measured_as_training_measured_it(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = _train(place, "Classify")
    classify_command(str(run), prefer="last", output=str(tmp_path / "a.json"))
    logged = [line for line in _lines(run / "metrics.jsonl") if "val/accuracy" in line][-1]
    found = read_evaluation(tmp_path / "a.json")
    assert found.scores["accuracy"] == pytest.approx(100 * logged["val/accuracy"])
    assert found.scores["calibration_error"] == pytest.approx(100 * logged["val/calibration_error"], abs=1e-3)


def test_calibration_is_kept_beside_the_checkpoint(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = {"label_smoothing": 0.01, "class_weights": "balanced"}
    run = _train(place, "Classify", "smooth", **{f"model.objective.init_args.{key}": v for key, v in settings.items()})
    before = load_classifier(run)
    assert before.calibration.temperature == 1.0
    classify_command(str(run), calibrate=True, output=str(tmp_path / "a.json"))
    after = load_classifier(run)
    temperature = after.calibration.temperature
    assert temperature != 1.0
    assert f"temperature {temperature:.4f}" in capsys.readouterr().out
    text = [["the room was lovely"]]
    scores = before.score([before.encode(text[0])])[0][0]
    expected = (scores / temperature).softmax(-1).tolist()
    assert list(next(after.label(text))["probabilities"].values()) == pytest.approx(expected, abs=1e-6)
    other = replace(before.loaded, path=before.loaded.path.with_name("step-000000001"))
    assert replace(before, loaded=other).calibration.temperature == 1.0
    (run / "calibration.json").write_text("{")
    with pytest.raises(CheckpointError, match=r"calibration.json"):
        load_classifier(run)


@pytest.mark.parametrize("objective", ["Classify", pytest.param("TokenClassify", marks=pytest.mark.slow)])
def test_balanced_weights_are_counted_and_kept(place: Path, objective: str) -> None:
    """Of the training half of the store, in the checkpoint."""
    settings = {"label_smoothing": 0.01, "class_weights": "balanced"}
    given = {f"model.objective.init_args.{key}": value for key, value in settings.items()}
    run = _train(place, objective, "smooth", **given)
    split = build(run / "config.yaml", command="validate").datamodule.open_store().split("train")
    if objective == "Classify":
        answers = split.document_column("label")[:, 0]
    else:
        answers = np.concatenate([np.fromfile(path, "<i4") for path in sorted(split_files(run, "tags"))])
    counts = np.bincount(answers[answers >= 0])
    kept = weights_of(run)["extras.balance.weights"]
    assert kept.tolist() == pytest.approx((counts.sum() / (len(counts) * counts)).tolist())
    assert len(set(kept.tolist())) > 1


def split_files(run: Path, column: str) -> Iterator[Path]:
    """The column's shards of the training split."""
    store = build(run / "config.yaml", command="validate").datamodule.open_store()
    return Path(store.path).glob(f"{column}-train-*.bin")


def test_what_has_no_head_is_refused(place: Path, tmp_path: Path) -> None:
    run = _train(place, "Classify", "base", **{"model.objective": "CausalLM"})
    with pytest.raises(CheckpointError, match="is a language model and has no head"):
        load_classifier(run)
    (tmp_path / "bad.jsonl").write_text('{"label": "good"}\n')
    with pytest.raises(DataError, match="no text in the field 'text'"):
        classify_command(str(_train(place, "Classify")), [str(tmp_path / "bad.jsonl")])
    (tmp_path / "new.jsonl").write_text('{"text": "x", "label": "fine"}\n')
    with pytest.raises(DataError, match="one of bad, good"):
        classify_command(str(_train(place, "Classify")), [str(tmp_path / "new.jsonl")])


def test_a_head_beside_an_adapter_labels_texts(place: Path) -> None:
    base = _train(place, "Classify", "base", **{"model.objective": "CausalLM"})
    run = place / "adapted"
    settings = {
        "data.source": str(place / "reviews.jsonl"),
        "data.layout": "Labelled",
        "data.packing": "Document",
        "data.block_size": 64,
        "model.objective": "Classify",
        "model.adaptation": "LoRA",
        "run.dir": str(run),
    }
    tiny_run(settings, args=[f"--init_from={base}"]).fit()
    (found,) = load_classifier(run).label([["the room was lovely"]])
    assert found["label"] in ("good", "bad")
    assert torch.isfinite(torch.tensor(list(found["probabilities"].values()))).all()


def test_the_shipped_config_trains(place: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = _train(place, "Classify", "base", **{"model.objective": "CausalLM"})
    monkeypatch.chdir(tmp_path)
    config = Path(__file__).parents[2] / "configs" / "finetune" / "classify.yaml"
    short = {"trainer.max_steps": 2, "data.source": str(place / "reviews.jsonl"), "data.tokenizer": "bytes"}
    small = {"data.batch_size": 2, "data.block_size": 64, "init_from": str(base)}
    assert build(config, short, small).fit().folder == Path("runs") / "classify-1"
