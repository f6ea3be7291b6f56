"""``early_terminate`` of a sweep file: which rule stops trials, from when on, and what is compared with what.

    early_terminate:
      type: median            # none | median | percentile | threshold | asha | hyperband, or {class_path, init_args}
      startup_trials: 4       # the rule's own settings stand beside it
      report_every: 5%        # null = at every validation of the config
      start_at: 30%
      patience: 2
      group_by: shape         # compare trials only while their learning rates went the same way
      diverged: {factor: 2.0, nan: true}

The order of questions after a report: has the trial diverged; is it old enough; does the rule say stop, at each of the
last ``patience`` reports. A sweep file without ``early_terminate`` still stops diverged trials.

Why ``group_by: shape``: over seven schedule shapes the rank correlation between the loss at half time and the final
loss was -0.57, 0.10, 0.51 and 0.91 in four repeats, and the shape that won all four was among the last three of seven
at 66 to 80 % of two of them; over eight peak rates of one shape it was 0.98 (600 and 480 steps, a GPT of width 64).
"""

from __future__ import annotations

import inspect
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, Protocol, runtime_checkable

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.schedules.lengths import parse_length
from gpt_lightning.parsing.parser import StrictParser
from gpt_lightning.parsing.suggest import did_you_mean
from gpt_lightning.tuning.pruning.halving import Hyperband, SuccessiveHalving, WandbHyperband
from gpt_lightning.tuning.pruning.pruning import (
    Curve,
    MedianPruner,
    NoPruner,
    PercentilePruner,
    Pruner,
    ThresholdPruner,
)

LengthLike = int | float | str
_TYPES: dict[str, type[Pruner]] = {
    "none": NoPruner,
    "median": MedianPruner,
    "percentile": PercentilePruner,
    "threshold": ThresholdPruner,
    "asha": SuccessiveHalving,
    "hyperband": Hyperband,
}
_CUSTOMARY: dict[type[Pruner], dict[str, Any]] = {
    rule: {"start_at": "30%", "patience": 2} for rule in (MedianPruner, PercentilePruner)
}
"""Settings that these rules begin with: the first third of a run is the noisiest to compare."""
_SHAPE_KEYS = ("model.schedule", "trainer.max_steps", "trainer.max_epochs", "run.max_tokens")
"""Settings that change the way of the learning rate, not only its height."""


@runtime_checkable
class Reported(Protocol):
    """A report of a trial: its number from 0, steps and tokens done, metrics by name, and the shape key so far."""

    @property
    def n(self) -> int: ...  # noqa: D102
    @property
    def step(self) -> int: ...  # noqa: D102
    @property
    def tokens(self) -> int: ...  # noqa: D102
    @property
    def metrics(self) -> Mapping[str, float]: ...  # noqa: D102
    @property
    def shape(self) -> str: ...  # noqa: D102


class Diverged(str):
    """A reason to stop that says the settings are to blame, not the company: the sampler is told so."""


@dataclass(frozen=True)
class Divergence:
    """When a trial counts as diverged.

    Args:
        factor: A value above this many times the best value of any trial at the same report; null = never. For values
            that are not positive it says nothing.
        nan: Whether NaN and infinity count.
    """

    factor: float | None = 2.0
    nan: bool = True

    def __post_init__(self) -> None:
        if self.factor is not None and not self.factor > 1.0:
            raise ConfigError(
                "early_terminate.diverged.factor is out of range", got=self.factor, allowed="above 1, or null"
            )

    def judge(self, mine: Curve, others: Sequence[Curve]) -> Diverged | None:
        """A reason to stop, or None; compares whatever the groups."""
        value, number = mine.values[-1], mine.numbers[-1]
        if not math.isfinite(value):
            return Diverged(f"diverged: the value is {value}") if self.nan else None
        if self.factor is None:
            return None
        places = [(other, other.place(number)) for other in others]
        at_number = [other.values[place] for other, place in places if place is not None]
        best = min((each for each in at_number if math.isfinite(each)), default=math.inf)
        if best <= 0 or value <= self.factor * best:
            return None
        return Diverged(f"diverged: {value:.6g} is more than {self.factor:g} times the best value there, {best:.6g}")


