from __future__ import annotations

import math
from itertools import pairwise

import optuna
import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.derive import evaluate
from gpt_lightning.tuning.parameters import LogGrid, Normal, Parameter, Range, Values

KINDS: list[Parameter] = [
    Values("k", [1, 2.5, "x", True, None, [1, 2], {"class_path": "WSD", "init_args": {"decay": 1}}]),
    Range("k", minimum=0.05, maximum=0.52, quantum=0.05),
    Range("k", minimum=1e-4, maximum=1e-1, log=True),
    Range("k", minimum=3, maximum=90, whole=True),
    Range("k", minimum=3, maximum=91, whole=True, quantum=4),
    Range("k", minimum=4, maximum=64, log=True, quantum=4),
    Range("k", minimum=1, maximum=64, log=True, whole=True),
    LogGrid("k", minimum=2.5e-4, maximum=8e-3, per_octave=2),
    Normal("k", mean=0.0, deviation=1.0, log=True),
]


@pytest.mark.parametrize("parameter", KINDS, ids=lambda each: type(each).__name__)
def test_what_is_sampled_is_a_value_and_goes_back_to_the_same(parameter: Parameter) -> None:
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    for _ in range(40):
        stored = study.ask({parameter.stored_name: parameter.distribution()}).params[parameter.stored_name]
        value = parameter.decode(stored)
        again = parameter.decode(parameter.encode(value))
        assert again == value or math.isclose(again, value, rel_tol=1e-6)
        grid = parameter.grid()
        assert grid is None or value in grid


def test_a_log_grid_has_equal_ratios_and_every_point_is_reached() -> None:
    grid = LogGrid("k", minimum=1e-3, maximum=8.1e-3, per_octave=2)
    points = grid.grid()
    assert len(points) == 7
    assert all(math.isclose(b / a, math.sqrt(2), rel_tol=1e-5) for a, b in pairwise(points))
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen = {grid.decode(study.ask({"g": grid.distribution()}).params["g"]) for _ in range(100)}
    assert seen == set(points)


@pytest.mark.parametrize(
    ("parameter", "value"),
    [(KINDS[0], 3), (KINDS[0], 1.5), (KINDS[1], 0.6), (KINDS[3], True), (KINDS[7], 1.2e-3), (KINDS[7], "x")],
)
def test_a_value_outside_is_refused_with_what_is_inside(parameter: Parameter, value: object) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        parameter.encode(value)


@pytest.mark.parametrize(
    ("expression", "value"),
    [
        ("1 - 0.05 * sqrt(${data.batch} / 32)", 1 - 0.05 * math.sqrt(2)),
        ("${data.batch}", 64),
        ("${name}", "WSD"),
        ("int(${data.batch} // 3) if ${data.batch} > 10 else 1", 21),
        ("max(1, -${data.batch}) ** 2", 1),
        ([0.9, "${data.batch} / 64"], [0.9, 1.0]),
        ("plain text", "plain text"),
        (3, 3),
    ],
)
def test_derived_values_are_arithmetic(expression: object, value: object) -> None:
    assert evaluate("k", expression, {"data.batch": 64, "name": "WSD"}) == value


@pytest.mark.parametrize(
    ("expression", "told"),
    [
        ("__import__('os').system('x') + ${a}", "not arithmetic"),
        ("(${a}).__class__", "not arithmetic"),
        ("open(${a})", "there is no function open"),
        ("${a} / 0", "division by zero"),
        ("${b} + 1", "'WSD' is not a number"),
        ("${aa}", "Did you mean a?"),
        ("${a} +", "invalid syntax"),
        ("9 ** 9 ** 9 ** ${a}", "cannot be computed"),
        ("[${a}]*3", "not arithmetic"),
    ],
)
def test_nothing_but_arithmetic_is_evaluated(expression: str, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        evaluate("k", expression, {"a": 1000, "b": "WSD"})
    assert told in str(caught.value)


def test_two_choices_of_one_class_are_told_apart() -> None:
    """In a grid both would otherwise have been trained as the first."""
    short = {"class_path": "WSD", "init_args": {"decay": "20%"}}
    long = {"class_path": "WSD", "init_args": {"decay": "80%"}}
    parameter = Values("model.schedule", [short, long, "Cosine"])
    assert [parameter.decode(parameter.encode(value)) for value in (short, long, "Cosine")] == [short, long, "Cosine"]
