"""TensorBoard's HParams tab of a sweep, read with TensorBoard's reader: domains, values, true ends."""

from __future__ import annotations

from pathlib import Path

import pytest
from tensorboard.plugins.hparams import metadata

from gpt_lightning.parsing.trust import TRUST_VARIABLE
from gpt_lightning.training.runs.run_folder import read_starts, write_manifest
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.study.board_tab import close_killed, declare, session_values
from tests.tracking.test_records import read_hparams
from tests.tuning.saboteurs import sabotage
from tests.tuning.sweeping import make_sweep, train_all, write_sweep

SUCCESS, FAILURE, UNKNOWN = 1, 2, 0


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRUST_VARIABLE, "tests.tuning.saboteurs")


def test_the_space_is_declared_with_types_and_trials_show_values_of_it(tmp_path: Path) -> None:
    parameters = {
        "model.optimizer.lr": {"distribution": "log_grid", "min": 0.001, "max": 0.004},
        "model.config.n_layer": {"distribution": "int_uniform", "min": 1, "max": 3},
        "model.config.dropout": {"min": 0.0, "max": 0.5},
        "model.schedule": {"values": ["WSD", {"class_path": "Cosine"}]},
        "trainer.gradient_clip_val": {"values": [None, 1.0]},
        "model.config.bias": {"values": [True, False]},
    }
    spec = read_spec(write_sweep(tmp_path, {"parameters": parameters}))
    declare(spec, tmp_path / "trials")
    experiment = read_hparams(tmp_path / "trials")[metadata.EXPERIMENT_TAG].experiment
    infos = {info.name: info for info in experiment.hparam_infos}
    assert set(infos) == {"seed_everything", *parameters}
    assert [each.number_value for each in infos["model.optimizer.lr"].domain_discrete.values] == [0.001, 0.002, 0.004]
    assert infos["model.config.n_layer"].domain_interval.max_value == 3
    assert infos["model.config.dropout"].domain_interval.max_value == 0.5
    assert {each.bool_value for each in infos["model.config.bias"].domain_discrete.values} == {True, False}
    assert [info.name.tag for info in experiment.metric_infos] == ["val/loss"]
    chosen = {"model.schedule": {"class_path": "Cosine"}, "trainer.gradient_clip_val": None, "model.config.n_layer": 2}
    values = session_values(spec, chosen)
    assert values == {
        "model.schedule": '{"class_path": "Cosine"}',
        "trainer.gradient_clip_val": "None",
        "model.config.n_layer": 2,
    }
    for key in ("model.schedule", "trainer.gradient_clip_val"):
        assert values[key] in {each.string_value for each in infos[key].domain_discrete.values}


def test_trials_end_in_the_tab_and_in_the_manifest_as_they_did(tmp_path: Path) -> None:
    ways = [sabotage("nothing"), sabotage("kill", 1)]
    points = [(0, 2), (0, 4), (1, 4)]
    content = {
        "parameters": {"trainer.callbacks": {"values": ways}, "trainer.max_steps": {"values": [2, 4]}},
        "enqueue": [{"trainer.callbacks": ways[way], "trainer.max_steps": steps} for way, steps in points],
        "derive": {"monitor.details": True},
        "early_terminate": {"type": "threshold", "upper": 1.0},
        "retry": {"max": 0},
        "budget": {"trials": 3},
    }
    sweep = make_sweep(tmp_path, content)
    assert train_all(sweep) == {"complete": 1, "pruned": 1, "died": 1}
    assert [entry.state for entry in sweep.entries()] == ["complete", "pruned", "failed"]
    folders = [sweep.folder.trial(number) for number in range(3)]
    records = [read_hparams(folder) for folder in folders]
    ends = [record[metadata.SESSION_END_INFO_TAG].session_end_info.status for record in records]
    assert ends == [SUCCESS, UNKNOWN, FAILURE]
    for (_, steps), record in zip(points, records, strict=True):
        shown = record[metadata.SESSION_START_INFO_TAG].session_start_info.hparams
        assert set(shown) == {"seed_everything", "trainer.callbacks", "trainer.max_steps"}
        assert shown["trainer.max_steps"].number_value == steps
    told = [read_starts(folder)[-1]["end"] for folder in folders]
    assert [end["state"] for end in told] == ["finished", "finished", "failed"]
    assert told[1]["reason"].startswith("ended early, at step 2 of 4: ")
    assert told[2]["reason"].startswith("killed by SIGKILL")
    assert not (folders[1] / "alerts.jsonl").exists(), "no failure, so no alert"
    assert metadata.EXPERIMENT_TAG in read_hparams(sweep.folder.trials)


def test_only_a_run_that_could_not_tell_its_end_is_told_for(tmp_path: Path) -> None:
    close_killed(tmp_path / "never begun", stopped=False, reason="r", step=0, seconds=0.0)
    assert not (tmp_path / "never begun").exists()
    write_manifest(tmp_path, command=["fit"], seed=1, facts={"total_steps": 9})
    close_killed(tmp_path, stopped=True, reason="first", step=4, seconds=1.0)
    close_killed(tmp_path, stopped=False, reason="second", step=5, seconds=1.0)
    (start,) = read_starts(tmp_path)
    assert {key: start["end"][key] for key in ("state", "reason", "step", "total_steps")} == {
        "state": "stopped",
        "reason": "first",
        "step": 4,
        "total_steps": 9,
    }
    assert not list(tmp_path.glob("events.*")), "no session was opened"
