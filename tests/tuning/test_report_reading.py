"""A study and trial folders on disk -> facts and files, at every stage of a sweep."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState, create_trial

from gpt_lightning.cli import main
from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.report.report_reading import flatten, read_sweep
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.study.study import open_study
from gpt_lightning.tuning.study.sweep_folder import SweepFolder
from gpt_lightning.tuning.trial.mailbox import Mailbox, Report, Result
from tests.selections import seldom

SWEEP = """\
name: lr
description: A made-up sweep.
base: [base.yaml]
metrics:
  - {name: val/loss, goal: minimize}
parameters:
  model.optimizer.lr: {distribution: log_grid, min: 1e-3, max: 8e-3, per_octave: 1}
  model.schedule.class_path: {values: [WSD, Cosine]}
budget: {trials: 6}
"""
BASE = """\
model:
  config: {n_layer: 1, n_head: 2, n_embd: 16}
data: {source: corpus.txt, tokenizer: bytes, block_size: 16}
trainer: {accelerator: cpu, max_steps: 8}
"""
START = datetime(2026, 1, 1)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SweepFolder:
    """A sweep that has just begun."""
    monkeypatch.chdir(tmp_path)
    Path("base.yaml").write_text(BASE, encoding="utf-8")
    Path("lr.yaml").write_text(SWEEP, encoding="utf-8")
    folder = SweepFolder(Path("runs/lr"))
    folder.prepare(read_spec(Path("lr.yaml")))
    return folder


@pytest.fixture
def study(home: SweepFolder) -> optuna.Study:
    return open_study(read_spec(Path("lr.yaml")), home)


def add(
    study: optuna.Study,
    home: SweepFolder,
    first: int,
    lr: float,
    state: TrialState = TrialState.COMPLETE,
    value: float | None = None,
    **attrs: object,
) -> Path:
    """A trial in the study and its folder on disk."""
    parameters = read_spec(Path("lr.yaml")).parameters
    rate, shape = parameters["model.optimizer.lr"], parameters["model.schedule.class_path"]
    begin = START + timedelta(seconds=30 * len(study.trials))
    folder = home.trial(first)
    trial = create_trial(
        state=state,
        value=value,
        params={rate.stored_name: rate.encode(lr), shape.stored_name: "WSD"},
        distributions={rate.stored_name: rate.distribution(), shape.stored_name: shape.distribution()},
        user_attrs={"first": first, "folder": f"trials/{first:05d}", **attrs},
    )
    trial.datetime_start = begin
    trial.datetime_complete = begin + timedelta(seconds=20) if state.is_finished() else None
    study.add_trial(trial)
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def report(folder: Path, n: int, loss: float) -> None:
    Mailbox(folder).post(Report(n=n, step=2 * n + 2, tokens=128 * (n + 1), metrics={"val/loss": loss}))


def test_a_sweep_with_a_retry_a_pruning_and_a_winner(home: SweepFolder, study: optuna.Study) -> None:
    first = add(study, home, 0, 0.002, TrialState.FAIL, reason="killed by signal 9")
    report(first, 0, 5.0)
    report(first, 1, 4.5)
    pruned = add(study, home, 1, 0.008, TrialState.PRUNED, reason="behind the median", executed_steps=4)
    report(pruned, 0, 9.0)
    add(study, home, 0, 0.002, value=3.5)  # the second attempt at trial 0
    report(first, 1, 4.0)
    report(first, 2, 3.5)
    Result(
        state="complete", value=3.5, metrics={"val/loss": 3.5}, steps=8, executed_steps=6, reused_steps=2, tokens=512,
        seconds=12.5, attempts=2, seed=7,
    ).write(first)  # fmt: skip
    (first / "metrics.jsonl").write_text(
        "".join(
            json.dumps({"step": step, "data/tokens": 64 * step, "optim/lr/matrix": 0.002, "optim/lr/vector": 1.0})
            + "\n"
            for step in (1, 2)
        )
    )
    (first / "config.yaml").write_text(BASE.replace("n_embd: 16", "n_embd: 32"), encoding="utf-8")
    manifest = {"starts": [{"host": "h", "git": {"commit": "a" * 40, "changed": True}, "packages": {"torch": "9"}}]}
    (first / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")

    facts = read_sweep(home.path)
    assert [(trial.number, trial.state) for trial in facts.trials] == [(0, "complete"), (1, "pruned")]
    winner, stopped = facts.trials
    assert winner.parameters == {"model.optimizer.lr": 0.002, "model.schedule.class_path": "WSD"}
    assert [each.state for each in winner.attempts] == ["failed", "complete"]
    assert winner.attempts[0].reason == "killed by signal 9"
    assert [point.metrics["val/loss"] for point in winner.points] == [5.0, 4.0, 3.5]
    assert winner.rates == ((64.0, 0.002), (128.0, 0.002))
    assert (winner.values, winner.steps, winner.executed_steps, winner.reused_steps) == ((3.5,), 8, 6, 2)
    assert (winner.tokens, winner.seconds, winner.seed) == (512, 12.5, 7)
    assert (stopped.reason, stopped.executed_steps, stopped.seconds) == ("behind the median", 4, 20.0)
    assert facts.best == winner
    assert facts.base["model.config.n_embd"] == 16
    assert facts.best_settings["model.config.n_embd"] == 32
    assert facts.logarithmic == {"model.optimizer.lr"}
    assert facts.planned_trials == 6
    assert facts.environment["commit"] == "a" * 12 + " with changes"
    assert facts.problems == ()


def test_a_folder_that_was_moved_is_found(home: SweepFolder, study: optuna.Study) -> None:
    report(add(study, home, 0, 0.002, value=3.5), 0, 3.5)
    home.path.rename("elsewhere")
    assert read_sweep(Path("elsewhere")).trials[0].points


def _nothing(study: optuna.Study, home: SweepFolder) -> None:
    home.database.unlink()


def _no_trial(study: optuna.Study, home: SweepFolder) -> None:
    pass


def _running(study: optuna.Study, home: SweepFolder) -> None:
    report(add(study, home, 0, 0.002, TrialState.RUNNING), 0, 4.0)
    with (home.trial(0) / "mailbox" / "reports.jsonl").open("a") as file:
        file.write('{"n": 1, "st')  # being written just now


def _crashed(study: optuna.Study, home: SweepFolder) -> None:
    add(study, home, 0, 0.002, TrialState.FAIL, reason="killed by signal 9").rmdir()


def _one(study: optuna.Study, home: SweepFolder) -> None:
    report(add(study, home, 0, 0.002, value=3.5), 0, 3.5)


@pytest.mark.parametrize(
    "stage", [_nothing, _running, _one, *seldom(_no_trial, _crashed)], ids=lambda stage: stage.__name__
)
def test_the_command_works_at_every_stage(
    stage: Callable[[optuna.Study, SweepFolder], None],
    home: SweepFolder,
    study: optuna.Study,
    capsys: pytest.CaptureFixture[str],
) -> None:
    stage(study, home)
    assert main(["sweep", "report", "runs/lr"]) == 0
    assert capsys.readouterr().out.split() == ["runs/lr/report.html", "runs/lr/report.md"]
    assert "<h1>Sweep lr</h1>" in home.report.read_text(encoding="utf-8")
    assert home.path.joinpath("report.md").read_text(encoding="utf-8").startswith("# Sweep lr")
    if stage is _nothing:
        assert not home.database.exists(), "a report creates nothing"


def test_out_names_the_page(home: SweepFolder, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sweep", "report", "lr", "--out", "deep/er.html"]) == 0
    assert Path("deep/er.html").exists()
    assert Path("deep/er.md").exists()
    capsys.readouterr()
    assert main(["sweep", "report", "lr", "--out", "page.pdf"]) == 2
    assert "got 'page.pdf' (allowed: a name that ends in .html)" in capsys.readouterr().err
    assert main(["sweep", "report", "lr", "--out", "base.yaml/page.html"]) == 2
    assert "cannot be written" in capsys.readouterr().err
    assert main(["sweep", "report", "nowhere"]) == 3
    assert "Sweeps here: runs/lr" in capsys.readouterr().err


def test_flatten_and_spec_errors_come_through(home: SweepFolder) -> None:
    assert flatten({"a": {"b": {"c": 1}}, "d": [1]}) == {"a.b.c": 1, "d": [1]}
    home.file.write_text("name: [", encoding="utf-8")
    with pytest.raises(ConfigError):
        read_sweep(home.path)
