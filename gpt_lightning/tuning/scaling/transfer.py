"""``sweep transfer``: settings found on a small model, applied to a larger one, and what that costs, measured.

    1 tune       the proxy at every point of the grid
    2 apply      the best point to the target
    3 search     the target around that point, step by step of the grid, until no neighbour is better
    4 regret     loss of 2 - loss of 3: what tuning the target itself would have gained

Each variant (a parametrization, another optimizer) goes this way on its own; the lowest loss of all is beside them,
since a variant whose optimum stays in its place may still be worse.
"""

from __future__ import annotations

import itertools
import json
import math
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.errors import TrainingError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.training.runs.run_folder import RUNS, make_folder
from gpt_lightning.tuning.scaling.fixed_trials import FixedTrials, Outcome
from gpt_lightning.tuning.scaling.ladder_file import open_section
from gpt_lightning.tuning.spec.reading_parameters import read_parameters

Place = tuple[int, ...]
"""A point of the grid: an index on each axis."""


@dataclass(frozen=True)
class TransferSpec:
    """What is transferred.

    Attributes:
        name: Of its folder below ``runs``.
        base: Configuration files of ``fit``.
        proxy: Settings of the small model over the base.
        target: Settings of the large model over the base.
        variants: Name -> settings over both.
        grid: Key -> its values in order.
        metric: What counts, smaller is better.
        budget_bytes: Of the store of prefixes.
    """

    name: str
    base: tuple[Path, ...]
    proxy: Mapping[str, Any]
    target: Mapping[str, Any]
    variants: Mapping[str, Mapping[str, Any]]
    grid: Mapping[str, list[Any]]
    metric: str
    budget_bytes: int

    def point(self, place: Place) -> dict[str, Any]:
        """Settings at a point of the grid."""
        return {key: values[index] for (key, values), index in zip(self.grid.items(), place, strict=True)}

    def places(self) -> list[Place]:
        """All points."""
        return list(itertools.product(*(range(len(values)) for values in self.grid.values())))

    def neighbours(self, place: Place) -> list[Place]:
        """One step of the grid along one axis."""
        moved = [
            (*place[:axis], place[axis] + move, *place[axis + 1 :]) for axis in range(len(place)) for move in (-1, 1)
        ]
        sizes = [len(values) for values in self.grid.values()]
        return [each for each in moved if all(0 <= at < size for at, size in zip(each, sizes, strict=True))]


@dataclass(frozen=True)
class Decision:
    """What transferring cost one variant.

    Attributes:
        variant: Its name.
        transferred: The best point of the proxy.
        proxy_loss: Of the proxy there.
        target_loss: Of the target there.
        tuned: The best point of the target that was found.
        tuned_loss: Of the target there.
        trials: Runs of the target.
        at_edge: Keys whose best value at the target is the last of its grid: it may lie beyond.
    """

    variant: str
    transferred: Mapping[str, Any]
    proxy_loss: float
    target_loss: float
    tuned: Mapping[str, Any]
    tuned_loss: float
    trials: int
    at_edge: list[str]

    @property
    def regret(self) -> float:
        """What tuning the target would have gained."""
        return self.target_loss - self.tuned_loss


def read_transfer(path: Path) -> TransferSpec:
    """Read and check a transfer file.

    Raises:
        ConfigError: A key or value is wrong, with file and line.
    """
    top = open_section(path)
    section = top.section
    parameters = read_parameters(section.section("parameters"), foreign=False)
    grid: dict[str, list[Any]] = {}
    for key, parameter in parameters.items():
        values = parameter.grid()
        if values is None or parameter.when:
            section.refuse(
                "parameters",
                f"has {key}, which is no grid of its own",
                got=parameter.describe(),
                allowed="values, log_grid, or a quantised range, without when",
            )
        grid[key] = list(values)
    proxy, target = (dict(section.section(name).content) for name in ("proxy", "target"))
    if proxy == target:
        section.refuse("target", "is the proxy itself", got=target, allowed="settings of a larger model")
    variants = {str(name): dict(value or {}) for name, value in section.section("variants").content.items()}
    spec = TransferSpec(
        name=section.text("name", path.stem),
        base=top.read_base(),
        proxy=proxy,
        target=target,
        variants=variants or {"base": {}},
        grid=grid,
        metric=section.text("metric", "val/loss"),
        budget_bytes=section.bytes("budget", 20 * 10**9),
    )
    section.finish()
    return spec