@dataclass(frozen=True)
class EarlyTermination:
    """A rule with everything around it.

    Args:
        pruner: The rule.
        report_every: Between reports: steps (500), tokens ("20M tokens") or a share of the run ("5%"); null = a report
            at every validation that the config asks for.
        start_at: No trial is stopped before, written in the same ways.
        patience: Reports in a row at which the rule must say stop, 1 or more. This is not Optuna's ``PatientPruner``,
            which waits until the trial's own values stop falling: a training loss falls all the time.
        group_by: shape = compare reports only where the learning rates so far went the same way; none = always.
        diverged: When a trial counts as diverged.
        force: Compare raw values of different schedule shapes all the same.
    """

    pruner: Pruner
    report_every: LengthLike | None = None
    start_at: LengthLike = 0
    patience: int = 1
    group_by: Literal["shape", "none"] = "shape"
    diverged: Divergence = field(default_factory=Divergence)
    force: bool = False

    def __post_init__(self) -> None:
        parse_length(self.start_at, "early_terminate.start_at")
        if self.report_every is not None:
            parsed = parse_length(self.report_every, "early_terminate.report_every")
            if not parsed.value:
                raise ConfigError(
                    "early_terminate.report_every is a cadence", got=self.report_every, allowed="more than 0"
                )
        if self.patience < 1:
            raise ConfigError("early_terminate.patience is out of range", got=self.patience, allowed="1 or more")
        if self.patience > 1 and self.pruner.once_per_rung:
            raise ConfigError(
                "early_terminate.patience does not go with rungs, where a trial is judged once",
                got=self.patience,
                allowed="1",
                fix="Leave it out, or take type median.",
            )

    def check_space(self, keys: Iterable[str]) -> None:
        """Refuse to compare raw values over schedule shapes.

        Args:
            keys: Settings that the sweep varies.

        Raises:
            ConfigError: It would, and nobody forced it.
        """
        shape = sorted(key for key in keys if key in _SHAPE_KEYS or key.startswith("model.schedule."))
        if not shape or self.group_by == "shape" or self.force or not self.pruner.compares:
            return
        raise ConfigError(
            "early_terminate with group_by none would compare unfinished trials of different schedule shapes, whose "
            "losses half-way say little about the end (rank correlations of -0.57, 0.10, 0.51 and 0.91 in four "
            "repeats over seven shapes; 0.98 within one shape)",
            got=", ".join(shape),
            allowed="group_by: shape, type: none, or force: true",
            fix="Set early_terminate.group_by to shape.",
        )

    def curve(
        self, trial: int, reports: Iterable[Reported], metric: str, goal: str, *, total_tokens: int, done: bool
    ) -> Curve:
        """The curve of a trial for ``judge``.

        Args:
            trial: Its number.
            reports: What it reported, oldest first.
            metric: The metric that is looked at; the first one of several.
            goal: minimize or maximize.
            total_tokens: Training positions of its whole run.
            done: Whether it came to its planned end.
        """
        sign = -1.0 if goal == "maximize" else 1.0
        # A child that went on from a checkpoint reports again what lies behind it; the newest line counts.
        latest = {report.n: report for report in reports if metric in report.metrics}
        lines = [latest[number] for number in sorted(latest)]
        return Curve(
            trial=trial,
            numbers=tuple(line.n + 1 for line in lines),
            groups=tuple(line.shape if self.group_by == "shape" else "" for line in lines),
            steps=tuple(line.step for line in lines),
            tokens=tuple(line.tokens for line in lines),
            values=tuple(sign * line.metrics[metric] for line in lines),
            total_tokens=total_tokens,
            finished=done,
        )

    def judge(self, mine: Curve, others: Sequence[Curve]) -> str | None:
        """Whether to stop a trial after its last report.

        Args:
            mine: The trial.
            others: All other trials; ``mine`` itself may be among them.

        Returns:
            The reason, or None to go on; None for a trial without reports.
        """
        if not mine.numbers:
            return None
        rivals = [other for other in others if other.trial != mine.trial]
        diverged = self.diverged.judge(mine, rivals)
        if diverged is not None:
            return diverged
        if len(mine) < self.patience:
            return None
        reason = None
        for count in range(len(mine) - self.patience + 1, len(mine) + 1):
            then = mine.first(count)
            reason = self.pruner.judge(then, rivals) if self._old_enough(then) else None
            if reason is None:
                return None
        share = mine.tokens[-1] / mine.total_tokens
        again = f", {self.patience} reports in a row" if self.patience > 1 else ""
        return f"{reason}{again} ({mine.tokens[-1]:,} tokens, {share:.0%} of the run)"

    def _old_enough(self, curve: Curve) -> bool:
        start = parse_length(self.start_at, "early_terminate.start_at")
        if start.unit == "steps":
            return curve.steps[-1] >= start.value
        return curve.tokens[-1] >= (start.value if start.unit == "tokens" else start.value * curve.total_tokens)

    def describe(self, reports: int, total_tokens: int, trials: int | None = None) -> list[str]:
        """What will be stopped when, as lines for the user, with the table of rungs.

        Args:
            reports: Reports of a whole run.
            total_tokens: Training positions of a whole run.
            trials: Trials of the sweep; None = unknown.
        """
        facts = [
            f"early stopping: {name_of(self.pruner)}",
            f"{reports} reports a run",
            *([f"from {self.start_at} on"] if self.start_at else []),
            *([f"{self.patience} verdicts in a row"] if self.patience > 1 else []),
            *([f"group_by {self.group_by}"] if self.pruner.compares else []),
            *([f"diverged above {self.diverged.factor:g} x the best"] if self.diverged.factor else []),
        ]
        lines = [", ".join(facts)]
        start = parse_length(self.start_at, "early_terminate.start_at")
        for bracket, rungs in self.pruner.rungs(reports).items():
            lines.append(f"  {bracket or 'rungs'}:" + ("" if rungs else " none, these trials run to their end"))
            shares = {report: report / reports for report in rungs}
            kept = [report for report in rungs if start.unit != "share" or shares[report] >= start.value]
            left = trials
            for place, report in enumerate(kept):
                left = left and max(1, left * kept[place - 1] // report if place else left)
                reach = "" if left is None or bracket else f", about {left} trials get there"
                tokens = round(shares[report] * total_tokens)
                lines.append(f"    report {report} = {shares[report]:.0%} = {tokens:,} tokens{reach}")
        return lines


def read_early_terminate(settings: Mapping[str, Any] | None, goal: str = "minimize") -> EarlyTermination:
    """The section ``early_terminate`` of a sweep file.

    Args:
        settings: The section; None = it is not there.
        goal: minimize or maximize, of the first metric.

    Raises:
        ConfigError: A setting is unknown, of the wrong type or out of range.
    """
    given = dict(settings or {"type": "none"})
    kind = given.pop("type", None)
    init_args = given.pop("init_args", {})
    if "class_path" in given:
        chosen = {"class_path": given.pop("class_path"), "init_args": init_args}
    else:
        rule = _find_type(kind, given)
        own = {name: given.pop(name) for name in inspect.signature(rule).parameters if name in given}
        chosen = {"class_path": f"{rule.__module__}.{rule.__qualname__}", "init_args": own}
        _check_names(given, rule)
        given = {**_CUSTOMARY.get(rule, {}), **given}
    parser = StrictParser(prog="early_terminate", default_env=False)
    parser.add_class_arguments(EarlyTermination, "early_terminate")
    args = [f"--early_terminate.{name}={_as_text(value)}" for name, value in {"pruner": chosen, **given}.items()]
    try:
        early: EarlyTermination = parser.instantiate(parser.parse_args(args)).early_terminate
    except ConfigError as problem:
        # As the settings stand in the sweep file, not as the options that they are parsed as.
        text = str(problem).replace("early_terminate.pruner.", "early_terminate.").replace(" (command line)", "")
        problem.args = (text.replace("--early_terminate", "early_terminate"),)
        raise
    if goal == "maximize" and isinstance(early.pruner, ThresholdPruner):
        early = replace(early, pruner=early.pruner.negated())
    return early


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _find_type(kind: Any, given: Mapping[str, Any]) -> type[Pruner]:
    if kind == "hyperband" and ("min_iter" in given or "max_iter" in given):
        return WandbHyperband
    if kind not in _TYPES:
        raise ConfigError(
            "early_terminate.type is unknown" if kind is not None else "early_terminate has no type",
            got=kind,
            allowed=", ".join(_TYPES),
            fix=did_you_mean(str(kind), _TYPES) or "Or name a class of your own: class_path, init_args.",
        )
    return _TYPES[kind]


def _check_names(given: Mapping[str, Any], rule: type[Pruner]) -> None:
    names = [*inspect.signature(rule).parameters, *inspect.signature(EarlyTermination).parameters]
    allowed = [name for name in names if name != "pruner"]
    for name in given:
        if name not in allowed:
            raise ConfigError(
                "early_terminate has no such setting for this type",
                got=name,
                allowed=", ".join(allowed),
                fix=did_you_mean(name, allowed),
            )


def name_of(pruner: Pruner) -> str:
    """The name of a rule in sweep files, or its class."""
    return next((name for name, rule in _TYPES.items() if type(pruner) is rule), type(pruner).__name__)
