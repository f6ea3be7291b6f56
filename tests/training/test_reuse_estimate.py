"""What sharing saves, computed before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest

from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.schedules import WSD, Cosine, Schedule
from gpt_lightning.training.profiling.reuse_commands import estimate_savings, sketch
from gpt_lightning.training.reuse.fingerprint import RunFingerprint


def planned(schedule: Schedule, steps: int = 100, *, lr: float = 1e-3, **facts: Any) -> RunFingerprint:
    return RunFingerprint({"lr": lr, **facts}, {"matrix": lr}, schedule, Horizon(steps, 64))


def test_cooldowns_of_one_trunk() -> None:
    """The cost model in closed form: the first run whole, of each further one its cooldown."""
    runs = [planned(WSD(warmup=0, decay=0.5)), *(planned(WSD(warmup=0, decay=decay)) for decay in (0.2, 0.1, 0.3))]
    # The second branches where the first had begun to cool, the third and fourth from the trunk of the second.
    assert estimate_savings(runs).executed_steps == 100 + 50 + 20 + 30
    assert estimate_savings(runs).total_steps == 400
    assert estimate_savings(runs).executed_share == 0.5
    # Borders at multiples of 30: nothing at 70 and 80, and the one at 60 is no use at 50.
    assert estimate_savings(runs, every=30).executed_steps == 100 + 70 + 40 + 40
    assert estimate_savings([]).executed_share == 1.0


def test_a_ladder_of_horizons() -> None:
    """Eight equally spaced lengths, a fifth of each is cooldown: 13.6 units instead of 36 when the longest is first."""
    runs = [planned(WSD(warmup=0, decay="20%"), 100 * length) for length in (8, 7, 6, 5, 4, 3, 2, 1)]
    savings = estimate_savings(runs, every=20)
    assert (savings.executed_steps, savings.total_steps) == (800 + 20 * (7 + 6 + 5 + 4 + 3 + 2 + 1), 3600)


def test_trunks_and_ends_are_what_others_come_by() -> None:
    """They stay longest in a full store: a branch leaves a level rate, and a twin finds the end done."""
    run = planned(WSD(warmup=10, decay=0.3))
    assert [step for step in (5, *range(10, 101, 10)) if run.is_shared(step)] == [10, 20, 30, 40, 50, 60, 70, 100]


def test_what_is_shared_and_what_not() -> None:
    twice = [planned(Cosine()), planned(Cosine())]
    assert estimate_savings(twice).executed_steps == 100
    assert estimate_savings(twice, workers=2).executed_steps == 200
    assert estimate_savings([planned(Cosine()), planned(Cosine(), lr=2e-3)]).executed_steps == 200
    assert estimate_savings([planned(Cosine()), planned(Cosine(), seed=2)]).executed_steps == 200


def test_two_workers_share_what_is_there_when_they_start() -> None:
    runs = [
        planned(WSD(warmup=0, decay=0.2)),
        planned(WSD(warmup=0, decay=0.2), lr=2e-3),
        planned(WSD(warmup=0, decay=0.1)),
    ]
    assert estimate_savings(runs, workers=2).executed_steps == 100 + 100 + 20


def test_a_sketch_of_a_command_line() -> None:
    common = ["--trainer.max_steps=40", "--data.block_size=8", "--model.schedule=WSD", "--model.schedule.warmup=0"]
    one, other = (sketch([*common, f"--model.schedule.decay={decay}"]) for decay in ("50%", "25%"))
    assert one.base == other.base
    assert estimate_savings([one, other]).executed_steps == 40 + 20
    assert sketch([*common, "--model.optimizer.lr=0.5"]).base != one.base
    assert one.rates["matrix"] == pytest.approx(other.rates["matrix"])
