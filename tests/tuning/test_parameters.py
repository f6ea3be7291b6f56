from __future__ import annotations

import math
from decimal import Decimal
from itertools import pairwise

import optuna
import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.spec.parameters import LogGrid, Parameter, Range, Values
from gpt_lightning.tuning.spec.quantiles import Beta, Normal
from gpt_lightning.tuning.spec.trial_arguments import evaluate

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
    ("parameter", "values"),
    [
        (Range("k", minimum=32, maximum=256, log=True, quantum=8), [32, 40, 48]),
        (Range("k", minimum=32.0, maximum=255.0, log=True, quantum=8.0), [32, 40, 48]),
        (Range("k", minimum=1, maximum=9, quantum=2), [1, 3, 5, 7, 9]),
        (Range("k", minimum=0.05, maximum=0.5, quantum=0.05), [0.05, 0.1, 0.15, 0.2, 0.25, 0.3, 0.35]),
        (Range("k", minimum=0.00012345678, maximum=0.5, quantum=0.1), [0.00012345678, 0.10012345678]),
        (Range("k", minimum=1.2345678e-3, maximum=1.0), [1.2345678e-3]),
        (Range("k", minimum=1.5, maximum=9.5, log=True, quantum=2), [2, 4, 6, 8]),
        (Normal("k", mean=100, deviation=10, quantum=5), None),
        (Normal("k", mean=0, deviation=1, quantum=0.1), None),
    ],
    ids=lambda each: str(each)[:20],
)
def test_numbers_are_kept_to_the_last_digit_and_whole_ones_are_whole(parameter: Parameter, values: object) -> None:
    """Against decimal arithmetic: every value is start + k q as a person writes it, within the ends."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=1))
    low, high = parameter.edges()
    for _ in range(50):
        stored = study.ask({parameter.stored_name: parameter.distribution()}).params[parameter.stored_name]
        value = parameter.decode(stored)
        assert low <= value <= high
        quantum = getattr(parameter, "quantum", None)
        if quantum is not None:
            start = Decimal(repr(low))
            assert (Decimal(repr(value)) - start) % Decimal(repr(quantum)) == 0
            assert isinstance(value, int) is (float(quantum).is_integer() and float(low).is_integer())
    if isinstance(values, list):
        assert [parameter.decode(each) for each in values] == values
        assert low == values[0]
        assert type(low) is type(values[0])


def test_a_log_grid_begins_and_ends_where_it_was_told() -> None:
    points = LogGrid("k", minimum=1.2345678e-3, maximum=4 * 1.2345678e-3, per_octave=2).grid()
    assert points[::2] == [1.2345678e-3, 2 * 1.2345678e-3, 4 * 1.2345678e-3]
    assert points[1] == pytest.approx(1.2345678e-3 * math.sqrt(2), rel=1e-15)
    assert LogGrid("k", minimum=1e-3, maximum=3.2e-2).grid() == [1e-3, 2e-3, 4e-3, 8e-3, 1.6e-2, 3.2e-2]


def test_a_fine_grid_is_not_spelt_out() -> None:
    points = Range("k", minimum=0.0, maximum=1.0, quantum=1e-8).grid()
    assert points is not None
    assert (len(points), points[3], points[-1]) == (10**8 + 1, 3e-8, 1.0)


def test_beta_is_the_published_distribution() -> None:
    """Beta(2, 1) has the distribution function x^2, Beta(1, 3) has 1 - (1 - x)^3."""
    pytest.importorskip("scipy")
    for share in (0.001, 0.25, 0.5, 0.999):
        assert Beta("k", a=2, b=1).decode(share) == pytest.approx(math.sqrt(share), rel=1e-12)
        assert Beta("k", a=1, b=3).decode(share) == pytest.approx(1 - (1 - share) ** (1 / 3), rel=1e-12)
    assert Beta("k", a=2, b=1).encode(0.5) == pytest.approx(0.25, rel=1e-12)


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
        ("${a} * 1e308", "derive.k is inf"),
        ("1e308 * 10 - 1e308 * 10 + ${a}", "derive.k is nan"),
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
