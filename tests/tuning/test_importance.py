"""Importances against answers that are known."""

from __future__ import annotations

from typing import Literal

import optuna
import pytest
from optuna.distributions import BaseDistribution, FloatDistribution
from optuna.study import StudyDirection

from gpt_lightning.tuning.report.report_facts import Objective
from gpt_lightning.tuning.report.report_plots import find_importances


def sampled(
    trials: int, directions: list[Literal["minimize", "maximize"] | StudyDirection], conditional: bool = False
) -> list[optuna.trial.FrozenTrial]:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(directions=directions, sampler=optuna.samplers.RandomSampler(seed=0))

    def objective(trial: optuna.Trial) -> list[float]:
        x, y = trial.suggest_float("x", -1, 1), trial.suggest_float("log2 y", -1, 1)
        if conditional and trial.suggest_categorical("kind", ["a", "b"]) == "a":
            trial.suggest_float("only a", 0, 1)
        return [x + y / 1000, -y + x / 1000][: len(directions)]

    study.optimize(objective, n_trials=trials)
    return study.trials


def test_the_parameter_that_decides_is_found() -> None:
    found, problems = find_importances(sampled(60, ["minimize"]), [Objective("loss")], {"log2 y": "y"})
    assert problems == []
    assert list(found["loss"]) == ["x", "y"]
    assert found["loss"]["x"] > 0.8
    assert sum(found["loss"].values()) == pytest.approx(1.0)


def test_every_objective_has_its_own_and_the_front_one_too() -> None:
    goals = [Objective("one"), Objective("two", "maximize")]
    found, problems = find_importances(sampled(60, ["minimize", "maximize"]), goals, {})
    assert problems == []
    assert list(found) == ["one", "two", "the Pareto front"]
    assert found["one"]["x"] > 0.8
    assert found["two"]["log2 y"] > 0.8


def test_conditional_parameters_take_part() -> None:
    found, problems = find_importances(sampled(60, ["minimize"], conditional=True), [Objective("loss")], {})
    assert problems == []
    assert {"x", "log2 y", "kind"} <= set(found["loss"])
    assert found["loss"]["x"] == max(found["loss"].values())


def test_too_few_trials_say_nothing() -> None:
    for count in (0, 3):
        trials = sampled(count, ["minimize"]) if count else []
        assert find_importances(trials, [Objective("loss")], {}) == ({}, [])
    broken = [optuna.trial.create_trial(value=float("inf")) for _ in range(9)]
    assert find_importances(broken, [Objective("loss")], {}) == ({}, [])


def test_one_value_everywhere_is_no_reason_to_fail() -> None:
    space: dict[str, BaseDistribution] = {"x": FloatDistribution(0, 1)}
    same = [optuna.trial.create_trial(value=1.0, params={"x": 0.5}, distributions=space) for _ in range(8)]
    found, problems = find_importances(same, [Objective("loss")], {})
    assert found == {}
    assert problems == [
        "No importances for loss: Target and region quantiles select the same set of trials. "
        "Parameter importances will be equal."
    ]
