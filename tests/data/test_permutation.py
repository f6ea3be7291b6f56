from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.data.stream.permutation import Permutation, StretchedPermutation, hash_words


@settings(deadline=None)
@given(size=st.integers(1, 5000), seed=st.integers(0, 2**64), epoch=st.integers(0, 10**6))
def test_it_is_a_permutation(size: int, seed: int, epoch: int) -> None:
    values = Permutation(size, seed, epoch)(np.arange(size, dtype=np.int64))
    assert sorted(values.tolist()) == list(range(size))


@pytest.mark.parametrize("size", [2**20 - 1, 2**20, 2**20 + 1])
def test_large_sizes_around_a_power_of_two(size: int) -> None:
    values = Permutation(size, 7)(np.arange(size, dtype=np.int64))
    assert np.array_equal(np.sort(values), np.arange(size))


@settings(deadline=None)
@given(size=st.integers(1, 1 << 62), data=st.data())
def test_any_part_of_any_size_is_the_same_as_one_by_one(size: int, data: st.DataObject) -> None:
    order = Permutation(size, 3)
    indices = data.draw(st.lists(st.integers(0, size - 1), max_size=5))
    together = order(np.array(indices, dtype=np.int64)).tolist()
    assert together == [order(np.array([index], dtype=np.int64)).item() for index in indices]
    assert all(0 <= value < size for value in together)


@pytest.mark.parametrize("index", [-1, 10])
def test_an_index_outside_would_loop_for_ever_and_is_refused(index: int) -> None:
    with pytest.raises(AssertionError):
        Permutation(10, 0)(np.array([index], dtype=np.int64))


def test_it_looks_random() -> None:
    size = 40_000
    first, second = (Permutation(size, 0, epoch)(np.arange(size, dtype=np.int64)) for epoch in range(2))
    # The correlation of two random permutations has standard deviation 1 / sqrt(size) = 0.005.
    assert abs(np.corrcoef(first, np.arange(size))[0, 1]) < 0.025
    assert abs(np.corrcoef(first, second)[0, 1]) < 0.025
    neighbours = np.abs(np.diff(first))
    assert abs(neighbours.mean() / (size / 3) - 1) < 0.03  # mean distance of two uniform draws


def test_small_sizes_reach_every_order() -> None:
    orders = {tuple(Permutation(3, seed)(np.arange(3, dtype=np.int64)).tolist()) for seed in range(200)}
    assert len(orders) == 6


def test_the_order_is_frozen() -> None:
    # Resuming an old run depends on these numbers: a change here is a change of format.
    assert Permutation(1000, 1, 2)(np.arange(6, dtype=np.int64)).tolist() == FROZEN
    assert hash_words("offset", 1, 2, count=1).tolist() == FROZEN_WORD


FROZEN = [475, 642, 752, 756, 927, 200]
FROZEN_WORD = [6771642812452587364]


@settings(max_examples=60, deadline=None)
@given(size=st.integers(1, 300), stretch=st.integers(1, 400), seed=st.integers(0, 5))
def test_a_stretched_order_is_a_bijection_that_stays_in_one_stretch_at_a_time(
    size: int, stretch: int, seed: int
) -> None:
    order = StretchedPermutation(size, stretch, seed)(np.arange(size)).tolist()
    assert sorted(order) == list(range(size))
    for first in range(0, size, stretch):
        assert len({value // stretch for value in order[first : first + stretch]}) == 1


def test_stretches_come_in_random_order_and_are_shuffled_within() -> None:
    order = StretchedPermutation(1000, 10, "key")(np.arange(1000))
    homes = order[::10] // 10
    assert homes.tolist() != sorted(homes.tolist())
    inner = (order % 10).reshape(100, 10)
    assert len({tuple(row) for row in inner.tolist()}) > 90
    assert StretchedPermutation(1000, 10, "other")(np.arange(1000)).tolist() != order.tolist()
