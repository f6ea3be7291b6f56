"""What masking, opening and rearranging cost beside next-token prediction; the aim for the masked ones is 1.15."""

from __future__ import annotations

import pytest

from tests.bench.objective_cost import ROWS, TIME
from tests.bench.publish import measure, publish

NOTES = f"""\
CPU seconds of one thread, forward and backward pass of a decoder of 4 layers of 128 channels over {ROWS} windows of
{TIME} bytes, not compiled; every objective once per turn, medians over the turns."""


@pytest.mark.bench
def test_cost_of_objectives() -> None:
    rows = [[name, *costs] for name, costs in measure("objective_cost", "20", threads=1).items()]
    publish("objective_cost", "Cost of objectives", ["objective", "CPU s", "times a causal step"], rows, NOTES)
