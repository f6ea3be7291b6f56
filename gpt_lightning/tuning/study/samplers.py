"""Who chooses values: Optuna's samplers, seeded anew for every trial, and the grid; nobody proposes a point twice.

``method: grid`` is all combinations of values that exist together; points are made when they are asked for, since a
grid may have more of them than will ever be trained.

The seed is a function of the sweep's seed and of how many trials were begun before. So a sweep that is stopped and
started again draws what the uninterrupted one would have drawn, a trial that had to be started twice shifts nothing,
and two workers never draw the same.
"""

from __future__ import annotations

import importlib
import inspect
import math
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from hashlib import sha256
from typing import Any

from optuna import Study
from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, NSGAIISampler, QMCSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, TrialState

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.suggest import join_names
from gpt_lightning.parsing.trust import apply_trust, trusted_packages
from gpt_lightning.tuning.spec.reading_parameters import is_active
from gpt_lightning.tuning.spec.spec import SweepSpec
from gpt_lightning.tuning.study.entries import FIRST, chosen, held_points, list_entries, point_key


class Grid:
    """The points of a sweep in order, the last key changing fastest.

    Args:
        spec: The sweep.

    Raises:
        ConfigError: A parameter is a continuous range.
    """

    def __init__(self, spec: SweepSpec) -> None:
        self._spec = spec
        self._values: dict[str, Sequence[Any]] = {}
        for key, parameter in spec.parameters.items():
            values = parameter.grid()
            if values is None:
                raise ConfigError(
                    f"method grid needs single values, and {key} is a range",
                    got=parameter.describe(),
                    allowed="values, log_grid, q_uniform, int",
                    fix="Or take method: qmc.",
                )
            self._values[key] = values
        self._parents = {name for parameter in spec.parameters.values() for name in parameter.when}

    @classmethod
    def of(cls, spec: SweepSpec) -> Grid | None:
        """That of a sweep; None where a parameter is a continuous range."""
        return None if any(each.grid() is None for each in spec.parameters.values()) else cls(spec)

    def __len__(self) -> int:
        return self._count(list(self._values), {})

    def _count(self, keys: Sequence[str], chosen: Mapping[str, Any]) -> int:
        if not keys:
            return 1
        key, rest = keys[0], keys[1:]
        if not is_active(self._spec.parameters[key], chosen):
            return self._count(rest, chosen)
        if key not in self._parents:
            return len(self._values[key]) * self._count(rest, chosen)
        return sum(self._count(rest, {**chosen, key: value}) for value in self._values[key])

    def points(self, given: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Points that have these values."""
        return self._points(list(self._values), {}, given)

    def _points(
        self, keys: Sequence[str], chosen: dict[str, Any], given: Mapping[str, Any]
    ) -> Iterator[dict[str, Any]]:
        if not keys:
            yield chosen
            return
        key, rest = keys[0], keys[1:]
        if not is_active(self._spec.parameters[key], chosen):
            yield from self._points(rest, chosen, given)
            return
        for value in [given[key]] if key in given else self._values[key]:
            yield from self._points(rest, {**chosen, key: value}, given)

    def first_free(self, held: set[str], given: Mapping[str, Any]) -> dict[str, Any]:
        """The first point that nobody has; the first one at all when all are taken.

        Args:
            held: Keys of points, see ``held_points``.
            given: Values that it must have, as a person has wished.
        """
        free = (point for point in self.points(given) if point_key(point) not in held)
        return next(free, None) or next(self.points(given))

    def count_free(self, held: set[str]) -> int:
        """How many points nobody has."""
        return max(0, len(self) - len(held))


Make = Callable[[int], BaseSampler]


def derive_seed(seed: int, number: int, draw: int = 0) -> int:
    """A seed for the ``number``-th trial, and for each time that its values are drawn: 32 bits of a hash."""
    text = f"{seed}:{number}:{draw}" if draw else f"{seed}:{number}"
    return int.from_bytes(sha256(text.encode()).digest()[:4], "big")


class PerTrial(BaseSampler):
    """A fresh sampler for every trial, whose proposals are drawn until one is a point that nobody has.

    A sampler that has found a good place proposes it again and again; training it once more would tell nothing new.

    Args:
        make: Seed -> sampler.
        spec: The sweep.
        constant: Whether all trials get the sweep's seed: for sequences, which number their points themselves.
    """

    def __init__(self, make: Make, spec: SweepSpec, constant: bool = False) -> None:
        self._make, self._spec, self._constant = make, spec, constant
        self._inner = make(spec.seed)

    def before_trial(self, study: Study, trial: FrozenTrial) -> None:
        """Nothing: samplers are made when values are drawn."""

    def infer_relative_search_space(self, study: Study, trial: FrozenTrial) -> dict[str, BaseDistribution]:
        """Every parameter."""
        return {each.stored_name: each.distribution() for each in self._spec.parameters.values()}

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """All values of a point that nobody has, with those that a person has fixed."""
        first, fixed = trial.user_attrs.get(FIRST, trial.number), _fixed(trial)
        entries = [each for each in list_entries(study.get_trials(deepcopy=False)) if each.first != first]
        held = held_points(self._spec, entries)
        before = sum(each.first < first and each.repeats is None for each in entries)
        for draw in range(_DRAWS):
            if not self._constant:
                self._inner = self._make(derive_seed(self._spec.seed, before, draw))
            proposed = self._draw(self._inner, study, trial, fixed)
            if proposed.items() <= fixed.items() or point_key(chosen(self._spec, proposed)) not in held:
                return proposed
        return self._near(study, trial, proposed, held, before)

    def _draw(self, sampler: BaseSampler, study: Study, trial: FrozenTrial, fixed: Mapping[str, Any]) -> dict[str, Any]:
        """A point as Optuna would draw it: together what the sampler relates, one by one the rest."""
        sampler.before_trial(study, trial)
        space = sampler.infer_relative_search_space(study, trial)
        together = {**sampler.sample_relative(study, trial, space), **fixed}
        values, stored = dict[str, Any](), dict[str, Any]()
        for key, parameter in self._spec.parameters.items():
            if is_active(parameter, values):
                name, kind = parameter.stored_name, parameter.distribution()
                known = name in together
                stored[name] = together[name] if known else sampler.sample_independent(study, trial, name, kind)
                values[key] = parameter.decode(stored[name])
        return stored

    def _near(
        self, study: Study, trial: FrozenTrial, proposed: dict[str, Any], held: set[str], before: int
    ) -> dict[str, Any]:
        """Of random points that nobody has, the one that is most like what was proposed; that itself without any."""
        fixed, spec = _fixed(trial), self._spec
        uniform = RandomSampler(seed=derive_seed(spec.seed, before, _DRAWS))
        found = [self._draw(uniform, study, trial, fixed) for _ in range(_RANDOM_DRAWS)]
        free = [each for each in found if point_key(chosen(spec, each)) not in held]
        if not free and (grid := Grid.of(spec)) is not None:
            point = grid.first_free(held, chosen(spec, fixed))
            free = [{spec.parameters[key].stored_name: spec.parameters[key].encode(point[key]) for key in point}]
        return min(free, key=lambda each: _distance(spec, each, proposed), default=proposed)

    def sample_independent(
        self, study: Study, trial: FrozenTrial, param_name: str, param_distribution: BaseDistribution
    ) -> Any:
        """The sampler's."""
        return self._inner.sample_independent(study, trial, param_name, param_distribution)

    def after_trial(self, study: Study, trial: FrozenTrial, state: TrialState, values: Sequence[float] | None) -> None:
        """The sampler's."""
        self._inner.after_trial(study, trial, state, values)


_DRAWS, _RANDOM_DRAWS = 12, 48


def _fixed(trial: FrozenTrial) -> dict[str, Any]:
    """What is not to be chosen: what a person has given, and all of a trial that is started once more."""
    return {**trial.system_attrs.get("fixed_params", {}), **trial.params}


def _distance(spec: SweepSpec, one: Mapping[str, Any], other: Mapping[str, Any]) -> float:
    """Between two points as they are stored: 1 for every setting that only one has or that is another choice."""
    total = 0.0
    for parameter in spec.parameters.values():
        name, kind = parameter.stored_name, parameter.distribution()
        if name in one and name in other and not isinstance(kind, CategoricalDistribution):
            total += abs(position(kind, one[name]) - position(kind, other[name]))
        else:
            total += one.get(name) != other.get(name)
    return total


def position(kind: BaseDistribution, stored: float) -> float:
    """Where a number lies in its range: 0 = the first, 1 = the last."""
    assert isinstance(kind, (FloatDistribution, IntDistribution))
    low, high, here = (math.log(each) if kind.log else float(each) for each in (kind.low, kind.high, stored))
    return (here - low) / (high - low) if high > low else 0.0


class EveryPoint(RandomSampler):
    """The first combination that nobody has; Optuna's own grid knows no conditions.

    Args:
        spec: The sweep.
        seed: For what lies outside of the grid; unused.
    """

    def __init__(self, spec: SweepSpec, seed: int | None = None) -> None:
        super().__init__(seed)
        self._spec, self._grid = spec, Grid(spec)

    def sample_relative(
        self, study: Study, trial: FrozenTrial, search_space: dict[str, BaseDistribution]
    ) -> dict[str, Any]:
        """A free point, with the values that somebody has fixed."""
        first, known = trial.user_attrs.get(FIRST, trial.number), self._spec.parameters
        entries = [each for each in list_entries(study.get_trials(deepcopy=False)) if each.first != first]
        point = self._grid.first_free(held_points(self._spec, entries), chosen(self._spec, _fixed(trial)))
        return {known[key].stored_name: known[key].encode(value) for key, value in point.items()}


def make_sampler(spec: SweepSpec) -> BaseSampler:
    """The sampler of a sweep.

    Raises:
        ConfigError: Its options are wrong, a package is missing, or it cannot sample this space.
    """
    options = dict(spec.method.options)
    conditional = any(parameter.when for parameter in spec.parameters.values())
    makers: dict[str, Make] = {
        "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, group=conditional),
        "gp": lambda seed: GPSampler(seed=seed),
        "cmaes": lambda seed: CmaEsSampler(seed=seed),
        "qmc": lambda seed: QMCSampler(seed=seed, scramble=True),
        "random": lambda seed: RandomSampler(seed=seed),
        "grid": lambda seed: EveryPoint(spec, seed),
        "nsga2": lambda seed: NSGAIISampler(seed=seed),
    }
    make = makers.get(spec.method.name) or _named(spec.method.name, options)

    def quietly(seed: int) -> BaseSampler:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that TPE's groups are experimental
            return make(seed)

    try:
        return PerTrial(quietly, spec, constant=spec.method.name in ("qmc", "grid"))
    except ImportError as problem:
        raise ConfigError(
            f"method {spec.method.name} needs a package: {str(problem).splitlines()[0].rstrip('.')}",
            fix="pip install 'gpt-lightning[samplers]'",
        ) from problem
    except (TypeError, ValueError) as problem:
        raise ConfigError(f"method.init_args do not fit: {problem}", got=options) from problem


def _named(path: str, options: dict[str, Any]) -> Make:
    apply_trust()
    module, _, name = path.rpartition(".")
    packages = ["optuna", *trusted_packages()]
    if not any(module == each or module.startswith(f"{each}.") for each in packages):
        raise ConfigError(
            "method.class_path lies in a package that is not trusted",
            got=path,
            allowed=join_names(packages),
            fix=f"Set GPT_LIGHTNING_TRUST_MODULES={module.partition('.')[0]} if it is yours.",
        )
    try:
        found = getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as problem:
        raise ConfigError(f"method.class_path cannot be imported: {problem}", got=path) from problem
    if not (inspect.isclass(found) and issubclass(found, BaseSampler)):
        raise ConfigError("method.class_path is no sampler", got=path, allowed="a subclass of optuna's BaseSampler")
    seeded = "seed" in inspect.signature(found).parameters and "seed" not in options
    return lambda seed: found(**options, **({"seed": seed} if seeded else {}))
