"""Fits against data whose constants are known."""

from __future__ import annotations

import numpy as np
import pytest

from gpt_lightning.tuning.scaling.power_laws import fit_loss_law, fit_rate_law, parabola_minimum

SIZES = np.repeat([1e5, 3e5, 1e6, 3e6, 1e7], 5)
LENGTHS = np.tile([1e6, 3e6, 1e7, 3e7, 1e8], 5)
HOFFMANN = {"E": 1.69, "A": 406.4, "a": 0.34, "B": 410.7, "b": 0.28}
"""The constants of Hoffmann et al. 2022, section D.2."""


def chinchilla(n: np.ndarray, d: np.ndarray) -> np.ndarray:
    return np.asarray(HOFFMANN["E"] + HOFFMANN["A"] / n ** HOFFMANN["a"] + HOFFMANN["B"] / d ** HOFFMANN["b"])


def test_the_loss_law_finds_its_constants() -> None:
    law = fit_loss_law(SIZES.tolist(), LENGTHS.tolist(), chinchilla(SIZES, LENGTHS).tolist())
    assert law is not None
    for name, value in HOFFMANN.items():
        assert law.constants()[name].value == pytest.approx(value, rel=1e-3), name
    assert law.predict(1e9, 2e10).value == pytest.approx(float(chinchilla(np.array(1e9), np.array(2e10))), rel=1e-4)
    assert law.error < 1e-5


def test_noise_and_an_outlier_stay_within_the_intervals() -> None:
    noise = np.exp(np.random.default_rng(4).normal(0, 2e-3, len(SIZES)))
    losses = chinchilla(SIZES, LENGTHS) * noise
    losses[7] *= 1.2  # a run that went wrong: Huber's loss shrugs it off
    law = fit_loss_law(SIZES.tolist(), LENGTHS.tolist(), losses.tolist())
    assert law is not None
    constants = law.constants()
    assert constants["a"].low < HOFFMANN["a"] < constants["a"].high
    assert constants["b"].low < HOFFMANN["b"] < constants["b"].high
    assert constants["a"].high - constants["a"].low < 0.1
    assert law.error == pytest.approx(1 - 1 / 1.2, abs=0.02)
    ahead = law.predict(1e8, 1e9)
    assert ahead.low < float(chinchilla(np.array(1e8), np.array(1e9))) < ahead.high


def test_the_law_of_rates_finds_its_constants() -> None:
    rates = 1.79 * SIZES**-0.713 * LENGTHS**0.307
    law = fit_rate_law(SIZES.tolist(), LENGTHS.tolist(), rates.tolist())
    assert law is not None
    values = {name: interval.value for name, interval in law.constants().items()}
    assert values == pytest.approx({"c": 1.79, "p": -0.713, "q": 0.307}, rel=1e-6)
    assert law.predict(1e8, 1e9).value == pytest.approx(1.79 * 1e8**-0.713 * 1e9**0.307)
    one_length = fit_rate_law([1e5, 1e6, 1e7], [1e6] * 3, [1e-2, 1e-3, 1e-4])
    assert one_length is not None
    assert [one_length.constants()[name].value for name in "pq"] == pytest.approx([-1.0, 0.0])


def test_too_few_points_give_no_law() -> None:
    assert fit_loss_law([1e5, 1e6] * 3, [1e6, 1e7, 1e8] * 2, [3.0, 2.5, 2.0, 2.9, 2.4, 1.9]) is None
    assert fit_rate_law([1e5, 1e6], [1e6, 1e6], [1e-2, 1e-3]) is None


def test_the_lowest_point_lies_between_those_of_the_grid() -> None:
    rates = [1e-3, 2e-3, 4e-3, 8e-3]
    losses = [float(1 + (np.log(rate) - np.log(2.5e-3)) ** 2) for rate in rates]
    for given, values, place, inside in [
        (rates, losses, 2.5e-3, True),
        (rates[::-1], losses[::-1], 2.5e-3, True),
        (rates, [1.0, 2.0, 3.0, float("nan")], 1e-3, False),
        (rates, [2.0, 1.0, float("inf"), float("inf")], 2e-3, True),
        ([1e-3], [2.0], 1e-3, False),
    ]:
        found = parabola_minimum(given, values)
        assert found[0] == pytest.approx(place)
        assert found[1] is inside
