"""What a sweep will do, in words: its space, its length, who is stopped when, and what it will cost.

Before trial 1: every key and its edge values through the parser that ``fit`` uses, and what the sweep will cost.

A handful of configurations is made in which every value of every parameter occurs at least once, as far as conditions
allow; each is parsed, its objects are built, and its schedule is laid over its length.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import optuna

from gpt_lightning.errors import ConfigError, UserError
from gpt_lightning.parsing.suggest import did_you_mean, join_names
from gpt_lightning.tuning.spec.parameters import label, same
from gpt_lightning.tuning.spec.reading_parameters import is_active
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.spec.trial_arguments import complete_values, references, shares_steps, trial_arguments
from gpt_lightning.tuning.study.samplers import Grid, make_sampler

if TYPE_CHECKING:
    from gpt_lightning.training.profiling.reuse_commands import Savings

_BYTES_PER_PARAMETER = 12
"""A weight and the two moments of Adam, in 32 bits."""


def describe_plan(spec: SweepSpec, checked: Checked) -> str:
    """Several lines."""
    trials, grid = spec.budget.trials, Grid.of(spec)
    points = None if grid is None else len(grid)
    if points is not None:
        trials = min(points, trials or points)
    every = " (every point once)" if points is not None and points == trials else ""
    lines = [
        f"sweep {spec.name}: {trials or 'any number of'} trials{every}, method {spec.method.name}, seed {spec.seed}, "
        + ", ".join(f"{metric.goal} {metric.name} ({metric.at})" for metric in spec.metrics)
    ]
    for key, parameter in spec.parameters.items():
        where = "".join(f", where {name} is {' or '.join(map(str, values))}" for name, values in parameter.when.items())
        lines.append(f"  {key}: {parameter.describe()}{where}")
    lines += [f"  {key}: derived, {expression}" for key, expression in spec.derive.items()]
    lines += [f"  {len(spec.enqueue)} given points come first"] if spec.enqueue else []
    if spec.ignored:
        lines.append(f"ignored keys: {', '.join(spec.ignored)}")
    lines.append(f"{checked.configurations} configurations with every edge value were parsed and built")
    if checked.total_steps:
        lines.append(
            f"a trial: up to {checked.total_steps:,} steps, {checked.total_tokens:,} tokens, {checked.reports} reports"
        )
        lines += spec.early_terminate.describe(checked.reports, checked.total_tokens, trials)
    if checked.savings is not None:
        lines.append(
            f"shared steps: about {checked.savings.executed_share:.0%} of the steps are executed "
            f"({checked.sampled} random trials were compared)"
        )
    if checked.num_parameters:
        size = checked.num_parameters * _BYTES_PER_PARAMETER / 1e9
        many = "" if trials is None else f", up to {size * trials * 3:.2f} GB for all (3 each)"
        lines.append(f"disk: about {size:.3f} GB a checkpoint{many}")
    return "\n".join(lines) + "\n"


_DERIVED_POINTS = 100
MEASURED = ("seconds", "tokens", "sys/peak_mem_gb", "model/parameters")


@dataclass
class Checked:
    """What was found out.

    Attributes:
        classes: Keys of the base that hold a class -> its short name.
        constants: Settings of the base that ``derive`` refers to.
        configurations: How many were tried.
        total_steps: Optimizer steps of the longest one; 0 = given in epochs, and depends on data.
        total_tokens: Its training tokens.
        reports: Its validations.
        num_parameters: Of the largest model; 0 = its vocabulary depends on data.
        savings: Steps that random trials would share; None = nothing is shared, or it was not asked for.
        sampled: How many random trials were compared for it.
    """

    classes: dict[str, str] = field(default_factory=dict)
    constants: dict[str, Any] = field(default_factory=dict)
    configurations: int = 0
    total_steps: int = 0
    total_tokens: int = 0
    reports: int = 0
    num_parameters: int = 0
    savings: Savings | None = None
    sampled: int = 0

    def facts(self) -> dict[str, Any]:
        """What workers need, as plain data."""
        return {"classes": self.classes, "constants": self.constants}


def check_sweep(spec: SweepSpec) -> Checked:
    """Try a sweep without training.

    Raises:
        ConfigError: A key, a value, a metric or the sampler would fail later.
    """
    make_sampler(spec)
    _check_metrics(spec)
    checked = Checked()
    config = _parse(spec, trial_arguments(spec, {}, {}), {})
    known = config.as_flat().__dict__
    _check_validation(spec, config)
    for key in spec.parameters:
        chosen = config.get(key)
        if chosen is not None and hasattr(chosen, "as_flat") and "class_path" in chosen:
            checked.classes[key] = str(chosen["class_path"]).rpartition(".")[2]
    for expression in spec.derive.values():
        for name in references(expression):
            if name in spec.parameters or name in spec.derive:
                continue
            plain = {key.replace(".init_args.", "."): value for key, value in known.items()} | known
            if name not in plain:
                raise ConfigError(
                    f"derive refers to {name}, which is neither a parameter nor a setting of the base",
                    got=expression,
                    fix=did_you_mean(name, [*spec.parameters, *plain]),
                )
            checked.constants[name] = plain[name]
    _try_derived(spec, checked.constants)
    for values in [*cover(spec), *spec.enqueue]:
        complete = complete_values(spec, values, checked.constants)
        _try(spec, trial_arguments(spec, complete, checked.classes), complete, checked)
    return checked


def estimate(spec: SweepSpec, checked: Checked, count: int = 20) -> None:
    """Find out what random trials would share; half a second for each."""
    from gpt_lightning.training.profiling.reuse_commands import estimate_savings, sketch

    if not shares_steps(spec) or not checked.total_steps:
        return
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=spec.seed))
    sketches = []
    for _ in range(min(count, spec.budget.trials or count)):
        complete = complete_values(spec, _draw(spec, study), checked.constants)
        sketches.append(sketch(trial_arguments(spec, complete, checked.classes)))
    checked.savings, checked.sampled = estimate_savings(sketches, spec.reuse.every), len(sketches)


def cover(spec: SweepSpec) -> list[dict[str, Any]]:
    """Few points in which every edge value of every parameter occurs.

    Raises:
        ConfigError: A parameter exists beside no values of the others.
    """
    missing = {key: list(parameter.edges()) for key, parameter in spec.parameters.items()}
    points: list[dict[str, Any]] = []
    while any(missing.values()):
        wanted = next(key for key, values in missing.items() if values)
        forced = next(_ways(spec, {wanted: missing[wanted][0]}), None)
        if forced is None:
            raise ConfigError(f"parameters.{wanted}.when is never true", got=dict(spec.parameters[wanted].when))
        point: dict[str, Any] = {}
        for key, parameter in spec.parameters.items():
            if is_active(parameter, point):
                point[key] = forced[key] if key in forced else (missing[key] or parameter.edges())[0]
        for key, value in point.items():
            # Not by class: of two mappings of one class, both are tried.
            missing[key] = [each for each in missing[key] if (type(each), label(each)) != (type(value), label(value))]
        points.append(point)
    return points


def _ways(spec: SweepSpec, forced: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """``forced`` with values of other parameters beside which all of it exists; nothing where there are none."""
    conditions = [each for key in forced for each in spec.parameters[key].when.items()]
    if any(key in forced and not any(same(forced[key], one) for one in allowed) for key, allowed in conditions):
        return
    waiting = next((each for each in conditions if each[0] not in forced), None)
    if waiting is None:
        yield forced
        return
    key, allowed = waiting
    for value in spec.parameters[key].grid() or ():
        if any(same(value, one) for one in allowed):
            yield from _ways(spec, {**forced, key: value})


def _try_derived(spec: SweepSpec, constants: dict[str, Any]) -> None:
    """Derived settings between the edges: arithmetic may fail in the middle of a range."""
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=spec.seed))
    for _ in range(_DERIVED_POINTS if spec.derive else 0):
        complete_values(spec, _draw(spec, study), constants)


def _draw(spec: SweepSpec, study: optuna.Study) -> dict[str, Any]:
    trial, values = study.ask(), dict[str, Any]()
    for key, parameter in spec.parameters.items():
        if is_active(parameter, values):
            values[key] = parameter.decode(parameter.suggest(trial))
    return values


def _parse(spec: SweepSpec, arguments: Sequence[str], values: dict[str, Any]) -> Any:
    from gpt_lightning.training.fitting.command_line import TrainerCommandLine

    try:
        return TrainerCommandLine("fit", list(arguments)).config
    except UserError as problem:
        raise _with_point(problem, values) from problem


def _try(spec: SweepSpec, arguments: Sequence[str], values: dict[str, Any], checked: Checked) -> None:
    from gpt_lightning.training.engine.sharding import choose_strategy
    from gpt_lightning.training.fitting.build import quieten_lightning
    from gpt_lightning.training.fitting.command_line import TrainerCommandLine
    from gpt_lightning.training.fitting.consent import ask_consent
    from gpt_lightning.training.profiling.plot_schedule import read_horizon
    from gpt_lightning.training.runs.trainer_checks import check_ranges

    quieten_lightning()
    checked.configurations += 1
    try:
        line = TrainerCommandLine("fit", list(arguments), typed=False)
        ask_consent(line)
        check_ranges(line.config.trainer.as_dict(), int(line.config.seed_everything))
        parts = line.parser.instantiate(line.config)
        if line.config.trainer.max_steps == -1 and line.config.run.max_tokens is None:
            return
        horizon = read_horizon(line.config, parts.data.batch_ramp, choose_strategy(parts.trainer.strategy))
        parts.model.schedule.check(horizon)
    except UserError as problem:
        raise _with_point(problem, values) from problem
    total = horizon.tokens_before(horizon.total_steps)
    if total >= checked.total_tokens:
        checked.total_steps, checked.total_tokens = horizon.total_steps, total
        every = spec.early_terminate.report_every or line.config.run.validate_every
        checked.reports = _count_reports(every, horizon)
    if parts.model.config.vocab_size:
        checked.num_parameters = max(checked.num_parameters, int(parts.model.config.num_parameters))


def _count_reports(every: Any, horizon: Any) -> int:
    from gpt_lightning.optim.schedules.lengths import to_steps

    return -(-int(horizon.total_steps) // max(1, to_steps(every, horizon, "run.validate_every")))


def _with_point(problem: UserError, values: dict[str, Any]) -> ConfigError:
    told = ConfigError("")
    shown = ", ".join(f"{key}={value}" for key, value in values.items())
    told.args = (f"A trial of this sweep would fail. {problem} (the trial: {shown or 'the base alone'})",)
    return told


def _check_validation(spec: SweepSpec, config: Any) -> None:
    """What is compared by validation must validate; token files and stores may have a split of their own."""
    asked = [metric.name for metric in spec.metrics if metric.name.startswith("val/")]
    own = config.get("data.store") or config.get("data.mixture") or str(config.get("data.source")).endswith(".bin")
    for setting, value in (
        ("data.val_fraction", None if own else config.get("data.val_fraction")),
        ("trainer.limit_val_batches", config.get("trainer.limit_val_batches")),
    ):
        if asked and value == 0 and setting not in spec.parameters:
            raise ConfigError(
                f"The sweep compares {asked[0]}, and its base does not validate",
                got=f"{setting} 0",
                allowed=f"{setting} above 0, or a metric of training such as train/loss",
                fix=f"Leave {setting} out of the base, or compare another metric.",
            )


def _check_metrics(spec: SweepSpec) -> None:
    from gpt_lightning.tracking.names import METRICS

    known = [*METRICS, *MEASURED]
    for name in [*(metric.name for metric in spec.metrics), *(each.metric for each in spec.constraints)]:
        fits = any(name == each or ("<" in each and name.startswith(each.partition("<")[0])) for each in known)
        if not fits or name.startswith("test/"):
            raise ConfigError(
                "no run logs this metric", got=name, allowed=join_names(known, 40), fix=did_you_mean(name, known)
            )
