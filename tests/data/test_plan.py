from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.data.folders import cache_folder
from gpt_lightning.data.stream.packing_plan import WindowPlan, find_or_make, plan_documents, plan_packed

LENGTHS = st.lists(st.integers(1, 60), min_size=1, max_size=60)


def ends_of(lengths: list[int]) -> np.ndarray:
    return np.cumsum(np.array(lengths, dtype=np.int64))


def check_pieces(plan: WindowPlan, lengths: list[int], block_size: int) -> None:
    """Every token of a document of two or more is seen exactly once; no row is too long; what is cut ends its row."""
    ends = ends_of(lengths)
    firsts = {0, *ends.tolist()}
    seen: list[int] = []
    for start, length, opens, closes in zip(plan.starts, plan.lengths, plan.opens, plan.closes, strict=True):
        assert length >= 1
        assert bool(opens) == (start in firsts)
        assert bool(closes) == (start + length in firsts)
        seen += range(start, start + length)
    for first, last in pairwise(plan.offsets.tolist()):
        apart = int((plan.opens[first + 1 : last] == 0).sum())
        assert 0 < int(plan.lengths[first:last].sum()) + apart <= block_size
        assert plan.closes[first : last - 1].all()
    documents = zip([0, *ends.tolist()], lengths, strict=False)
    assert sorted(seen) == [token for first, size in documents if size > 1 for token in range(first, first + size)]


@settings(max_examples=60, deadline=None)
@given(lengths=LENGTHS, block_size=st.integers(1, 40), min_fill=st.sampled_from([0.01, 0.9, 0.999]))
def test_every_token_is_seen_once(lengths: list[int], block_size: int, min_fill: float) -> None:
    check_pieces(plan_documents(ends_of(lengths), block_size), lengths, block_size)
    check_pieces(plan_packed(ends_of(lengths), block_size, min_fill), lengths, block_size)


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(2, 33), min_size=1, max_size=40))
def test_best_fit_decreasing_equals_a_plain_loop(lengths: list[int]) -> None:
    """Without refilling, the rows have the sizes that a direct search for the best row finds."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [(room, row) for row, room in enumerate(rooms) if room >= length]
        if fitting:
            rooms[min(fitting)[1]] -= length
        else:
            rooms.append(33 - length)
    plan = plan_packed(ends_of(lengths), 33, min_fill=0.001)
    sizes = [int(part.sum()) for part in np.split(plan.lengths, plan.offsets[1:-1])]
    assert sorted(sizes) == sorted(33 - room for room in rooms)
    assert len(plan.starts) == len(lengths)


def test_real_lengths_are_packed_full_with_few_cuts() -> None:
    """Log-normal documents of 190 tokens in the mean: hardly more are cut than are longer than a row."""
    lengths = np.random.default_rng(0).lognormal(4.6, 1.15, 20_000).astype(np.int64) + 2
    plan = plan_packed(np.cumsum(lengths), 1024)
    cut = len(np.unique(np.searchsorted(np.cumsum(lengths), plan.starts[plan.opens == 0], side="right")))
    assert plan.fill(1024) >= 0.999
    assert cut <= int((lengths > 1024).sum()) + 0.001 * len(lengths)


@pytest.mark.parametrize("length", [600, 513, 1024, 343])
def test_awkward_lengths_are_cut_until_rows_are_full(length: int) -> None:
    """Whole documents of 600 tokens would leave 41 % of every row empty."""
    lengths = [length] * 3000
    plan = plan_packed(ends_of(lengths), 1024)
    check_pieces(plan, lengths, 1024)
    assert plan.fill(1024) >= 0.999


def test_documents_without_a_target_take_no_row() -> None:
    assert plan_documents(ends_of([1, 1, 5, 1]), 8).starts.tolist() == [2]
    assert plan_packed(ends_of([1, 1]), 8).num_windows == 0


def test_a_kept_plan_is_the_same_and_a_damaged_one_is_made_again() -> None:
    calls: list[int] = []

    def make() -> WindowPlan:
        calls.append(1)
        return plan_packed(ends_of([5, 9, 30, 4]), 8)

    first, again = find_or_make(make, "sha", 8), find_or_make(make, "sha", 8)
    other = find_or_make(make, "sha", 9)
    assert len(calls) == 2
    for plan in (first, again, other):
        for name in ("offsets", "starts", "lengths", "opens", "closes"):
            assert getattr(plan, name).tolist() == getattr(make(), name).tolist()
    for path in (cache_folder() / "plans").iterdir():
        half = path.read_bytes()[:90]
        path.unlink()  # the open plans are maps of this file
        path.write_bytes(half)
    assert find_or_make(make, "sha", 8).starts.tolist() == first.starts.tolist()


def test_a_cache_that_cannot_be_written_is_no_mistake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blocked = tmp_path / "file"
    blocked.touch()
    monkeypatch.setenv("GPT_LIGHTNING_CACHE", str(blocked))
    assert find_or_make(lambda: plan_documents(ends_of([5]), 8), "x").num_windows == 1
