"""What a setting may be in a sweep: one class for each kind, with the same six questions to all of them.

A parameter has two faces: the *value* that goes into a trial's configuration, and what is *stored* in Optuna's study.
They are the same where Optuna can say it. A log grid is stored as an evenly spaced exponent, because Optuna has no
grid in the logarithm and a categorical choice would hide the order from the sampler; text stands for lists and
mappings, which Optuna cannot store.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from statistics import NormalDist
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.suggest import join_names

Conditions = Mapping[str, tuple[Any, ...]]
"""Other key -> values at which a parameter exists at all."""


def label(value: Any) -> Any:
    """How a value is stored and compared: itself, or JSON text for lists and mappings."""
    return json.dumps(value, sort_keys=True) if isinstance(value, (list, tuple, Mapping)) else value


def same(one: Any, other: Any) -> bool:
    """Equality that keeps 1 and True, and a class and its short name, apart or together as a reader would."""
    if isinstance(one, bool) is not isinstance(other, bool):
        return False
    names = [str(each.get("class_path", "")) if isinstance(each, Mapping) else each for each in (one, other)]
    if any(isinstance(each, Mapping) for each in (one, other)) and all(isinstance(name, str) for name in names):
        return bool(names[0].rpartition(".")[2] == names[1].rpartition(".")[2])
    return bool(label(one) == label(other))


class Parameter(ABC):
    """A key that varies.

    Args:
        key: Dotted setting of ``fit``; a name that starts with ``~`` is a helper for ``derive`` only.
        when: The parameter exists only where each of these keys has one of these values.
    """

    def __init__(self, key: str, when: Conditions | None = None) -> None:
        self.key, self.when = key, dict(when or {})

    @property
    def stored_name(self) -> str:
        """Name in the study."""
        return self.key

    @abstractmethod
    def distribution(self) -> BaseDistribution:
        """What Optuna samples from."""

    @abstractmethod
    def edges(self) -> list[Any]:
        """Values that show whether the key takes all of them: every choice, or both ends of a range."""

    @abstractmethod
    def describe(self) -> str:
        """One line without the key."""

    def suggest(self, trial: Trial) -> Any:
        """What Optuna chooses, as it is stored."""
        kind = self.distribution()
        if isinstance(kind, CategoricalDistribution):
            return trial.suggest_categorical(self.stored_name, kind.choices)
        if isinstance(kind, IntDistribution):
            return trial.suggest_int(self.stored_name, kind.low, kind.high, step=kind.step, log=kind.log)
        assert isinstance(kind, FloatDistribution)
        return trial.suggest_float(self.stored_name, kind.low, kind.high, step=kind.step, log=kind.log)

    def decode(self, stored: Any) -> Any:
        """The value of what was stored."""
        return stored

    def encode(self, value: Any) -> Any:
        """What to store for a value.

        Raises:
            ConfigError: The value is not one of this parameter's.
        """
        number = float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else math.nan
        low, high = (float(edge) for edge in self.edges())
        if not low <= number <= high:
            raise self._outside(value, f"{low:g} to {high:g}")
        return value

    def grid(self) -> list[Any] | None:
        """All values in order; None when there are too many to count."""
        return None

    def _outside(self, value: Any, allowed: str) -> ConfigError:
        return ConfigError(f"{self.key} has no such value in this sweep", got=value, allowed=allowed)


class Values(Parameter):
    """One of a list of any values: numbers, text, class names, lists, mappings with ``class_path``."""

    def __init__(self, key: str, values: Sequence[Any], when: Conditions | None = None) -> None:
        super().__init__(key, when)
        self.values = list(values)

    def distribution(self) -> BaseDistribution:
        """Unordered choices."""
        return CategoricalDistribution([label(value) for value in self.values])

    def decode(self, stored: Any) -> Any:
        """The choice with that label."""
        return next(value for value in self.values if same(label(value), stored))

    def encode(self, value: Any) -> Any:
        """The label of an equal choice."""
        # An equal one first: two choices may name one class with other arguments.
        for choice in [*(each for each in self.values if label(each) == label(value)), *self.values]:
            if same(choice, value):
                return label(choice)
        raise self._outside(value, join_names(str(each) for each in self.values))

    def edges(self) -> list[Any]:
        """Every choice."""
        return list(self.values)

    def grid(self) -> list[Any]:
        """Every choice."""
        return list(self.values)

    def describe(self) -> str:
        """The choices."""
        return "one of " + join_names((str(label(value)) for value in self.values), limit=8)


class Range(Parameter):
    """Numbers between two ends, both included.

    Args:
        key: See Parameter.
        minimum: Lower end.
        maximum: Upper end.
        log: Whether equal ratios are equally likely (else equal differences).
        whole: Whether only whole numbers count.
        quantum: Values are multiples of it above ``minimum`` (``log``: multiples of it); None = any.
        when: See Parameter.
    """

    def __init__(
        self,
        key: str,
        *,
        minimum: int | float,
        maximum: int | float,
        log: bool = False,
        whole: bool = False,
        quantum: int | float | None = None,
        when: Conditions | None = None,
    ) -> None:
        super().__init__(key, when)
        self.log, self.whole, self.quantum = log, whole, quantum
        self.minimum, self.maximum = minimum, maximum
        if quantum is not None and not log:
            steps = math.floor((maximum - minimum) / quantum + 1e-9)
            self.maximum = _tidy(minimum + steps * quantum)

    def distribution(self) -> BaseDistribution:
        """A range of Optuna's; a quantum in the logarithm is applied by ``decode``."""
        if self.whole:
            step = int(self.quantum) if self.quantum is not None and not self.log else 1
            return IntDistribution(int(self.minimum), int(self.maximum), log=self.log, step=step)
        step_size = None if self.log else self.quantum
        return FloatDistribution(float(self.minimum), float(self.maximum), log=self.log, step=step_size)

    def decode(self, stored: Any) -> Any:
        """The number, on its multiple."""
        if self.whole and not (self.log and self.quantum):
            return int(stored)
        if self.quantum is None:
            return float(stored)
        start = 0.0 if self.log else self.minimum
        value = _tidy(start + round((stored - start) / self.quantum) * self.quantum)
        value = min(max(value, self.minimum), self.maximum)
        return int(value) if self.whole else value

    def edges(self) -> list[Any]:
        """Both ends."""
        kind = int if self.whole else float
        return [kind(self.minimum), kind(self.maximum)]

    def grid(self) -> list[Any] | None:
        """The multiples, or the whole numbers, when they are spaced evenly."""
        if self.log or (self.quantum is None and not self.whole):
            return None
        step = self.quantum or 1
        count = round((self.maximum - self.minimum) / step) + 1
        return [self.decode(self.minimum + index * step) for index in range(count)]

    def describe(self) -> str:
        """Ends, spacing, kind."""
        kind = "whole numbers " if self.whole else ""
        steps = "" if self.quantum is None else f" in steps of {self.quantum:g}"
        return f"{kind}{self.minimum:g} to {self.maximum:g}{steps}{' (logarithmic)' if self.log else ''}"


