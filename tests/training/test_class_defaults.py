"""A setting that names another class starts from that class's defaults, not from those of the class it replaces."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.data.stream.packing import Packing
from gpt_lightning.optim.optimizers import OptimizerRecipe
from gpt_lightning.optim.parametrization import Parametrization
from gpt_lightning.optim.schedules.schedules import Schedule
from gpt_lightning.parsing.suggest import known_subclasses
from gpt_lightning.training.fitting.command_line import TrainerCommandLine
from gpt_lightning.training.modules.nonfinite import NonFinitePolicy

SETTINGS = {
    "model.optimizer": OptimizerRecipe,
    "model.schedule": Schedule,
    "model.parametrization": Parametrization,
    "model.nonfinite": NonFinitePolicy,
    "data.packing": Packing,
}
CLASSES = [
    (key, cls)
    for key, base in SETTINGS.items()
    for cls in known_subclasses(base).values()
    if cls.__module__.startswith("gpt_lightning.")
]


def parse(*args: str) -> Any:
    return TrainerCommandLine("fit", args).config


@pytest.mark.parametrize(
    ("key", "cls"),
    [
        pytest.param(*each, id=each[1].__name__, marks=[pytest.mark.slow] if number % 3 else [])
        for number, each in enumerate(CLASSES)
    ],
)
def test_every_class_has_its_own_defaults(key: str, cls: type) -> None:
    parameters = inspect.signature(cls).parameters.values()
    if any(each.default is inspect.Parameter.empty and each.kind is not each.VAR_KEYWORD for each in parameters):
        pytest.skip("cannot be built from its name alone")
    found = parse(f"--{key}", cls.__name__)[key]
    assert found.class_path.endswith(f".{cls.__name__}")
    for each in parameters:
        # Objects among the defaults are written as their class.
        if isinstance(each.default, int | float | str | bool | None):
            assert found.init_args[each.name] == each.default, each.name


def test_also_from_a_file_and_whatever_the_order(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model:\n  optimizer: {class_path: Muon, init_args: {momentum: 0.5}}\n")
    found = parse(f"--config={tmp_path / 'c.yaml'}").model.optimizer.init_args
    assert (found.lr, found.momentum) == (0.02, 0.5)
    found = parse("--model.optimizer.weight_decay=0.3", "--model.optimizer=Muon").model.optimizer.init_args
    assert (found.lr, found.weight_decay) == (0.02, 0.3)


def test_what_was_asked_for_stays_when_the_class_changes_again(tmp_path: Path) -> None:
    (tmp_path / "c.yaml").write_text("model:\n  optimizer: {class_path: Muon, init_args: {lr: 0.07}}\n")
    found = parse(f"--config={tmp_path / 'c.yaml'}", "--model.optimizer=Lion").model.optimizer.init_args
    assert (found.lr, found.weight_decay) == (0.07, 0.5)