def transfer_command(file: str, dry_run: bool = False) -> None:
    """Tune a small model, apply what was found to a larger one, and measure what that costs against tuning it.

    Example: gpt-lightning sweep transfer sweeps/ladders/transfer_mup.yaml

    Started again, it goes on where it was; everything lies in runs/NAME, the result in transfer.json.

    Args:
        file: The transfer: base, proxy, target, variants, parameters.
        dry_run: Check everything and say what it would cost, without training.
    """
    spec = read_transfer(Path(file))
    folder = RUNS / spec.name
    trials = FixedTrials(folder, spec.base, spec.metric, spec.budget_bytes)
    sys.stdout.write(describe_plan(spec, trials))
    sys.stdout.flush()
    if dry_run:
        return
    make_folder(folder)
    verdicts = [transfer(spec, name, trials, _say) for name in spec.variants]
    plain = [{**asdict(verdict), "regret": verdict.regret} for verdict in verdicts]
    write_text_durably(folder / "transfer.json", json.dumps(plain, indent=1) + "\n")
    sys.stdout.write(describe_verdicts(spec, verdicts) + f"Result: {folder / 'transfer.json'}\n")


def describe_plan(spec: TransferSpec, trials: FixedTrials) -> str:
    """Sizes and numbers of runs."""
    sizes = {}
    for name, settings in (("proxy", spec.proxy), ("target", spec.target)):
        for variant in spec.variants.values():
            run = trials.build({**settings, **variant, **spec.point(spec.places()[0])})
            sizes[name] = run.module.config.num_parameters, run.plan.horizon.total_steps
    points, variants = len(spec.places()), len(spec.variants)
    lines = [f"Transfer {spec.name}"]
    lines += [f"  {name:<8} {count:>14,} parameters, {steps:,} steps" for name, (count, steps) in sizes.items()]
    lines += [f"  {key}: {', '.join(map(str, values))}" for key, values in spec.grid.items()]
    lines.append(
        f"  {variants} x {points} runs of the proxy, and for each variant at least {2 * len(spec.grid) + 1} of the "
        "target, or as many as the grid has there"
    )
    return "\n".join(lines) + "\n"


def transfer(spec: TransferSpec, variant: str, trials: FixedTrials, say: Callable[[str], None]) -> Decision:
    """Tune, apply, search.

    Raises:
        TrainingError: No point of the proxy could be trained to its end.
    """
    proxy = _Explorer(spec, variant, "proxy", trials, say)
    target = _Explorer(spec, variant, "target", trials, say)
    for place in spec.places():
        proxy.measure(place)
    start = proxy.best()
    if not math.isfinite(proxy.measure(start)):
        raise TrainingError(f"No run of the proxy of {variant} came to its end", fix="Lower the values of the grid.")
    here = start
    while True:
        around = {place: target.measure(place) for place in [here, *spec.neighbours(here)]}
        best = min(around, key=lambda place: (around[place], place != here))
        if best == here:
            break
        here = best
    sizes = {key: len(values) for key, values in spec.grid.items()}
    edges = [key for (key, size), at in zip(sizes.items(), here, strict=True) if size > 1 and at in (0, size - 1)]
    return Decision(
        variant,
        spec.point(start),
        proxy.measure(start),
        target.measure(start),
        spec.point(here),
        target.measure(here),
        len(target.losses),
        edges,
    )


class _Explorer:
    """Losses of one model of one variant, each point once."""

    def __init__(
        self, spec: TransferSpec, variant: str, model: str, trials: FixedTrials, say: Callable[[str], None]
    ) -> None:
        self._spec, self._trials, self._say = spec, trials, say
        self._name = f"{variant}-{model}"
        self._settings = {**getattr(spec, model), **spec.variants[variant]}
        self.losses: dict[Place, float] = {}

    def measure(self, place: Place) -> float:
        """Loss at a point, infinite where training had to stop."""
        if place not in self.losses:
            point = self._spec.point(place)
            name = "-".join([self._name, *map(str, place)])
            outcome: Outcome = self._trials.train(name, {**self._settings, **point})
            self.losses[place] = outcome.value
            self._say(f"{self._name} {_spell(point)}: {self._spec.metric} {outcome.value:.4f}")
        return self.losses[place]

    def best(self) -> Place:
        """The lowest so far."""
        return min(self.losses, key=self.losses.__getitem__)


def describe_verdicts(spec: TransferSpec, verdicts: list[Decision]) -> str:
    """The table at the end."""
    lines = [""]
    lowest = min(verdict.tuned_loss for verdict in verdicts)
    for verdict in verdicts:
        share = verdict.regret / verdict.tuned_loss
        edge = f" (edge of the grid: {', '.join(verdict.at_edge)})" if verdict.at_edge else ""
        best = "; the lowest of all" if verdict.tuned_loss == lowest and len(verdicts) > 1 else ""
        lines += [
            f"{verdict.variant}",
            f"  proxy's best      {_spell(verdict.transferred)}: {spec.metric} {verdict.proxy_loss:.4f}",
            f"  at the target     {verdict.target_loss:.4f}",
            f"  target's best     {_spell(verdict.tuned)}: {verdict.tuned_loss:.4f}{best}{edge}",
            f"  regret            {verdict.regret:.4f} ({share:.2%}), from {verdict.trials} runs of the target",
        ]
    return "\n".join(lines) + "\n"


def _spell(point: Mapping[str, Any]) -> str:
    return ", ".join(f"{key} {value}" for key, value in point.items())


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
    sys.stderr.flush()
