"""The rules that stop trials, against Optuna's on the same curves, by hand, and by what they promise."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import optuna
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.pruning.halving import Hyperband, SuccessiveHalving, WandbHyperband
from gpt_lightning.tuning.pruning.pruning import (
    Curve,
    MedianPruner,
    NoPruner,
    PercentilePruner,
    Pruner,
    ThresholdPruner,
)
from tests.tuning.curves import curve

REPORTS = 9


def random_curves(seed: int, trials: int) -> list[list[float]]:
    """Falling, noisy, crossing, with a few NaN: values come rounded, so that ties happen."""
    rng = random.Random(seed)
    curves = []
    for _ in range(trials):
        end, start = rng.uniform(1, 3), rng.uniform(3, 6)
        values = [round(end + (start - end) / n + rng.gauss(0, 0.1), 1) for n in range(1, REPORTS + 1)]
        curves.append([math.nan if rng.random() < 0.02 else value for value in values])
    return curves


def compare_with_optuna(ours: Pruner, theirs: optuna.pruners.BasePruner, seed: int, workers: int) -> int:
    """Feed both the same reports, of ``workers`` trials at a time in random order; returns how many were stopped."""
    study = optuna.create_study(pruner=theirs)
    rng = random.Random(seed)
    waiting = random_curves(seed, 30)
    running: dict[int, tuple[optuna.Trial, list[float], list[float]]] = {}
    done: dict[int, Curve] = {}
    stopped = 0
    while waiting or running:
        while waiting and len(running) < workers:
            trial = study.ask()
            running[trial.number] = (trial, waiting.pop(), [])
        number = rng.choice(sorted(running))
        trial, future, past = running[number]
        past.append(future[len(past)])
        trial.report(past[-1], len(past))
        others = [*done.values(), *(curve(n, each[2]) for n, each in running.items() if n != number and each[2])]
        verdict = ours.judge(curve(number, past), others)
        assert (verdict is not None) == bool(trial.should_prune()), (number, past, verdict)
        ended = len(past) == REPORTS
        if verdict is not None or ended:
            study.tell(trial, None if verdict else 0.0, optuna.trial.TrialState.PRUNED if verdict else None)
            done[number] = curve(number, past, finished=verdict is None)
            del running[number]
            stopped += verdict is not None
    return stopped


PAIRS: dict[str, Callable[[], tuple[Pruner, optuna.pruners.BasePruner]]] = {
    "median": lambda: (MedianPruner(4), optuna.pruners.MedianPruner(4, n_warmup_steps=0)),
    "percentile": lambda: (PercentilePruner(30.0, 3), optuna.pruners.PercentilePruner(30.0, 3)),
    "asha": lambda: (SuccessiveHalving(1, 3), optuna.pruners.SuccessiveHalvingPruner(1, 3)),
    "asha from 2 by 2": lambda: (SuccessiveHalving(2, 2), optuna.pruners.SuccessiveHalvingPruner(2, 2)),
    "threshold": lambda: (ThresholdPruner(4.0, 1.5), optuna.pruners.ThresholdPruner(lower=1.5, upper=4.0)),
}


@pytest.mark.filterwarnings("ignore:All-NaN slice:RuntimeWarning")  # Optuna's own
@pytest.mark.parametrize("workers", [1, 4])
@pytest.mark.parametrize("name", PAIRS)
def test_optuna_says_the_same_at_every_report(name: str, workers: int) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    stopped = [compare_with_optuna(*PAIRS[name](), seed=seed, workers=workers) for seed in range(3)]
    assert 10 < sum(stopped) < 90


@pytest.mark.parametrize(("reports", "first", "eta"), [(9, 1, 3), (81, 3, 3), (16, 1, 2), (5, 5, 3)])
def test_brackets_of_hyperband_have_the_sizes_of_optunas(reports: int, first: int, eta: int) -> None:
    ours, theirs = Hyperband(reports, first, eta), optuna.pruners.HyperbandPruner(first, reports, eta)
    study = optuna.create_study(pruner=theirs)
    theirs._try_initialization(study)
    assert theirs._n_brackets is not None
    shares = [theirs._calculate_trial_allocation_budget(bracket) for bracket in range(theirs._n_brackets)]
    assert ours._shares == shares
    counts = [0] * len(shares)
    for trial in range(4000):
        counts[ours.bracket_of(trial)] += 1
    assert counts == pytest.approx([4000 * share / sum(shares) for share in shares], rel=0.2)


def test_hyperband_is_halving_inside_each_bracket() -> None:
    ours = Hyperband(9, 1, 3)
    curves = [curve(number, values) for number, values in enumerate(random_curves(5, 40))]
    verdicts = set()
    for count in (1, 3, 9):
        reached = [each.first(count) for each in curves]
        for mine in reached:
            bracket = ours.bracket_of(mine.trial)
            rivals = [each for each in reached if each is not mine and ours.bracket_of(each.trial) == bracket]
            alone = SuccessiveHalving(3**bracket, 3).judge(mine, rivals)
            assert (ours.judge(mine, [each for each in reached if each is not mine]) is None) == (alone is None)
            verdicts.add((bracket, count, alone is None))
    assert len(verdicts) > 8
    assert all(passed for bracket, count, passed in verdicts if count < 3**bracket)


def test_halving_by_hand() -> None:
    """Six trials come to rung 1 one after the other, eta 2: 3.0 5 4 2 2.5 1."""
    rule = SuccessiveHalving(1, 2)
    there: list[Curve] = []
    passed = []
    for trial, value in enumerate([3.0, 5.0, 4.0, 2.0, 2.5, 1.0]):
        mine = curve(trial, [value])
        passed.append(rule.judge(mine, there) is None)
        there.append(mine)
    # 1 of 1; 1 of 2; 1 of 3; 2 of 4 (2, 3); 2 of 5 (2, 2.5); 3 of 6
    assert passed == [True, False, False, True, True, True]
    late = rule.judge(curve(9, [9.0]), there)
    assert late == "9 is not among the best 3 of 7 at rung 1"


def test_a_rung_is_decided_once() -> None:
    rule = SuccessiveHalving(2, 2)
    better = [curve(trial, [1.0, 1.0, 1.0]) for trial in range(1, 9)]
    assert rule.judge(curve(0, [9.0]), better) is None
    assert rule.judge(curve(0, [9.0, 9.0]), better) is not None
    assert rule.judge(curve(0, [9.0, 9.0, 9.0]), better) is None


def test_wandbs_bands_by_hand() -> None:
    """Bands 1 and 2; thresholds sorted[int(n / 2)]: of 7 8 9 -> 8 at band 1, of 5 6 9 -> 6 at band 2."""
    rule = WandbHyperband(max_iter=4, eta=2, s=2)
    assert rule.rungs(4) == {"": (1, 2)}
    one, two, three = curve(1, [7.0, 5.0]), curve(2, [8.0, 6.0]), curve(3, [9.0, 9.0])
    assert rule.judge(one, [two, three]) is None
    assert rule.judge(two, [one, three]) is None
    assert rule.judge(three, [one, two]) == "9 is behind 6, needed at band 2"
    assert rule.judge(three.first(1), [one, two]) == "9 is behind 8, needed at band 1"
    recovered = curve(3, [9.0, 9.0, 5.5])
    assert rule.judge(recovered, [one, two]) is None
    assert WandbHyperband(max_iter=4, eta=2, s=2, strict=True).judge(recovered, [one, two]) is not None
    assert WandbHyperband(min_iter=3).rungs(82) == {"": (3, 9, 27, 81)}
    assert WandbHyperband(min_iter=3, s=2).rungs(82) == {"": (3, 9)}


RULES: list[Pruner] = [
    MedianPruner(2),
    PercentilePruner(10.0, 1),
    SuccessiveHalving(1, 2),
    SuccessiveHalving(2, 3),
    Hyperband(8, 1, 2),
    WandbHyperband(min_iter=1, eta=2),
    WandbHyperband(min_iter=2, eta=3, strict=True),
]
tables = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=8), min_size=2, max_size=12)


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
@settings(max_examples=25, deadline=None)
@given(table=tables, finished=st.sets(st.integers(0, 11)), order=st.randoms(use_true_random=False))
def test_the_leader_goes_on_and_the_order_of_the_others_does_not_count(
    rule: Pruner, table: list[list[int]], finished: set[int], order: random.Random
) -> None:
    curves = [curve(n, [float(v) for v in row], finished=n in finished) for n, row in enumerate(table)]
    for mine in curves:
        others = [each for each in curves if each is not mine]
        verdict = rule.judge(mine, others)
        order.shuffle(others)
        assert rule.judge(mine, others) == verdict
        leads = all(mine.values[i] <= each.values[i] for each in others for i in range(min(len(mine), len(each))))
        assert not (leads and verdict), verdict


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: type(rule).__name__)
def test_other_groups_do_not_count(rule: Pruner) -> None:
    better = [curve(trial, [1.0] * 9, "flat", finished=True) for trial in range(40) if trial]
    assert rule.judge(curve(0, [9.0] * 4, "falling"), better) is None
    judged = [rule.judge(curve(0, [9.0] * count, "flat"), better) for count in range(1, 9)]
    assert any(judged), "the same reports stop it inside the group"


def test_a_group_is_that_of_the_report_compared() -> None:
    """A finished run that cooled down late is compared with one that has not begun to."""
    rule = MedianPruner(1)
    cooled = curve(1, [4.0, 3.0, 1.0], ["stable", "stable", "cooled"], finished=True)
    assert rule.judge(curve(0, [5.0, 4.0], ["stable", "stable"]), [cooled]) is not None
    assert rule.judge(curve(0, [5.0, 4.0, 4.0], ["stable"] * 3), [cooled]) is None


def test_a_trial_that_began_in_the_middle_has_no_early_values() -> None:
    late = replace(curve(1, [1.0, 1.0], finished=True), numbers=(5, 6))
    assert [late.place(number) for number in (1, 4, 5, 6, 7)] == [None, None, 0, 1, None]
    assert MedianPruner(1).judge(curve(0, [9.0] * 4), [late]) is None
    assert MedianPruner(1).judge(curve(0, [9.0] * 5), [late]) is not None
    assert SuccessiveHalving(1, 2).judge(late, [curve(2, [0.5] * 4)]) is None, (
        "nothing to compare with at rungs 1, 2, 4"
    )


@pytest.mark.filterwarnings("ignore:PatientPruner is experimental")
def test_optunas_patience_never_stops_a_falling_curve() -> None:
    """Why ``patience`` counts verdicts: a training loss falls to the end, however far it is behind."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    patient = optuna.pruners.PatientPruner(optuna.pruners.MedianPruner(1), patience=2)
    study = optuna.create_study(pruner=patient)
    good, bad = study.ask(), study.ask()
    for step in range(1, REPORTS + 1):
        good.report(1 / step, step)
    study.tell(good, 0.1)
    for step in range(1, REPORTS + 1):
        bad.report(100 / step, step)
        assert not bad.should_prune()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: MedianPruner(0), r"startup_trials is out of range: got 0 \(allowed: 1 or more\)"),
        (lambda: PercentilePruner(100.0), r"percentile is out of range: got 100.0"),
        (lambda: ThresholdPruner(), "threshold has no limit"),
        (lambda: ThresholdPruner(1.0, 2.0), "lower is above"),
        (lambda: SuccessiveHalving(1, 1), r"eta is out of range: got 1 \(allowed: 2 or more\)"),
        (lambda: Hyperband(2, 3), r"max_reports is below the first rung: got 2 \(allowed: at least min_reports = 3\)"),
        (lambda: WandbHyperband(), "one of min_iter and max_iter: got 'neither'"),
        (lambda: WandbHyperband(min_iter=1, eta=1.0), "eta is out of range: got 1.0"),
        (lambda: WandbHyperband(max_iter=9), "max_iter needs s"),
        (lambda: WandbHyperband(max_iter=2, s=1), "max_iter is below eta: got 2"),
    ],
)
def test_bad_settings_are_refused(make: Callable[[], Pruner], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        make()


def test_nothing_stops_without_a_rule() -> None:
    assert NoPruner().judge(curve(0, [99.0]), [curve(1, [1.0], finished=True)]) is None
