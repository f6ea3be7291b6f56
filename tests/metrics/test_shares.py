"""The exact test of a share: beside scipy's, and its false alarms counted."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from gpt_lightning.metrics.shares import chance_of_share


@pytest.mark.parametrize("size", [1, 7, 40, 400])
def test_it_is_the_hypergeometric_tail(size: int) -> None:
    generator = np.random.default_rng(size)
    for _ in range(200):
        drawn, before = generator.integers(1, size + 1, 2)
        found, found_before = generator.integers(0, drawn + 1), generator.integers(0, before + 1)
        wanted = stats.hypergeom.sf(found - 1, drawn + before, found + found_before, drawn)
        assert chance_of_share(found, drawn, found_before, before) == pytest.approx(
            min(wanted, 1.0), rel=1e-9, abs=1e-13
        )


def test_very_small_chances_are_not_rounded_away() -> None:
    found = chance_of_share(100, 100, 10, 1000)
    assert 0 < found < 1e-80
    assert found == pytest.approx(stats.hypergeom.sf(99, 1100, 110, 100), rel=1e-6)


@pytest.mark.parametrize(("share", "before"), [(0.02, 300), (0.3, 60), (0.9, 60)])
def test_false_alarms_are_no_more_than_stated(share: float, before: int) -> None:
    """Exact, not sampled: the sum over all outcomes of two samples of one share."""
    drawn, level = 20, 0.01
    rate = sum(
        stats.binom.pmf(found, drawn, share) * stats.binom.pmf(found_before, before, share)
        for found in range(drawn + 1)
        for found_before in range(before + 1)
        if chance_of_share(found, drawn, found_before, before) <= level
    )
    assert 0 < rate <= level
    # The normal approximation is above it for small shares: the test sees it.
    if share == 0.02:
        assert _approximate_rate(share, drawn, before, level) > level


def _approximate_rate(share: float, drawn: int, before: int, level: float) -> float:
    rate = 0.0
    for found in range(drawn + 1):
        for found_before in range(before + 1):
            pooled = (found + found_before) / (drawn + before)
            spread = np.sqrt(pooled * (1 - pooled) * (1 / drawn + 1 / before))
            if spread > 0 and stats.norm.sf((found / drawn - found_before / before) / spread) <= level:
                rate += stats.binom.pmf(found, drawn, share) * stats.binom.pmf(found_before, before, share)
    return float(rate)


def test_numbers_that_cannot_be_are_refused() -> None:
    with pytest.raises(ValueError, match="5 of 4"):
        chance_of_share(5, 4, 0, 1)
