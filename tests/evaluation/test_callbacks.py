"""Scores during training: right, logged, and without a trace in the training itself."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.callbacks import TaskScores
from gpt_lightning.evaluation.kinds.task_files import read_task
from gpt_lightning.evaluation.kinds.tasks import Asking
from gpt_lightning.training.runs.run_folder import read_metrics
from gpt_lightning.weights.loading import load_model
from tests.training.forked import run_child, write_corpus
from tests.training.runs import tiny_run, weights_of
from tests.training.together import fit, run_together

KIND = "gpt_lightning.evaluation.callbacks.TaskScores"


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    write_files(tmp_path)


def write_files(folder: Path) -> None:
    write_corpus(folder)
    text = (folder / "corpus.txt").read_text()
    rows = [{"text": text[n * 50 : n * 50 + 12], "answer": text[n * 50 + 12 : n * 50 + 15]} for n in range(5)]
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "guess.yaml").write_text("kind: Cloze\nname: guess\ndata: rows.jsonl\ntarget: '{answer}'\n")
    (folder / "write.yaml").write_text(
        "kind: Generation\nname: write\ndata: rows.jsonl\nprompt: '{text}'\nreferences: answer\nmax_tokens: 4\n"
        "temperature: 1.0\n"
    )


def scored(**arguments: Any) -> dict[str, Any]:
    return {
        "trainer.callbacks": [{"class_path": KIND, "init_args": {"tasks": ["guess.yaml", "write.yaml"], **arguments}}]
    }


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """``plain`` and ``watched``: the same training, scored at validations whose step is a multiple of 4."""
    folder = tmp_path_factory.mktemp("scores")
    settings = {"model.config.dropout": 0.1, "model.ema_decay": 0.9, "run.validate_every": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("GPT_LIGHTNING_CACHE", str(folder / "cache"))
        write_files(folder)
        tiny_run(settings, {"run.dir": "plain"}).fit()
        result = tiny_run(settings, {"run.dir": "watched"}, scored(every_steps=4, shots=1)).fit()
    (folder / "metrics.json").write_text(json.dumps(result.metrics))
    return folder


def test_training_is_the_same_to_the_last_bit(runs: Path) -> None:
    for step in (2, 4, 6):
        ours, theirs = weights_of(runs / "watched", step), weights_of(runs / "plain", step)
        assert all(torch.equal(ours[name], theirs[name]) for name in theirs)

    def curve(name: str) -> list[dict[str, Any]]:
        found = [
            {key: value for key, value in line.items() if key in ("step", "train/loss", "val/loss")}
            for line in read_metrics(runs / name)
        ]
        return [line for line in found if len(line) > 1]

    assert curve("watched") == curve("plain")


def test_scores_are_those_of_the_checkpoint_in_the_stated_interval(runs: Path) -> None:
    metrics = json.loads((runs / "metrics.json").read_text())
    last = load_model(runs / "watched", prefer="last")
    for name in ("guess", "write"):
        expected = read_task(runs / f"{name}.yaml").run(last, Asking(data=runs, shots=1)).scores
        found = {metric: metrics[f"eval/{name}/{metric}"] for metric in expected}
        assert found == pytest.approx(expected, rel=1e-5)
    lines = [line for line in read_metrics(runs / "watched") if "eval/guess/accuracy" in line]
    assert [line["step"] for line in lines] == [4, 6], "every 4 steps, and the last one"
    assert all("eval/write/bleu" in line for line in lines)


def test_processes_share_the_questions(runs: Path) -> None:
    last = load_model(runs / "plain", prefer="last")
    task = read_task(runs / "guess.yaml")
    whole = task.run(last, Asking(data=runs))
    parts = [task.run(last, Asking(data=runs, part=(rank, 7))) for rank in range(7)]
    assert sorted(item.name for part in parts for item in part.items) == sorted(item.name for item in whole.items)
    assert [len(part.items) for part in parts] == [1, 1, 1, 1, 1, 0, 0]
    for measure in whole.measures:
        together = sum(part.rows(measure).sum(axis=0) for part in parts)
        assert together == pytest.approx(whole.rows(measure).sum(axis=0), rel=1e-5)


@pytest.mark.slow
def test_two_processes_find_what_one_finds(tmp_path: Path) -> None:
    shared = {"max_steps": 4, "callbacks": scored(shots=1)["trainer.callbacks"]}
    one = {"trainer": {**shared, "accumulate_grad_batches": 2}}
    two = {"trainer": {**shared, "devices": 2, "strategy": "ddp"}}
    assert run_child(tmp_path, fit, tmp_path / "one", one, "never") == 0
    assert run_together(tmp_path, 2, fit, tmp_path / "two", two, "never") == [0, 0]
    alone, together = (
        [line for line in read_metrics(tmp_path / name) if "eval/guess/accuracy" in line] for name in ("one", "two")
    )
    assert len(together) == len(alone) >= 1
    for expected, found in zip(alone, together, strict=True):
        scores = {name: value for name, value in expected.items() if name.startswith("eval/")}
        assert len(scores) > 8
        assert {name: found[name] for name in scores} == pytest.approx(scores, rel=1e-5)


def test_mistakes_are_found_before_training() -> None:
    with pytest.raises(ConfigError, match="every_steps counts optimizer steps: got 0"):
        tiny_run({"run.dir": "run"}, scored(every_steps=0))
    with pytest.raises(DataError, match="too few rows"):
        tiny_run({"run.dir": "run"}, scored(shots=9))
    with pytest.raises(ConfigError, match="There is no such task: got 'guess'"):
        TaskScores(["guess"])
    assert not Path("run").exists()