class LogGrid(Parameter):
    """``per_octave`` points in each doubling, from ``minimum`` up; the last one is at most ``maximum``."""

    def __init__(
        self,
        key: str,
        *,
        minimum: int | float,
        maximum: int | float,
        per_octave: int = 1,
        when: Conditions | None = None,
    ) -> None:
        super().__init__(key, when)
        self.per_octave = per_octave
        count = math.floor(math.log2(maximum / minimum) * per_octave + 1e-6) + 1
        self._points = [_tidy(minimum * 2 ** (index / per_octave)) for index in range(count)]

    @property
    def stored_name(self) -> str:
        """The exponent is what is stored."""
        return f"log2 {self.key}"

    def _exponents(self) -> tuple[float, float, float]:
        low, step = math.log2(self._points[0]), 1 / self.per_octave
        return low, low + step * (len(self._points) - 1), step

    def distribution(self) -> BaseDistribution:
        """Evenly spaced exponents of two."""
        low, high, step = self._exponents()
        return FloatDistribution(low, high, step=step)

    def decode(self, stored: Any) -> Any:
        """The nearest point."""
        low, _, step = self._exponents()
        return self._points[min(max(round((stored - low) / step), 0), len(self._points) - 1)]

    def encode(self, value: Any) -> Any:
        """The exponent of a point that lies within a thousandth."""
        low, _, step = self._exponents()
        for index, point in enumerate(self._points):
            if isinstance(value, (int, float)) and math.isclose(value, point, rel_tol=1e-3):
                return low + index * step
        raise self._outside(value, join_names(f"{point:g}" for point in self._points))

    def edges(self) -> list[Any]:
        """Both ends."""
        return [self._points[0], self._points[-1]]

    def grid(self) -> list[Any]:
        """Every point."""
        return list(self._points)

    def describe(self) -> str:
        """Ends and number of points."""
        return (
            f"{len(self._points)} points from {self._points[0]:g} to {self._points[-1]:g}, {self.per_octave} an octave"
        )


class Normal(Parameter):
    """Normally distributed, or with ``log`` the exponential of it; stored as a quantile, which is uniform."""

    def __init__(
        self,
        key: str,
        *,
        mean: int | float,
        deviation: int | float,
        log: bool = False,
        quantum: int | float | None = None,
        when: Conditions | None = None,
    ) -> None:
        super().__init__(key, when)
        self._normal, self.log, self.quantum = NormalDist(float(mean), float(deviation)), log, quantum

    @property
    def stored_name(self) -> str:
        """The quantile is what is stored."""
        return f"quantile {self.key}"

    def distribution(self) -> BaseDistribution:
        """Quantiles; the outermost thousandths are left out, because they have no end."""
        return FloatDistribution(0.001, 0.999)

    def decode(self, stored: Any) -> Any:
        """The value at that quantile."""
        value = self._normal.inv_cdf(stored)
        value = math.exp(value) if self.log else value
        return value if self.quantum is None else _tidy(round(value / self.quantum) * self.quantum)

    def encode(self, value: Any) -> Any:
        """The quantile of a value."""
        super().encode(value)
        return min(max(self._normal.cdf(math.log(value) if self.log else value), 0.001), 0.999)

    def edges(self) -> list[Any]:
        """The values at a thousandth from either end."""
        return [self.decode(0.001), self.decode(0.999)]

    def describe(self) -> str:
        """Mean and deviation."""
        kind = "log-normal" if self.log else "normal"
        return f"{kind}, mean {self._normal.mean:g}, deviation {self._normal.stdev:g}"


def _tidy(number: int | float) -> float:
    """Six digits: 0.35 instead of 0.35000000000000003 in a config that a person reads."""
    return float(f"{number:.6g}")
