"""Alerts of real runs: rules from YAML, a spike that is made, a failure, a hang that ends the process."""

from __future__ import annotations

import json
import logging
import time
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from tensorboard.summary.writer.record_writer import RecordWriter

from gpt_lightning.errors import ConfigError, TrainingError
from gpt_lightning.training.fitting.run import add_callbacks
from tests.training.forked import TINY, run_child, write_corpus
from tests.training.runs import tiny_run
from tests.training.test_insight import Events


def alerts(folder: Path) -> list[dict[str, Any]]:
    path = folder / "alerts.jsonl"
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()] if path.exists() else []


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


RULES: dict[str, Any] = {
    "monitor.alerts": [
        {"class_path": "ValidationRising", "init_args": {"times": 1, "least": 0.5}},
        {"class_path": "DiskAlmostFull", "init_args": {"gib": 1e9}},
    ],
    "monitor.tell": [{"class_path": "Command", "init_args": {"words": ["tee", "told.json"]}}],
    "monitor.details": True,
}


class _Spoil(Callback):
    """Worse weights after step 3."""

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        if trainer.global_step == 4:
            with torch.no_grad():
                for weight in pl_module.parameters():
                    weight.mul_(-300)


def test_rules_of_a_run_speak_once_and_everywhere(place: Path, caplog: pytest.LogCaptureFixture) -> None:
    run = tiny_run(RULES, {"run.dir": "run"})
    add_callbacks(run.trainer, _Spoil())
    with caplog.at_level(logging.WARNING):
        run.fit()
    found = alerts(place / "run")
    assert [(entry["rule"], entry["step"]) for entry in found] == [("DiskAlmostFull", 1), ("ValidationRising", 6)]
    assert found[0]["run"] == "run"
    assert "GiB are left" in found[0]["message"]
    assert sum("alert at step" in record.getMessage() for record in caplog.records) == 2
    assert [step for step, _ in Events(place / "run").text("run/alerts")] == [1, 6]
    assert json.loads((place / "told.json").read_text(encoding="utf-8")) == found[1]


def test_a_run_that_fails_says_so(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = RecordWriter.write

    def write_slowly(writer: RecordWriter, data: bytes) -> None:
        # TensorBoard writes from a thread; without waiting for it the file would be whole only by luck.
        time.sleep(0.5 if b"RunFailed" in data else 0.0)
        write(writer, data)

    monkeypatch.setattr(RecordWriter, "write", write_slowly)
    run = tiny_run({"run.dir": "run", "model.optimizer.lr": 1e30})  # held: a freed run would close its files
    with pytest.raises(TrainingError):
        run.fit()
    (entry,) = alerts(place / "run")
    assert entry["rule"] == "RunFailed"
    assert "Training stopped before step" in entry["message"]
    ((_, shown),) = Events(place / "run").text("run/alerts")
    assert "RunFailed" in shown, "not flushed"


def test_alerts_behind_the_checkpoint_are_cut_on_resume(place: Path) -> None:
    folder = place / "run"
    tiny_run({"run.dir": "run", "monitor.alerts": []}).fit()
    (folder / "alerts.jsonl").write_text('{"step": 2}\n{"step": 6}\n', encoding="utf-8")
    for path in (folder / "checkpoints").glob("step-000000006"):
        path.rename(folder / "checkpoints" / "gone")
    tiny_run({"run.dir": "run", "monitor.alerts": []}).fit(resume="auto")
    assert [entry["step"] for entry in alerts(folder)] == [2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"monitor.alerts": [{"class_path": "LossSpike", "init_args": {"points": 1}}]}, "LossSpike.points"),
        ({"monitor.tell": [{"class_path": "Webhook", "init_args": {"url": "nowhere"}}]}, "Webhook.url"),
        ({"monitor.hang_seconds": 0}, "hang_seconds"),
        ({"monitor.sample_tokens": 0}, "sample_tokens"),
        ({"monitor.details_every": 0}, "details_every"),
    ],
)
def test_wrong_settings_are_refused_before_anything_is_written(
    place: Path, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        tiny_run(settings, {"run.dir": "run"})
    assert not (place / "run").exists()


class _Hang(Callback):
    def on_train_batch_start(self, trainer: Trainer, pl_module: LightningModule, batch: Any, batch_idx: int) -> None:
        if trainer.global_step == 2:
            time.sleep(60)


def hang(folder: Path) -> None:
    settings = {"monitor": {"hang_seconds": 5.0, "hang_exits": True}, "run.dir": str(folder)}
    run = tiny_run(TINY, {"data.source": str(folder.parent / "corpus.txt"), "trainer.max_steps": 6}, settings)
    add_callbacks(run.trainer, _Hang())
    run.fit()


@pytest.mark.slow
def test_a_run_that_hangs_says_where_and_ends_with_code_4(place: Path) -> None:
    assert run_child(place, hang, place / "run") == 4
    assert "on_train_batch_start" in (place / "run" / "hang-1.txt").read_text(encoding="utf-8")
    (entry,) = alerts(place / "run")
    assert entry["rule"] == "Watchdog"
    assert entry["step"] == 2
