"""Every key and its edge values meet the parser of ``fit`` before trial 1."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.spec.trial_arguments import trial_arguments
from gpt_lightning.tuning.study.checking import check_sweep, cover, describe_plan, estimate
from tests.tuning.sweeping import BASE, SPACE, write_sweep


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"parameters": {"model.optimizer.lrr": {"values": [1]}}}, "--model.optimizer.lr?"),
        ({"parameters": {"model.schedule": {"values": ["Cosine", "WSDD"]}}}, "WSD"),
        ({"parameters": {"model.config.dropout": {"min": 0.0, "max": 1.5}}}, "dropout"),
        (
            {
                "parameters": {
                    "model.optimizer": {
                        "values": [
                            {"class_path": "AdamW", "init_args": {"lr": 1e-3}},
                            {"class_path": "AdamW", "init_args": {"lrr": 1e-3}},
                        ]
                    }
                }
            },
            "lrr",
        ),
        (
            {
                "parameters": {"trainer.max_steps": {"min": 1, "max": 40}},
                "derive": {"~a": "1 / (${trainer.max_steps} - 20)"},
            },
            "division by zero",
        ),
        ({"metric": {"name": "val/los"}}, "Did you mean val/loss"),
        ({"constraints": [{"metric": "test/loss", "max": 1}]}, "no run logs this metric: got 'test/loss'"),
        ({"derive": {"trainer.max_steps": "${trainer.max_step} * 2"}}, "Did you mean trainer.max_steps"),
    ],
)
def test_what_would_fail_later_fails_now(tmp_path: Path, content: dict[str, Any], told: str) -> None:
    spec = read_spec(write_sweep(tmp_path, content))
    with pytest.raises(ConfigError) as caught:
        check_sweep(spec)
    assert told in str(caught.value)


def test_the_plan_is_told_in_numbers(tmp_path: Path) -> None:
    content = {"budget": {"trials": 12}, "derive": {"data.batch_size": "${data.block_size} // 4"}}
    spec = read_spec(write_sweep(tmp_path, {**content, "early_terminate": {"type": "median"}}))
    checked = check_sweep(spec)
    assert checked.constants == {"data.block_size": 16}
    assert (checked.total_steps, checked.total_tokens, checked.reports) == (6, 384, 3)
    estimate(spec, checked, count=6)
    assert checked.savings is not None
    text = describe_plan(spec, checked)
    assert "sweep s: 12 trials, method tpe, seed 1337, minimize val/loss (last)" in text
    assert "  model.schedule.decay: one of 20%, 40%, where model.schedule is WSD" in text
    assert "of the steps are executed" in text


def test_few_points_hold_every_edge_value(tmp_path: Path) -> None:
    spec = read_spec(write_sweep(tmp_path, {}))
    points = cover(spec)
    assert len(points) <= 4
    for key, parameter in spec.parameters.items():
        assert all(any(point.get(key) == edge for point in points) for edge in parameter.edges())


def test_a_value_that_exists_beside_a_value_between_the_edges_is_tried(tmp_path: Path) -> None:
    space: dict[str, dict[str, Any]] = {
        "model.config.n_layer": {"min": 1, "max": 5},
        "model.schedule": {"when": {"model.config.n_layer": [3, 4]}, "values": ["WSD", "Cosine"]},
        "model.schedule.decay": {"when": {"model.schedule": "WSD", "model.config.n_layer": 4}, "values": ["20%"]},
    }
    points = cover(read_spec(write_sweep(tmp_path, {"parameters": space})))
    assert {"model.config.n_layer": 4, "model.schedule": "WSD", "model.schedule.decay": "20%"} in points
    assert {point.get("model.schedule") for point in points} == {"WSD", "Cosine", None}
    space["model.schedule.decay"]["when"] = {"model.schedule": "WSD", "model.config.n_layer": 1}
    with pytest.raises(ConfigError, match=r"parameters\.model\.schedule\.decay\.when is never true"):
        cover(read_spec(write_sweep(tmp_path, {"parameters": space})))


def test_another_class_starts_from_its_own_defaults(tmp_path: Path) -> None:
    from gpt_lightning.training.fitting.command_line import TrainerCommandLine

    file = write_sweep(tmp_path, {"parameters": {"model.optimizer": {"values": ["AdamW", "Muon"]}, **SPACE}})
    base = "model: {optimizer: {class_path: AdamW, init_args: {lr: 0.5, weight_decay: 0.25}}}\ndata: {source: x.txt}\n"
    (tmp_path / "base.yaml").write_text(base)
    spec, classes = read_spec(file), {"model.optimizer": "AdamW"}
    for name, rate, decay in (("AdamW", 0.5, 0.25), ("Muon", 0.02, 0.0)):
        optimizer = TrainerCommandLine(
            "fit", trial_arguments(spec, {"model.optimizer": name}, classes)
        ).config.model.optimizer
        assert optimizer.class_path.endswith(name)
        assert (optimizer.init_args.lr, optimizer.init_args.weight_decay) == (rate, decay)


@pytest.mark.parametrize(
    ("setting", "told"),
    [
        (
            {"data.val_fraction": 0},
            "got 'data.val_fraction 0' (allowed: data.val_fraction above 0, or a metric of training",
        ),
        ({"trainer.limit_val_batches": 0}, "got 'trainer.limit_val_batches 0'"),
    ],
)
def test_a_sweep_says_that_it_needs_validation(tmp_path: Path, setting: dict[str, Any], told: str) -> None:
    (key,) = setting
    section, _, name = key.partition(".")
    base = dump_yaml({**BASE, section: {**BASE[section], name: 0}})
    file = write_sweep(tmp_path, {})
    (tmp_path / "base.yaml").write_text(base)
    spec = read_spec(file)
    with pytest.raises(ConfigError, match="compares val/loss, and its base does not validate") as caught:
        check_sweep(spec)
    assert told in str(caught.value)
    file = write_sweep(tmp_path, {"metric": {"name": "train/loss"}})
    (tmp_path / "base.yaml").write_text(base)
    check_sweep(read_spec(file))
