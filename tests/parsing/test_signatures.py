"""Parameters read in a source are those that Python sees."""

from __future__ import annotations

import inspect
from pathlib import Path

import pytest

from gpt_lightning.optim import optimizers
from gpt_lightning.optim.schedules import cyclic as cycles
from gpt_lightning.optim.schedules import piecewise as points
from gpt_lightning.optim.schedules import schedules
from gpt_lightning.optim.schedules.schedules import Schedule
from gpt_lightning.parsing.signatures import find_subclasses, read_parameters
from gpt_lightning.parsing.suggest import known_subclasses

PACKAGE = Path(optimizers.__file__).parents[1]


@pytest.mark.parametrize("kind", [optimizers.AdamW, optimizers.Muon, schedules.WSD, points.Piecewise, cycles.OneCycle])
def test_parameters_are_those_of_the_class(kind: type) -> None:
    found = read_parameters(Path(inspect.getfile(kind)), kind.__name__)
    expected = {name: each for name, each in inspect.signature(kind).parameters.items() if name != "self"}
    assert list(found) == list(expected)
    for name, parameter in found.items():
        assert (parameter.default is None) == (expected[name].default is inspect.Parameter.empty)
        assert parameter.text, f"{name} is explained"


def test_subclasses_are_those_that_python_knows() -> None:
    assert find_subclasses(PACKAGE)["Schedule"].keys() == known_subclasses(Schedule).keys()


def test_classes_of_one_name_are_found_below_their_own_bases() -> None:
    """Regression is a layout of data and an objective; the settings of one were refused for the other."""
    found = find_subclasses(PACKAGE)
    assert found["Layout"]["Regression"].stem == "labelled"
    assert found["Objective"]["Regression"].stem == "contrastive"
    assert "value_field" in read_parameters(found["Layout"]["Regression"], "Regression")


def test_what_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("class A:\n    b: int\n    c: str = 'x'\n", encoding="utf-8")
    found = read_parameters(tmp_path / "a.py", "A")
    assert {name: each.default for name, each in found.items()} == {"b": None, "c": "'x'"}
    with pytest.raises(LookupError):
        read_parameters(tmp_path / "a.py", "B")
