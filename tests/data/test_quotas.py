from __future__ import annotations

from itertools import accumulate, pairwise

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gpt_lightning.data.stream.mixture import BLOCK, Phase, Quota, plan_phases

WEIGHTS = st.lists(st.floats(1e-6, 1.0), min_size=1, max_size=12)
LARGE_WEIGHTS = st.lists(st.floats(0.02, 1.0), min_size=1, max_size=20)


def deal(phases: list[Phase], blocks: int) -> list[list[int]]:
    """Counts of each source, block by block, of the first phases."""
    dealt = []
    for phase in phases:
        number = 0
        while number < blocks and (phase.length is None or number * BLOCK < phase.length):
            dealt.append(phase.block(number)[1])
            number += 1
    return dealt


@settings(max_examples=200, deadline=None)
@given(weights=st.one_of(WEIGHTS, LARGE_WEIGHTS), samples=st.integers(0, 10**12))
@example(weights=[1.0, 1e-4, 1.5e-4], samples=6_000)  # the largest source is 1.2 samples off
@example(weights=[1.0, 1.0, 0.9999999999999999], samples=1)  # equal as shares: the last is the largest
def test_no_source_is_further_off_its_share_than_is_said(weights: list[float], samples: int) -> None:
    quota, total = Quota(weights), sum(weights)
    counts = quota.counts(samples)
    assert sum(counts) == samples
    small = {source for source, weight in enumerate(weights) if weight * BLOCK < 2 * total}
    largest = max(range(len(weights)), key=lambda source: (quota.units[source], source))
    small.discard(largest)
    for source, (weight, count) in enumerate(zip(weights, counts, strict=True)):
        bound = 0.5 if source in small else (1 + len(small)) / 2 if source == largest else 1.0
        assert abs(count - weight / total * samples) <= bound + samples * 2**-46


@settings(max_examples=80, deadline=None)
@given(weights=WEIGHTS, block=st.integers(0, 10**6))
def test_blocks_never_take_back_and_tiny_sources_are_served(weights: list[float], block: int) -> None:
    quota = Quota(weights)
    here, there = quota.counts(block * BLOCK), quota.counts((block + 1) * BLOCK)
    assert all(before <= after for before, after in zip(here, there, strict=True))
    assert sum(there) - sum(here) == BLOCK


def test_known_proportions() -> None:
    dealt = deal(plan_phases([(0, [0.3, 0.699, 0.001])], [None] * 3), 1000)
    assert [sum(column) for column in zip(*dealt, strict=True)] == [1_228_800, 2_863_104, 4_096]
    assert max(block[2] for block in dealt) - min(block[2] for block in dealt) <= 1


@settings(max_examples=80, deadline=None)
@given(
    weights=st.lists(st.floats(0.0, 1.0), min_size=2, max_size=6).filter(any),
    limits=st.lists(st.integers(1, 20_000) | st.none(), min_size=6, max_size=6),
    change=st.integers(1, 30_000),
)
def test_limits_are_kept_and_almost_reached(weights: list[float], limits: list[int | None], change: int) -> None:
    own = limits[: len(weights)]
    phases = plan_phases([(0, weights), (change, weights[::-1])], own)
    for phase, follower in pairwise(phases):
        assert phase.length is not None
        assert phase.length > 0
        assert follower.first == phase.first + phase.length
        assert sum(follower.before) == follower.first
        assert follower.before == phase.after()
    had = phases[-1].after() if phases[-1].length is not None else phases[-1].before
    for limit, count in zip(own, had, strict=True):
        assert limit is None or count <= limit
    if phases[-1].length is not None and phases[-1].first >= change:
        served = [source for source, weight in enumerate(weights[::-1]) if weight > 0]
        for source in served:
            limit = own[source]
            assert limit is not None
            assert had[source] >= limit - 1 - len(weights)


@pytest.mark.parametrize("length", [1, 5, 4095, 4096, 4097, 9000])
def test_a_phase_ends_where_the_weights_change(length: int) -> None:
    phases = plan_phases([(0, [1.0, 2.0]), (length, [2.0, 1.0])], [None, None])
    assert [(phase.first, phase.length) for phase in phases] == [(0, length), (length, None)]
    dealt = deal(phases[:1], 10)
    assert sum(map(sum, dealt)) == length
    running = list(accumulate(block[0] for block in dealt))
    assert abs(running[-1] - length / 3) <= 1
    assert phases[1].before == phases[0].after() == [running[-1], length - running[-1]]


def test_a_small_source_with_a_limit_hands_over_to_the_others() -> None:
    phases = plan_phases([(0, [1.0, 1.0])], [37, None])
    assert [(phase.first, phase.length) for phase in phases] == [(0, 74), (74, None)]
    assert phases[1].before == [37, 37]
    assert phases[1].block(0)[1] == [0, BLOCK]


def test_all_used_up_ends_the_last_phase() -> None:
    phases = plan_phases([(0, [1.0, 3.0])], [100, 60])
    assert phases[-1].length is not None
    assert phases[-1].first + phases[-1].length == 160


def test_nothing_to_give_is_a_phase_of_no_samples() -> None:
    phases = plan_phases([(0, [1.0, 1e-5])], [1, 0])
    assert [(phase.first, phase.length) for phase in phases] == [(0, 0)]
