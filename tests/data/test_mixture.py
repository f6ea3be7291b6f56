from __future__ import annotations

from typing import Any

import pytest

from gpt_lightning.data.stream.mixture import Mixture, MixtureSource, WeightChange
from gpt_lightning.errors import ConfigError

TWO = {"a": MixtureSource("a.txt", weight=3.0), "b": MixtureSource("b.txt")}


@pytest.mark.parametrize(
    ("temperature", "expected"),
    [(None, [3.0, 1.0]), (1.0, [3.0 * 0.01, 1.0]), (2.0, [3.0 * 0.1, 1.0])],
)
def test_temperature_brings_the_sizes_in(temperature: float | None, expected: list[float]) -> None:
    shares = Mixture(TWO, temperature=temperature).shares(0, {"a": 10**4, "b": 10**6})
    assert shares == pytest.approx(expected)


def test_a_schedule_changes_the_weights_it_names() -> None:
    mixture = Mixture(TWO, schedule=[WeightChange(100, {"b": 5.0}), WeightChange(300, {"a": 0.0})])
    found = [mixture.weights(tokens) for tokens in (0, 99, 100, 299, 300, 10**9)]
    assert found == [{"a": 3, "b": 1}] * 2 + [{"a": 3, "b": 5}] * 2 + [{"a": 0, "b": 5}] * 2


def test_places_do_not_tell_mixtures_apart() -> None:
    one, other = Mixture({"a": MixtureSource("a")}), Mixture({"a": MixtureSource(store="elsewhere/a")})
    assert one.describe() == other.describe()
    assert one.describe() != Mixture({"a": MixtureSource("a", max_epochs=2.0)}).describe()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"sources": {}}, r"wrong size: got 0 \(allowed: 1 to 64 sources\)"),
        ({"sources": {"a/b": MixtureSource("x")}}, r"part of a metric's name: got 'a/b'"),
        ({"sources": {"a": MixtureSource()}}, r"sources\.a names no text\. Set data\.mixture\.sources\.a\.source"),
        ({"sources": {"a": MixtureSource("x", weight=-1.0)}}, r"weight of a is out of range: got -1\.0"),
        ({"sources": {"a": MixtureSource("x", weight=float("nan"))}}, r"weight of a is out of range: got nan"),
        ({"sources": {"a": MixtureSource("x", weight=0.0)}}, r"all weights are 0: got \{'a': 0\.0\}"),
        ({"sources": {"a": MixtureSource("x", max_epochs=0.0)}}, r"a\.max_epochs is a number of passes: got 0"),
        ({"sources": TWO, "temperature": 0.0}, r"temperature is out of range: got 0"),
        (
            {"sources": TWO, "schedule": [WeightChange(5, {"c": 1.0})]},
            r"schedule\[0\] names a source.*got 'c' \(allowed: a, b",
        ),
        ({"sources": TWO, "schedule": [WeightChange(0, {"a": 1.0})]}, r"schedule\[0\]\.from_tokens must grow.*got 0"),
        ({"sources": TWO, "schedule": [WeightChange(5, {"a": 0.0, "b": 0.0})]}, r"schedule\[0\]: all weights are 0"),
    ],
)
def test_mistakes_are_explained(arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mixture(**arguments)
