from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.bench.sweep_cost import measure_cost


@pytest.mark.bench
@pytest.mark.timeout(1800)
def test_cost_of_a_trial(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    cost = measure_cost(tmp_path, 8)
    sys.stdout.write(
        f"\nfirst trial {cost.first:.2f} s (starts the server); after it, medians: process {cost.fork:.3f} s, "
        f"trial {cost.trial:.2f} s, the same run alone {cost.alone:.2f} s, overhead {cost.overhead:.2f} s\n"
    )
    assert cost.trial > 0
