"""Conditions of a gate: two evaluations of the same items, and whether the second may follow the first."""

from __future__ import annotations

import math
from collections.abc import Sequence

from gpt_lightning.errors import DataError
from gpt_lightning.evaluation.commands.compare import compare_evaluations
from gpt_lightning.evaluation.outcomes.resampling import Difference
from gpt_lightning.evaluation.outcomes.results import Evaluation
from gpt_lightning.registry.gates import Check

LEVEL = 0.05
"""One-sided: a candidate that is as good as the version in use passes so often."""


def judge_better(first: Evaluation, second: Evaluation, *, seed: int = 0, resamples: int = 2000) -> Check:
    """Whether the candidate is better, beyond luck: paired bootstrap on the same items, one-sided 95 %.

    Items count as independent. Five questions on each of 40 facts rise and fall together: with them 3 of 20 neutral
    candidates passed, with one question each none (``tests/continual/test_loop.py``).

    Args:
        first: Of the version in use.
        second: Of the candidate.
        seed: Which items are drawn.
        resamples: How often.

    Raises:
        DataError: They are not of the same items.
    """
    name, difference, gain = _main_difference(first, second, seed, resamples)
    # The bootstrap's p is two-sided and says nothing of the direction.
    chance = difference.p_value / 2 if gain > 0 else 1.0
    found = f"{name} {difference.first:.4g} -> {difference.second:.4g}, chance {chance:.3g}, {_count(difference)}"
    return Check(f"better: {second.name}", chance <= LEVEL, found, f"better by more than luck (chance <= {LEVEL})")


def judge_anchor(first: Evaluation, second: Evaluation, tolerance: float) -> Check:
    """Whether the candidate is not worse than the version in use by more than a tolerance.

    Args:
        first: Of the version in use.
        second: Of the candidate.
        tolerance: In the units of the task's first result, such as percent.

    Raises:
        DataError: They are not of the same items.
    """
    name, difference, gain = _main_difference(first, second, 0, 100)
    found = f"{name} {difference.first:.4g} -> {difference.second:.4g}"
    return Check(f"not worse: {second.name}", gain >= -tolerance, found, f"worse by {tolerance:g} at most")


def judge_text(first: Evaluation, second: Evaluation, limit: float) -> Check:
    """Whether the candidate still predicts texts of the old kind.

    Args:
        first: Perplexity of the version in use.
        second: Of the candidate.
        limit: Most that bits per byte may grow, as a share.
    """
    before, after = (each.scores["bits_per_byte"] for each in (first, second))
    grown = after / before - 1
    found = f"bits per byte {before:.4f} -> {after:.4f} ({100 * grown:+.2f} %)"
    return Check(f"not forgotten: {second.name}", grown <= limit, found, f"{100 * limit:+g} % at most")


def judge_answers(wrong: Sequence[str], asked: int) -> Check:
    """Whether nothing was said that must not be.

    Args:
        wrong: Where it was.
        asked: How many prompts there were.
    """
    found = f"{len(wrong)} of {asked}" + (f", the first: {wrong[0]}" if wrong else "")
    return Check("nothing said that must not be", not wrong, found, "0")


def judge_replay(refused: Sequence[int], different: int, asked: int) -> Check:
    """Whether every logged request is still answered; that answers differ is what a new version is for.

    Args:
        refused: Lines of the log that are not answered any more.
        different: How many answers are not those of the log.
        asked: How many requests there are.
    """
    first = f", the first in line {refused[0]}" if refused else ""
    found = f"{len(refused)} of {asked} refused{first}; {different} answered otherwise"
    return Check("logged requests are answered", not refused, found, "none refused")


def _main_difference(first: Evaluation, second: Evaluation, seed: int, resamples: int) -> tuple[str, Difference, float]:
    """The task's first result: its name, how it differs, and by how much the second is better."""
    measure = first.measures[0]
    score = measure.build()
    name = next(iter(score.compute(first.rows(measure).sum(axis=0))))
    difference = compare_evaluations(first, second, seed=seed, resamples=resamples)[measure.label(name)]
    gain = (difference.second - difference.first) * (-1 if name in score.lower_is_better else 1)
    if math.isnan(gain):
        raise DataError(f"{first.name} measures nothing on these items", got=f"{name} is not a number")
    return measure.label(name), difference, gain


def _count(difference: Difference) -> str:
    return f"{difference.wins} items better, {difference.losses} worse"
