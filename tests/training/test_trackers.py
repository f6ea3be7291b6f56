"""Numbers in other places: CSV here, Weights & Biases and MLflow in the slow half; and traces of steps."""

from __future__ import annotations

import gzip
import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.training.runs.run_folder import read_metrics
from gpt_lightning.training.watch import trackers
from gpt_lightning.training.watch.trackers import CSV, read_csv
from tests.training.forked import write_corpus
from tests.training.runs import STEPS, Crash, crash_at, tiny_run
from tests.training.test_insight import Events


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    write_corpus(tmp_path)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_csv_holds_what_json_lines_hold_over_a_resume(place: Path) -> None:
    settings: dict[str, Any] = {"monitor.trackers": ["CSV"], "run.dir": "run"}
    with pytest.raises(Crash):
        crash_at(tiny_run(settings), 5).fit()
    with (place / "run" / "metrics.csv").open("a", encoding="utf-8") as file:
        file.write("6,17")  # cut off by a kill
    tiny_run(settings).fit(resume="auto")
    rows = [(int(row["step"]), row["name"], float(row["value"])) for row in read_csv(place / "run" / "metrics.csv")]
    lines = [
        (line["step"], name, value)
        for line in read_metrics(place / "run")
        for name, value in line.items()
        if name not in ("step", "time")
    ]
    assert rows == lines
    assert rows[-1][0] == STEPS


def test_a_missing_package_is_named_before_anything_is_trained(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trackers, "find_spec", lambda package: None)
    for name, extra in (("WandB", "wandb"), ("MLflow", "mlflow")):
        with pytest.raises(ConfigError, match=rf"pip install 'gpt-lightning\[{extra}\]'"):
            tiny_run({"monitor.trackers": [name], "run.dir": "run"})
    assert not (place / "run").exists()


def test_an_empty_csv_begins_with_its_header(tmp_path: Path) -> None:
    CSV().attach(tmp_path, {}, -1)
    assert (tmp_path / "metrics.csv").read_text(encoding="utf-8") == "step,time,name,value\n"


def test_chosen_steps_are_traced(place: Path) -> None:
    tiny_run({"monitor": {"trace_steps": [2, 5], "details": True}, "run.dir": "run"}).fit()
    found = sorted(path.name for path in (place / "run" / "traces").iterdir())
    assert found == [f"step-00000000{step}.{kind}" for step in (2, 5) for kind in ("json.gz", "txt")]
    with gzip.open(place / "run" / "traces" / "step-000000005.json.gz", "rt", encoding="utf-8") as file:
        names = {event.get("name") for event in json.load(file)["traceEvents"]}
    assert any("backward" in str(name).lower() for name in names)
    assert [step for step, _ in Events(place / "run").text("run/traces")] == [2, 5]
    with pytest.raises(ConfigError, match="trace_steps"):
        tiny_run({"monitor.trace_steps": [0]})


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_wandb_offline_uses_no_network(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address is one that nobody answers at; offline it is never asked."""
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    tracker = {"class_path": "WandB", "init_args": {"offline": True}}
    tiny_run({"monitor.trackers": [tracker], "run.dir": "run"}).fit()
    (stored,) = (place / "run" / "wandb").glob("offline-run-*/*.wandb")
    content = stored.read_bytes()
    assert b"train/loss" in content
    assert b"n_layer" in content
    assert not (place / "wandb").exists()


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_mlflow_in_a_database_goes_on_with_its_run(place: Path) -> None:
    pytest.importorskip("mlflow")
    settings: dict[str, Any] = {"monitor.trackers": ["MLflow"], "run.dir": "runs/one"}
    with pytest.raises(Crash):
        crash_at(tiny_run(settings), 5).fit()
    tiny_run(settings).fit(resume="auto")
    with closing(sqlite3.connect(place / "runs" / "mlflow.db")) as database:
        runs = database.execute("select name, status from runs").fetchall()
        losses = database.execute("select step, value from metrics where key = 'val/loss' order by step").fetchall()
        params = dict(database.execute("select key, value from params").fetchall())
    assert runs == [("one", "FINISHED")]
    assert [step for step, _ in losses] == [3, STEPS]
    wanted = [line["val/loss"] for line in read_metrics(place / "runs" / "one") if "val/loss" in line]
    assert [value for _, value in losses] == pytest.approx(wanted)
    assert params["model.config.n_layer"] == "2"


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("default")
def test_stock_mlflow_logger_works_too(place: Path) -> None:
    """With the stock CLI this fails: it saves the configuration into a folder that a database has not."""
    pytest.importorskip("mlflow")
    stock = {"class_path": "lightning.pytorch.loggers.MLFlowLogger", "init_args": {"tracking_uri": "sqlite:///ml.db"}}
    tiny_run({"trainer.logger": stock, "run.dir": "one"}).fit()
    with closing(sqlite3.connect(place / "ml.db")) as database:
        assert database.execute("select count(*) from metrics where key = 'train/loss'").fetchone() == (STEPS,)
