"""Each rule beside a curve on which it must speak, and one on which it must not."""

from __future__ import annotations

import math
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.tracking.alerts import (
    AlertRule,
    DiskAlmostFull,
    LossSpike,
    NonFinite,
    Point,
    StalledData,
    ThroughputDrop,
    ValidationRising,
    Watch,
)

CURVE = [5.0 - 0.02 * k + 0.05 * math.sin(3.0 * k) for k in range(60)]


def speak(rule: AlertRule, name: str, values: list[float]) -> list[int]:
    """Places at which the rule begins to speak."""
    watch = Watch([rule])
    return [place for place, value in enumerate(values) if watch.see(Point(place, {name: float(value)}))]


def test_spikes() -> None:
    assert speak(LossSpike(), "train/loss", CURVE) == []
    spiked = [*CURVE]
    spiked[30], spiked[40] = 8.0, 7.0
    assert speak(LossSpike(), "train/loss", spiked) == [30, 40], "the first must not hide the second"
    assert speak(LossSpike(), "train/loss", [1.0] * 20 + [1.2]) == [], "smaller than `least`"
    assert speak(LossSpike(points=4), "train/loss", [math.nan, *CURVE, math.nan]) == []


def test_non_finite() -> None:
    assert speak(NonFinite(), "val/loss", [1.0, math.inf, math.nan, 1.0, math.nan]) == [1, 4]
    assert speak(NonFinite(), "perf/mfu", [math.nan]) == []
    watch = Watch([NonFinite()])
    said = [
        watch.see(Point(n, {"train/loss": 1.0, "optim/skipped_steps": float(count)}))
        for n, count in enumerate([0, 2, 2])
    ]
    assert [len(each) for each in said] == [0, 1, 0]
    assert "2 steps were left out" in said[1][0][1]


def test_throughput() -> None:
    rates = [1000.0] * 20 + [300.0] * 2 + [1000.0] + [300.0] * 5
    assert speak(ThroughputDrop(), "perf/tokens_per_second", rates) == [25]


def test_validation() -> None:
    assert speak(ValidationRising(), "val/loss", [5, 4, 3.9, 4.2, 4.1, 3.8, 4, 4.1, 4.2, 4.3]) == [8]
    assert speak(ValidationRising(times=1), "val/loss", [5, 5.01, math.nan, 5.01]) == []


def test_stalls() -> None:
    assert speak(StalledData(patience=2), "perf/data_wait", [0.9, 0.1, 0.9, 0.9, 0.9]) == [3]


def test_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage(NamedTuple):
        free: int

    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage((1 << 30) + (1 << 29)))
    (said,) = Watch([DiskAlmostFull(2.0)]).see(Point(1, {}, tmp_path))
    assert said[0] == "DiskAlmostFull"
    assert "1.50 GiB" in said[1]
    assert Watch([DiskAlmostFull(1.0)]).see(Point(1, {}, tmp_path)) == []


def test_points_that_do_not_concern_a_rule_leave_it_alone() -> None:
    """A validation between two bad points is no sign that all is well again."""
    watch = Watch([StalledData(patience=1)])
    assert watch.see(Point(1, {"perf/data_wait": 0.9}))
    assert not watch.see(Point(1, {"val/loss": 3.0}))
    assert not watch.see(Point(2, {"perf/data_wait": 0.9}))


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (LossSpike, {"deviations": -1.0}),
        (LossSpike, {"points": 3}),
        (ThroughputDrop, {"share": 1.0}),
        (ThroughputDrop, {"patience": 0}),
        (ValidationRising, {"times": 0}),
        (DiskAlmostFull, {"gib": -1.0}),
        (StalledData, {"share": 0.0}),
    ],
)
def test_values_out_of_range_are_refused(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="out of range"):
        kind(**options)
