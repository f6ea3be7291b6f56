"""What a sweep will do, in words: its space, its length, who is stopped when, and what it will cost."""

from __future__ import annotations

from gpt_lightning.tuning.checking import Checked
from gpt_lightning.tuning.grid import Grid
from gpt_lightning.tuning.spec import SweepSpec

_BYTES_PER_PARAMETER = 12
"""A weight and the two moments of Adam, in 32 bits."""


def describe_plan(spec: SweepSpec, checked: Checked) -> str:
    """Several lines."""
    trials = spec.budget.trials
    if spec.method.name == "grid":
        points = len(Grid(spec))
        trials = min(points, trials or points)
    lines = [
        f"sweep {spec.name}: {trials or 'any number of'} trials, method {spec.method.name}, seed {spec.seed}, "
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
