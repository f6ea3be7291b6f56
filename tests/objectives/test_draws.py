"""Numbers that depend on what names them and on nothing else."""

from __future__ import annotations

import hashlib
import subprocess
import sys

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from gpt_lightning.objectives.draws import Draws

_MASK = 2**64 - 1


def _mix(value: int) -> int:
    """SplitMix64 in Python's whole numbers."""
    value = (value + 0x9E3779B97F4A7C15) & _MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & _MASK
    return value ^ (value >> 31)


@given(seed=st.integers(0, 2**64 - 1), sample=st.integers(0, 2**62))
def test_bits_are_those_of_whole_numbers_without_a_width(seed: int, sample: int) -> None:
    key = int.from_bytes(hashlib.sha256(f"{seed} mask".encode()).digest()[:8], "little")
    row = _mix((sample + key) & _MASK)
    wanted = [_mix((row + (index + 1) * 0x9E3779B97F4A7C15) & _MASK) for index in range(3)]
    found = Draws(seed, torch.tensor([sample])).bits("mask", 3)[0]
    assert [int(value) & _MASK for value in found] == wanted


def test_the_first_generated_number_is_splitmix64s() -> None:
    """The published stream of seed 0 begins with this number (Vigna's reference implementation)."""
    assert _mix(0) == 0xE220A8397B1DCDAF


@pytest.mark.parametrize("split", [1, 2, 3, 8])
def test_any_split_of_a_batch_draws_the_same(split: int) -> None:
    samples = torch.arange(100, 108)
    whole = Draws(1, samples)
    parts = [Draws(1, part) for part in samples.split(split)]  # type: ignore[no-untyped-call]
    for purpose in ("mask", "span"):
        assert torch.equal(whole.uniform(purpose, 9), torch.cat([part.uniform(purpose, 9) for part in parts]))
        assert torch.equal(whole.order(purpose, 9), torch.cat([part.order(purpose, 9) for part in parts]))
    assert torch.equal(whole.uniform("mask", 9)[:, :4], whole.uniform("mask", 4))


def test_seed_sample_purpose_and_index_all_matter() -> None:
    draws = [Draws(seed, torch.arange(sample, sample + 4)) for seed in (0, 1) for sample in (0, 1000)]
    numbers = torch.cat([each.bits(purpose, 50).flatten() for each in draws for purpose in ("a", "b")])
    assert len(set(numbers.tolist())) == len(numbers)


def test_numbers_are_uniform_and_do_not_hang_together() -> None:
    numbers = Draws(5, torch.arange(1000)).uniform("mask", 1000).double()  # a million; one sigma is 0.0003
    assert float(numbers.min()) >= 0
    assert float(numbers.max()) < 1
    assert float(numbers.mean()) == pytest.approx(0.5, abs=0.002)
    assert float(numbers.var()) == pytest.approx(1 / 12, abs=0.001)

    def correlation(left: Tensor, right: Tensor) -> float:
        return float(torch.corrcoef(torch.stack([left.flatten(), right.flatten()]))[0, 1])

    assert abs(correlation(numbers[:, 1:], numbers[:, :-1])) < 0.005
    assert abs(correlation(numbers[1:], numbers[:-1])) < 0.005


def test_below_stays_below_and_reaches_everything() -> None:
    draws = Draws(0, torch.arange(3))
    found = draws.below("span", 2000, torch.tensor([1, 2, 7]))
    assert [sorted(row.unique().tolist()) for row in found] == [[0], [0, 1], list(range(7))]
    counts = Draws(0, torch.arange(100)).below("span", 700, 7).flatten().bincount(minlength=7)
    assert ((counts - 10_000).abs() < 500).all()  # five sigma
    assert int(draws.below("large", 100, 2**32 - 1).max()) > 2**31


def test_an_order_holds_every_number_once() -> None:
    order = Draws(0, torch.arange(50)).order("rows", 6)
    assert torch.equal(order.sort(dim=1).values, torch.arange(6).expand(50, -1))
    assert len(set(map(tuple, order.tolist()))) > 40


_COMPILED = """
import torch
from gpt_lightning.objectives.draws import Draws

def draw(samples):
    draws = Draws(3, samples)
    return draws.uniform("mask", 64), draws.below("span", 9, samples % 5 + 1), draws.order("part", 7)

samples = torch.arange(2**40, 2**40 + 16)
for found, wanted in zip(torch.compile(draw, fullgraph=True)(samples), draw(samples)):
    assert torch.equal(found, wanted)
"""


@pytest.mark.slow
def test_compiled_numbers_are_the_same() -> None:
    # A process of its own: the compiler cannot trace through the run-time type checks of the test session.
    finished = subprocess.run([sys.executable, "-c", _COMPILED], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
