"""``sweep ladder``: small models of several sizes and lengths, laws fitted to them, and settings for a larger one.

All lengths of one size and learning rate are branches of the longest run: a trunk at the full rate, which each leaves
for its own cooldown. They share its steps through the store of prefixes, bit for bit, so L equally spaced lengths with
a cooldown c cost about 1 + c (L - 1) / 2 of the longest instead of (L + 1) / 2.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.training.profiling.reuse_commands import Savings, estimate_savings
from gpt_lightning.training.reuse.fingerprint import trace
from gpt_lightning.training.runs.run_folder import RUNS, make_folder
from gpt_lightning.tuning.scaling.fixed_trials import EVERY, FixedTrials, Outcome
from gpt_lightning.tuning.scaling.ladder_file import Ladder, LadderSpec, Rung, Suggestion, read_ladder
from gpt_lightning.tuning.scaling.ladder_report import write_report
from gpt_lightning.tuning.scaling.power_laws import LossLaw, RateLaw, fit_loss_law, fit_rate_law, parabola_minimum


def ladder_command(file: str, dry_run: bool = False) -> None:
    """Train small models of several sizes and lengths, fit laws to them, and suggest settings for a larger one.

    Example: gpt-lightning sweep ladder sweeps/ladders/ladder_tiny.yaml

    Started again, it goes on where it was; everything lies in runs/NAME: report.html, report.md, ladder.json and
    suggested.yaml.

    Args:
        file: The ladder: base, sizes, horizons, learning_rates, cooldown, target.
        dry_run: Check everything and say what it would cost, without training.
    """
    spec = read_ladder(Path(file))
    folder = RUNS / spec.name
    trials = FixedTrials(folder, spec.base, spec.metric, spec.budget_bytes)
    sys.stdout.write(describe_plan(spec, trials))
    sys.stdout.flush()
    if dry_run:
        return
    make_folder(folder)
    ladder = climb(spec, trials, say=_say)
    suggestion = None if spec.target is None else suggest(ladder, trials)
    write_text_durably(folder / "ladder.json", json.dumps(_as_plain(ladder, suggestion), indent=1) + "\n")
    if suggestion is not None:
        _write_suggestion(folder / "suggested.yaml", spec, suggestion)
    sys.stdout.write(write_report(folder, ladder, suggestion))


def describe_plan(spec: LadderSpec, trials: FixedTrials) -> str:
    """What will be trained, and what sharing leaves of it."""
    lines, trajectories, tokens = [], [], 0
    for size in spec.sizes:
        for rate in spec.rates:
            for steps in reversed(spec.horizons):
                run = trials.build(spec.settings(size, rate, steps))
                trajectories.append(trace(run))
                tokens += run.plan.horizon.tokens_before(steps)
        lines.append(f"  {size:<12} {run.module.config.num_parameters:>14,} parameters")
    savings = estimate_savings(trajectories, EVERY, at=spec.branches())
    lengths, rates = ", ".join(map(str, spec.horizons)), ", ".join(f"{rate:g}" for rate in spec.rates)
    lines += [f"  lengths      {lengths} steps", f"  peak rates   {rates}"]
    share = f"{savings.executed_steps:,} of {savings.total_steps:,} steps ({savings.executed_share:.0%})"
    lines.append(f"  {len(trajectories)} runs of {tokens:,} tokens; what they share is done once: {share}")
    return f"Ladder {spec.name}\n" + "\n".join(lines) + "\n"


def climb(spec: LadderSpec, trials: FixedTrials, say: Callable[[str], None]) -> Ladder:
    """Train everything, the longest run of each rate first, and fit.

    Args:
        spec: The ladder.
        trials: Where it is trained.
        say: Told of every run that has ended.
    """
    outcomes: dict[tuple[str, int], dict[float, Outcome]] = {}
    count, total = 0, len(spec.sizes) * len(spec.rates) * len(spec.horizons)
    for size in spec.sizes:
        for rate in spec.rates:
            for steps in reversed(spec.horizons):
                settings = spec.settings(size, rate, steps)
                outcome = trials.train(f"{size}-{rate:g}-{steps}", settings, spec.branches())
                outcomes.setdefault((size, steps), {})[rate] = outcome
                count += 1
                say(
                    f"{count}/{total} {size}, rate {rate:g}, {steps} steps: {spec.metric} {outcome.value:.4f}, "
                    f"{outcome.reused_steps} steps shared"
                )
    rungs = [_find_rung(size, found) for (size, _), found in sorted(outcomes.items(), key=_by_size)]
    every = [outcome for found in outcomes.values() for outcome in found.values()]
    savings = Savings(sum(each.steps - each.reused_steps for each in every), sum(each.steps for each in every))
    sound = [rung for rung in rungs if math.isfinite(rung.loss)]
    inside = [rung for rung in sound if rung.inside]
    loss_law = fit_loss_law(*_columns(sound, lambda rung: rung.loss))
    # From one size alone nothing follows for another.
    enough = len({rung.size for rung in inside}) > 1 or len(spec.sizes) == 1
    rate_law = fit_rate_law(*_columns(inside, lambda rung: rung.best_rate)) if enough else None
    return Ladder(spec, rungs, savings, loss_law, rate_law)


def _by_size(item: tuple[tuple[str, int], dict[float, Outcome]]) -> tuple[int, int]:
    (_, steps), found = item
    return next(iter(found.values())).parameters, steps


def _find_rung(size: str, found: Mapping[float, Outcome]) -> Rung:
    losses = {rate: outcome.value for rate, outcome in sorted(found.items())}
    best, inside = parabola_minimum(list(losses), list(losses.values()))
    any_outcome = next(iter(found.values()))
    return Rung(
        size,
        any_outcome.parameters,
        any_outcome.tokens,
        any_outcome.steps,
        losses,
        best,
        inside,
        min(losses.values()),
    )


def _columns(rungs: list[Rung], value: Callable[[Rung], float]) -> tuple[list[float], list[float], list[float]]:
    return [float(r.parameters) for r in rungs], [float(r.tokens) for r in rungs], [value(r) for r in rungs]


def suggest(ladder: Ladder, trials: FixedTrials) -> Suggestion:
    """Settings for the target of a ladder: its learning rate by the law, or that of the largest size without one."""
    spec, target = ladder.spec, ladder.spec.target
    assert target is not None
    fallback = ladder.rungs[-1].best_rate
    run = trials.build({**target.settings, **spec.schedule(fallback, target.steps)})
    parameters, tokens = run.module.config.num_parameters, run.plan.horizon.tokens_before(target.steps)
    rate = None if ladder.rate_law is None else ladder.rate_law.predict(parameters, tokens)
    loss = None if ladder.loss_law is None else ladder.loss_law.predict(parameters, tokens)
    chosen = float(f"{fallback if rate is None else rate.value:.3g}")
    settings = {**target.settings, **spec.schedule(chosen, target.steps)}
    config = trials.build(settings).config
    return Suggestion(
        config,
        parameters,
        tokens,
        chosen,
        None if rate is None else (rate.low, rate.high),
        None if loss is None else (loss.value, loss.low, loss.high),
    )


def _write_suggestion(path: Path, spec: LadderSpec, suggestion: Suggestion) -> None:
    promise = "" if suggestion.loss is None else "{:.3f} (90 % of resamples: {:.3f} to {:.3f})".format(*suggestion.loss)
    head = [
        f"# Suggested by the ladder {spec.name}: {suggestion.parameters:,} parameters, {suggestion.tokens:,} tokens.",
        f"# Command:   gpt-lightning fit --config {path}",
        f"# Predicted: {spec.metric} {promise}" if promise else "# Too few rungs to predict its loss.",
    ]
    write_text_durably(path, "\n".join(head) + "\n" + dump_yaml(suggestion.config))


def _as_plain(ladder: Ladder, suggestion: Suggestion | None) -> dict[str, Any]:
    def constants(law: LossLaw | RateLaw | None) -> Any:
        return None if law is None else {name: asdict(interval) for name, interval in law.constants().items()}

    return {
        "rungs": [
            {**asdict(rung), "losses": [[rate, _finite(loss)] for rate, loss in rung.losses.items()]}
            | {"loss": _finite(rung.loss)}
            for rung in ladder.rungs
        ],
        "executed_steps": ladder.savings.executed_steps,
        "total_steps": ladder.savings.total_steps,
        "loss_law": constants(ladder.loss_law),
        "rate_law": constants(ladder.rate_law),
        "suggestion": None
        if suggestion is None
        else {name: value for name, value in asdict(suggestion).items() if name != "config"},
    }


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
