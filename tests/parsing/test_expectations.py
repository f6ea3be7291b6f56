from __future__ import annotations

from collections.abc import Callable, Iterable
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Optional, Union

import pytest

from gpt_lightning.parsing.expectations import Expectation, classes_in, describe_type, list_settings, sample_value
from tests.parsing.examples import Curve, Shape, build_parser


class Colour(Enum):
    RED = 1
    BLUE = 2


@pytest.mark.parametrize(
    ("hint", "words", "sample"),
    [
        (int, "a whole number", "10"),
        (float, "a number", "0.1"),
        (bool, "true or false", "true"),
        (Optional[int], "a whole number or null", "10"),  # noqa: UP045
        (int | float | str, "a whole number or a number or text", "10"),
        (Literal["a", "b"], "a, b", "a"),
        (list[int], "a list, each a whole number", "[10]"),
        (tuple[float, float], "a list of 2 values", "[0.1, 0.1]"),
        (tuple[int, ...], "a list, each a whole number", "[10]"),
        (dict[str, int], "a mapping {name: value}", "{name: 10}"),
        (Curve, "Cosine, Linear", "Cosine"),
        (Curve | list[Curve] | None, "Cosine, Linear (one or a list) or null", "Cosine"),
        (Union[int, Iterable[int]], "a whole number (one or a list)", "10"),  # noqa: UP007
        (Colour, "RED, BLUE", ""),
        (Callable[[], None], "the dotted name of a function or class", ""),
        (Any, "any value", ""),
    ],
)
def test_types_in_words(hint: Any, words: str, sample: str) -> None:
    assert describe_type(hint).startswith(words)
    assert sample_value(hint) == sample


def test_a_useful_default_is_the_best_example() -> None:
    assert Expectation(int, 100).sample == "100"
    assert Expectation(bool, False).sample == "false"
    assert Expectation(int, -1).sample == "10"
    assert Expectation(int | None).sample == "10"


def test_classes_in() -> None:
    assert classes_in(dict[str, list[Curve]] | Shape | None) == [Curve, Shape]
    assert classes_in(Literal["a"]) == classes_in(Path) == classes_in(Colour) == []


def test_list_settings() -> None:
    settings = list_settings(build_parser())
    assert settings["max_steps"] == Expectation(int, 100)
    assert not [name for name in settings if name.endswith(("help", "print_config"))]
