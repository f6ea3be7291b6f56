"""What early stopping would have saved and cost in a sweep that ran to its end: the same reports in random orders.

Usage: python -m tests.bench.pruning_replay runs/lr_grid

The sweep must not have stopped anything itself (``early_terminate: {type: none, diverged: {factor: null}}``). Every
rule sees the trials arrive in random order, several at a time, and decides at each report, as a supervisor would.
"""

from __future__ import annotations

import random
import statistics
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.parsing.strict_yaml import read_yaml
from gpt_lightning.tuning.pruning.early_termination import EarlyTermination, read_early_terminate
from gpt_lightning.tuning.pruning.pruning import Curve
from gpt_lightning.tuning.trial.mailbox import Mailbox, Report

RULES: Mapping[str, Mapping[str, Any]] = {
    "median, shape": {"type": "median", "startup_trials": 2},
    "median, none": {"type": "median", "startup_trials": 2, "group_by": "none"},
    "asha, shape": {"type": "asha", "min_reports": 4, "eta": 2},
    "asha, none": {"type": "asha", "min_reports": 4, "eta": 2, "group_by": "none"},
}


@dataclass(frozen=True)
class Outcome:
    """Of one order: share of reports saved, whether the winner came through, and what the best that did lost to it."""

    saved: float
    kept: bool
    regret: float


def read_reports(sweep: Path, metric: str = "val/loss") -> dict[int, list[Report]]:
    """Reports of every trial that has some, by number."""
    found = {int(folder.name): Mailbox(folder).collect() for folder in sorted((sweep / "trials").glob("*"))}
    return {number: reports for number, reports in found.items() if reports and metric in reports[-1].metrics}


def replay(
    early: EarlyTermination, trials: Mapping[int, Sequence[Report]], rng: random.Random, workers: int = 2
) -> Outcome:
    """One random order."""
    waiting = list(trials)
    rng.shuffle(waiting)
    running: dict[int, int] = {}
    done: dict[int, Curve] = {}

    def curve(number: int, count: int, finished: bool = False) -> Curve:
        reports = trials[number][:count]
        total = trials[number][-1].tokens
        return early.curve(number, reports, "val/loss", "minimize", total_tokens=total, done=finished)

    while waiting or running:
        while waiting and len(running) < workers:
            running[waiting.pop()] = 0
        number = rng.choice(sorted(running))
        running[number] += 1
        mine = curve(number, running[number])
        last = running[number] == len(trials[number])
        others = [*done.values(), *(curve(other, count) for other, count in running.items() if other != number)]
        if last or early.judge(mine, others) is not None:
            done[number] = curve(number, running.pop(number), finished=last)
    ends = {number: reports[-1].metrics["val/loss"] for number, reports in trials.items()}
    left = [ends[number] for number, each in done.items() if each.finished]
    reports_made = sum(len(each) for each in done.values())
    winner = min(ends, key=lambda number: ends[number])
    return Outcome(
        saved=1 - reports_made / sum(map(len, trials.values())),
        kept=done[winner].finished,
        regret=min(left, default=max(ends.values())) - ends[winner],
    )


def rank_correlation(a: Sequence[float], b: Sequence[float]) -> float:
    """Spearman's, without ties."""
    ranks = [{value: rank for rank, value in enumerate(sorted(each))} for each in (a, b)]
    return statistics.correlation([ranks[0][value] for value in a], [ranks[1][value] for value in b])


def correlations(
    trials: Mapping[int, Sequence[Report]], group: Callable[[Sequence[Report]], str]
) -> dict[str, list[float]]:
    """For each group, Spearman's correlation of the loss at 30, 50, 70 and 90 % with the last one."""
    groups: dict[str, list[Sequence[Report]]] = {}
    for reports in trials.values():
        groups.setdefault(group(reports), []).append(reports)
    found = {}
    for name, members in groups.items():
        if len(members) < 4:
            continue
        ends = [reports[-1].metrics["val/loss"] for reports in members]
        found[name] = [
            rank_correlation([r[int(share * len(r)) - 1].metrics["val/loss"] for r in members], ends)
            for share in (0.3, 0.5, 0.7, 0.9)
        ]
    return found


def main(sweep: Path, orders: int = 200) -> None:
    """Print both tables."""
    trials = read_reports(sweep)
    print(f"{len(trials)} trials of {len(next(iter(trials.values())))} reports, {orders} random orders, 2 at a time\n")
    print("| rule | reports saved | winner kept | mean regret | worst regret |\n|---|---|---|---|---|")
    for name, settings in RULES.items():
        early = read_early_terminate({**settings, "diverged": {"factor": None}})
        outcomes = [replay(early, trials, random.Random(order)) for order in range(orders)]
        print(
            f"| {name} | {statistics.mean(each.saved for each in outcomes):.0%} "
            f"| {statistics.mean(each.kept for each in outcomes):.0%} "
            f"| {statistics.mean(each.regret for each in outcomes):.4f} | {max(each.regret for each in outcomes):.4f} |"
        )
    print("\nSpearman of the loss at 30, 50, 70, 90 % with the last one")
    rates = {id(reports): _read_rate(sweep, number) for number, reports in trials.items()}
    groups: dict[str, Callable[[Sequence[Report]], str]] = {
        "one shape, all rates": lambda reports: reports[-1].shape,
        "one rate, all shapes": lambda reports: rates[id(reports)],
        "all": lambda reports: "all",
    }
    for title, group in groups.items():
        for name, values in correlations(trials, group).items():
            print(f"| {title} | {name} | " + " | ".join(f"{value:.2f}" for value in values) + " |")


def _read_rate(sweep: Path, number: int) -> str:
    optimizer = read_yaml(sweep / "trials" / f"{number:05d}" / "config.yaml")["model"]["optimizer"]
    return str(optimizer["init_args"]["lr"])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
