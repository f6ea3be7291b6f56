"""``early_terminate`` of a sweep file: what it may say, what it refuses, and what it does to curves."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.pruning.early_termination import EarlyTermination, name_of, read_early_terminate
from gpt_lightning.tuning.pruning.halving import SuccessiveHalving
from gpt_lightning.tuning.pruning.pruning import Curve, MedianPruner, Pruner, ThresholdPruner
from tests.tuning.curves import curve

GOOD = [curve(trial, [4.0, 3.0, 2.0, 1.5], finished=True) for trial in range(1, 6)]


@dataclass(frozen=True)
class Line:
    n: int
    step: int
    tokens: int
    metrics: dict[str, float]
    shape: str


def report(n: int, value: float, shape: str = "s", **more: float) -> Line:
    return Line(n, 2 * n + 2, 100 * n + 100, {"val/loss": value, **more}, shape)


def test_without_a_section_only_diverged_trials_stop() -> None:
    early = read_early_terminate(None)
    assert early.judge(curve(0, [4.0, 3.0, 3.9]), GOOD) is None
    assert early.judge(curve(0, [4.0, 3.0, 4.1]), GOOD) == (
        "diverged: 4.1 is more than 2 times the best value there, 2"
    )
    assert early.judge(curve(0, [4.0, math.nan]), GOOD) == "diverged: the value is nan"
    assert early.judge(curve(0, [math.inf]), []) == "diverged: the value is inf"
    assert early.judge(curve(0, []), GOOD) is None


def test_divergence_looks_over_the_borders_of_groups_and_can_be_told_not_to() -> None:
    others = [curve(1, [1.0, math.nan], "flat"), curve(2, [-1.0], "flat")]
    assert read_early_terminate(None).judge(curve(0, [2.1], "falling"), others[:1]) is not None
    assert read_early_terminate(None).judge(curve(0, [2.1], "falling"), others) is None, "no factor of what is below 0"
    lenient = read_early_terminate({"type": "none", "diverged": {"factor": None, "nan": False}})
    assert lenient.judge(curve(0, [99.0]), others[:1]) is None
    assert lenient.judge(curve(0, [math.nan]), others[:1]) is None


def test_a_trial_is_not_its_own_rival() -> None:
    early = read_early_terminate({"type": "asha", "eta": 2})
    mine = curve(0, [2.0])
    assert early.judge(mine, [mine]) is None
    assert early.judge(mine, [mine, curve(1, [1.0])]) is not None


@pytest.mark.parametrize(("start", "stops_at"), [("30%", 3), (0, 1), (8, 4), ("150 tokens", 2), (0.2, 2)])
def test_nothing_stops_before_start_at(start: Any, stops_at: int) -> None:
    """Reports 1, 2, ... of a run of 10 come after 2, 4, ... steps and 100, 200, ... tokens."""
    early = read_early_terminate({"type": "median", "start_at": start, "patience": 1, "diverged": {"factor": None}})
    mine = curve(0, [9.0, 8.0, 7.0, 6.0])
    verdicts = [early.judge(mine.first(count), GOOD) for count in range(1, 5)]
    assert [verdict is not None for verdict in verdicts] == [count >= stops_at for count in range(1, 5)]


def test_patience_counts_verdicts_in_a_row() -> None:
    early = read_early_terminate({"type": "median", "start_at": 0, "patience": 2})
    mine = curve(0, [4.5, 3.5, 1.9, 1.9])
    assert [early.judge(mine.first(count), GOOD) is not None for count in range(1, 5)] == [False, True, False, False]
    late = read_early_terminate({"type": "median", "start_at": "20%", "patience": 2})
    assert late.judge(mine.first(2), GOOD) is None, "the verdict before start_at does not count"
    reason = early.judge(mine.first(2), GOOD)
    assert reason == (
        "best so far 3.5 is behind 3, the median of 5 finished trials, 2 reports in a row (200 tokens, 20% of the run)"
    )


def test_a_curve_out_of_a_mailbox() -> None:
    early = read_early_terminate({"type": "median"})
    lines = [report(0, 5.0), report(1, 4.0), report(1, 4.5, "t"), report(2, 4.0, "t", other=1.0)]
    assert early.curve(7, lines, "val/loss", "minimize", total_tokens=1000, done=False) == Curve(
        trial=7,
        numbers=(1, 2, 3),
        groups=("s", "t", "t"),
        steps=(2, 4, 6),
        tokens=(100, 200, 300),
        values=(5.0, 4.5, 4.0),
        total_tokens=1000,
        finished=False,
    )
    assert early.curve(7, lines, "other", "maximize", total_tokens=1000, done=True).values == (-1.0,)
    alike = read_early_terminate({"type": "median", "group_by": "none"})
    assert alike.curve(7, lines, "val/loss", "minimize", total_tokens=1000, done=True).groups == ("", "", "")


def test_goals_are_mirror_images() -> None:
    for settings in ({"type": "asha"}, {"type": "median", "start_at": 0}, {"type": "threshold", "upper": 5.0}):
        mirrored = {**settings, "lower": -5.0} if settings["type"] == "threshold" else settings
        mirrored = {key: value for key, value in mirrored.items() if key != "upper"}
        down, up = read_early_terminate(settings), read_early_terminate(mirrored, "maximize")
        for last in (1.0, 5.5):
            curves = []
            for early, goal, sign in ((down, "minimize", 1.0), (up, "maximize", -1.0)):
                made = [
                    early.curve(
                        trial,
                        [report(0, sign * 4.0), report(1, sign * value)],
                        "val/loss",
                        goal,
                        total_tokens=1000,
                        done=True,
                    )
                    for trial, value in enumerate([last, 3.0, 3.1, 3.2, 3.3, 3.4])
                ]
                curves.append(early.judge(made[0], made) is None)
            assert curves[0] == curves[1]
    assert isinstance(up.pruner, ThresholdPruner)
    assert (up.pruner.lower, up.pruner.upper) == (-math.inf, 5.0)


SHAPES = ["model.optimizer.init_args.lr", "model.schedule.class_path", "model.schedule.init_args.decay"]


@pytest.mark.parametrize("kind", ["median", "percentile", "asha"])
def test_raw_losses_over_schedule_shapes_are_refused(kind: str) -> None:
    risky = read_early_terminate({"type": kind, "group_by": "none"})
    risky.check_space(["model.optimizer.init_args.lr", "model.dropout"])
    with pytest.raises(ConfigError, match=r"-0\.57, 0\.10, 0\.51 and 0\.91 .* 0\.98 within one shape.*class_path, "):
        risky.check_space(SHAPES)
    read_early_terminate({"type": kind, "group_by": "none", "force": True}).check_space(SHAPES)
    read_early_terminate({"type": kind}).check_space(SHAPES)


def test_rules_that_compare_nothing_are_not_refused() -> None:
    for settings in ({"type": "none"}, {"type": "threshold", "upper": 3.0}):
        read_early_terminate({**settings, "group_by": "none"}).check_space(SHAPES)


def test_the_rungs_are_told_before_the_start() -> None:
    early = read_early_terminate({"type": "asha", "eta": 3, "start_at": "10%"})
    assert early.describe(20, 2_000_000, 27) == [
        "early stopping: asha, 20 reports a run, from 10% on, group_by shape, diverged above 2 x the best",
        "  rungs:",
        "    report 3 = 15% = 300,000 tokens, about 27 trials get there",
        "    report 9 = 45% = 900,000 tokens, about 9 trials get there",
    ]
    lines = read_early_terminate({"type": "hyperband", "max_reports": 9}).describe(9, 900, 50)
    assert lines[1:] == [
        "  bracket 0 (53% of the trials):",
        "    report 1 = 11% = 100 tokens",
        "    report 3 = 33% = 300 tokens",
        "  bracket 1 (29% of the trials):",
        "    report 3 = 33% = 300 tokens",
        "  bracket 2 (18% of the trials): none, these trials run to their end",
    ]


def test_wandbs_section_is_understood() -> None:
    early = read_early_terminate({"type": "hyperband", "min_iter": 3, "eta": 2, "s": 3})
    assert early.pruner.rungs(99) == {"": (3, 6, 12)}
    assert read_early_terminate({"type": "hyperband", "max_iter": 27, "s": 2}).pruner.rungs(99) == {"": (3, 9)}


def test_a_rule_of_ones_own() -> None:
    early = read_early_terminate(
        {"class_path": "MedianPruner", "init_args": {"startup_trials": 2}, "start_at": "50%", "patience": 3}
    )
    assert isinstance(early.pruner, MedianPruner)
    assert (early.start_at, early.patience, name_of(early.pruner)) == ("50%", 3, "median")


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"type": "medain"}, r"got 'medain' \(allowed: none, median, .*Did you mean median\?"),
        ({"start_at": 3}, "has no type"),
        ({"type": "median", "start_att": 3}, r"got 'start_att'.*Did you mean start_at\?"),
        ({"type": "none", "eta": 3}, "no such setting for this type: got 'eta'"),
        ({"type": "median", "start_at": "soon"}, "start_at is not a length: got 'soon'"),
        ({"type": "median", "report_every": 0}, "report_every is a cadence: got 0"),
        ({"type": "median", "patience": 0}, "patience is out of range: got 0"),
        ({"type": "asha", "patience": 2}, "patience does not go with rungs"),
        ({"type": "asha", "eta": 2.5}, r"^early_terminate.eta does not accept this value: got '2.5'"),
        ({"type": "median", "group_by": "shapes"}, r"got 'shapes' \(allowed: shape, none\)"),
        ({"type": "median", "diverged": {"factr": 2}}, r"^There is no setting early_terminate.diverged.factr\. Did"),
        ({"type": "median", "diverged": {"factor": 1.0}}, "diverged.factor is out of range: got 1.0"),
        ({"type": "hyperband"}, "early_terminate.max_reports"),
        ({"class_path": "os.system"}, "names code that a setting may not run: got 'os.system'"),
        ({"class_path": "Medain"}, "got 'Medain'"),
    ],
)
def test_mistakes_are_told_in_one_line(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as problem:
        read_early_terminate(settings)
    assert "\n" not in str(problem.value)
    assert "--early" not in str(problem.value)


def test_every_rule_can_be_built_directly() -> None:
    rule: Pruner = SuccessiveHalving()
    assert EarlyTermination(rule).judge(curve(0, [1.0]), []) is None
