"""What a setting may be in a sweep: one class for each kind, with the same six questions to all of them.

A parameter has two faces: the *value* that goes into a trial's configuration, and what is *stored* in Optuna's study.
They are the same where Optuna can say it. A log grid is stored as an evenly spaced exponent, because Optuna has no
grid in the logarithm and a categorical choice would hide the order from the sampler; text stands for lists and
mappings, which Optuna cannot store.

Numbers stay as they were written: the ends and the distance of steps exactly, sums of them as in decimals (0.05 + 6 x
0.05 is 0.35), and steps of whole numbers give whole numbers, as settings that are counts want them.
"""

from __future__ import annotations

import json
import math
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from decimal import Decimal
from fractions import Fraction
from itertools import pairwise
from typing import Any, overload

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import Trial

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.suggest import join_names

WHOLE = "whole numbers "
"""Beginning of the description of a range of such."""

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

    def excludes(self, other: Parameter) -> bool:
        """Whether no trial can have both: some key decides between them."""
        shared = self.when.keys() & other.when.keys()
        return any(not any(same(one, two) for one in self.when[key] for two in other.when[key]) for key in shared)

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

    def grid(self) -> Sequence[Any] | None:
        """All values in order, computed when they are asked for; None when there are too many to count."""
        return None

    @abstractmethod
    def exact(self) -> list[Any]:
        """Its numbers or choices to the last digit, as plain data: two that agree are the same parameter."""

    def ordered(self) -> list[Any]:
        """First and last value where there is an order; else empty."""
        return self.edges()

    def widen(self, *, up: bool) -> dict[str, Any]:
        """Fields of the sweep file with which the range goes on beyond its last value, or its first.

        Raises:
            ConfigError: It has no order, or no end.
        """
        raise ConfigError(f"{self.key} has no end that could be moved", got=self.describe(), fix="Change it by --set.")

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

    def exact(self) -> list[Any]:
        """Every choice."""
        return list(self.values)

    def ordered(self) -> list[Any]:
        """First and last of rising numbers."""
        numbers = all(isinstance(each, (int, float)) and not isinstance(each, bool) for each in self.values)
        rising = numbers and len(self.values) > 1 and all(a < b for a, b in pairwise(self.values))
        return [self.values[0], self.values[-1]] if rising else []

    def widen(self, *, up: bool) -> dict[str, Any]:
        """One more number, at the same ratio or distance as the last two."""
        if not self.ordered():
            fix = f"Say --add '{self.key}=VALUE'."
            raise ConfigError(f"{self.key} is no list of rising numbers", got=self.describe(), fix=fix)
        last, before = self.values[-1:-3:-1] if up else self.values[:2]
        ratios = len({f"{b / a:.6g}" for a, b in pairwise(self.values)}) == 1 if self.values[0] > 0 else False
        new = last * (last / before) if ratios else float(2 * _decimal(last) - _decimal(before))
        new = int(new) if isinstance(last, int) and new == int(new) else float(f"{new:.12g}")
        return {"values": [*self.values, new] if up else [new, *self.values]}

    def describe(self) -> str:
        """The choices."""
        return "one of " + join_names((str(label(value)) for value in self.values), limit=8)


class Steps(Sequence[Any]):
    """``start + first * step``, ``start + (first + 1) * step`` ... as decimals, whole numbers where all of them are.

    Args:
        start: Where counting begins.
        step: Distance, above 0.
        minimum: No member is below.
        maximum: No member is above.

    Raises:
        ConfigError: There is no member.
    """

    def __init__(self, start: float, step: float, minimum: float, maximum: float) -> None:
        self._start, self._step = _decimal(start), _decimal(step)
        low, high = (Fraction(_decimal(end)) - Fraction(self._start) for end in (minimum, maximum))
        self._first, self._last = math.ceil(low / Fraction(self._step)), math.floor(high / Fraction(self._step))
        self.whole = all(each == each.to_integral_value() for each in (self._start, self._step))
        if self._last < self._first:
            raise ConfigError(f"has no multiple between {minimum:g} and {maximum:g}", got=step)

    def __len__(self) -> int:
        return self._last - self._first + 1

    @overload
    def __getitem__(self, index: int) -> Any: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[Any]: ...
    def __getitem__(self, index: int | slice) -> Any:
        places = range(self._first, self._last + 1)[index]
        return self._at(places) if isinstance(places, int) else [self._at(place) for place in places]

    def nearest(self, value: float) -> Any:
        """The member that is closest."""
        place = round((value - float(self._start)) / float(self._step))
        return self._at(min(max(place, self._first), self._last))

    def _at(self, place: int) -> int | float:
        value = self._start + place * self._step
        return int(value) if self.whole else float(value)


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

    Raises:
        ConfigError: There is no multiple between the ends.
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
        step = quantum if quantum is not None else 1 if whole else None
        self._steps = None if step is None else Steps(0 if log else minimum, step, minimum, maximum)
        if quantum is not None and not log and self._steps is not None:
            self.maximum = self._steps[-1]

    def distribution(self) -> BaseDistribution:
        """A range of Optuna's; a quantum in the logarithm is applied by ``decode``."""
        if self.whole:
            step = int(self.quantum) if self.quantum is not None and not self.log else 1
            return IntDistribution(int(self.minimum), int(self.maximum), log=self.log, step=step)
        step_size = None if self.log else self.quantum
        return FloatDistribution(float(self.minimum), float(self.maximum), log=self.log, step=step_size)

    def decode(self, stored: Any) -> Any:
        """The number, on its multiple."""
        return float(stored) if self._steps is None else self._steps.nearest(stored)

    def encode(self, value: Any) -> Any:
        """The number, which must be on a multiple."""
        super().encode(value)
        near = self.decode(value)
        # Values of before numbers were kept exactly were rounded to six digits.
        if self._steps is not None and abs(near - value) > 1e-5 * max(abs(value), float(self.quantum or 1)):
            raise self._outside(value, f"{self.describe()}; the nearest is {near}")
        return near

    def edges(self) -> list[Any]:
        """Both ends."""
        return [float(self.minimum), float(self.maximum)] if self._steps is None else [self._steps[0], self._steps[-1]]

    def grid(self) -> Sequence[Any] | None:
        """The multiples, or the whole numbers, when they are spaced evenly."""
        return None if self.log else self._steps

    def widen(self, *, up: bool) -> dict[str, Any]:
        """Two octaves of a logarithm, else half of the width; in whole steps."""
        end, sign = _decimal(self.maximum if up else self.minimum), 1 if up else -1
        if self.log:
            new = end * 4 if up else end / 4
        else:
            step = _decimal(self.quantum or (1 if self.whole else 0))
            width = (_decimal(self.maximum) - _decimal(self.minimum)) / 2
            new = end + sign * (max(1, round(width / step)) * step if step else width)
        return {"max" if up else "min": math.ceil(new) if self.whole else float(new)}

    def exact(self) -> list[Any]:
        """Ends and distance."""
        return [self.minimum, self.maximum, self.quantum]

    def describe(self) -> str:
        """Ends, spacing, kind."""
        whole = self.whole or (self._steps is not None and self._steps.whole)
        steps = "" if self.quantum is None else f" in steps of {self.quantum:g}"
        kind = WHOLE if whole else ""
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
        points = [float(minimum) * 2 ** (index / per_octave) for index in range(count)]
        near_end = points[-1] > maximum or math.isclose(points[-1], maximum, rel_tol=1e-6)
        self._points = [*points[:-1], float(maximum) if near_end else points[-1]]

    @property
    def stored_name(self) -> str:
        """The exponent is what is stored."""
        return f"log2 {self.key}"

    def _exponent(self, index: int = 0) -> float:
        # Few digits, whose sums are exact in decimals: Optuna drops a last point that is off by a rounding.
        return float(_decimal(round(math.log2(self._points[0]), _DIGITS)) + index * _decimal(self._step))

    @property
    def _step(self) -> float:
        return round(1 / self.per_octave, _DIGITS)

    def distribution(self) -> BaseDistribution:
        """Evenly spaced exponents of two."""
        return FloatDistribution(self._exponent(), self._exponent(len(self._points) - 1), step=self._step)

    def decode(self, stored: Any) -> Any:
        """The nearest point."""
        return self._points[self._nearest(stored)]

    def _nearest(self, exponent: float) -> int:
        return min(max(round((exponent - self._exponent()) / self._step), 0), len(self._points) - 1)

    def encode(self, value: Any) -> Any:
        """The exponent of the nearest point, which lies within a thousandth."""
        if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf:
            index = self._nearest(math.log2(value))
            if math.isclose(value, self._points[index], rel_tol=1e-3):
                return self._exponent(index)
        raise self._outside(value, join_names(f"{point:g}" for point in self._points))

    def edges(self) -> list[Any]:
        """Both ends."""
        return [self._points[0], self._points[-1]]

    def grid(self) -> list[Any]:
        """Every point."""
        return list(self._points)

    def widen(self, *, up: bool) -> dict[str, Any]:
        """Two octaves."""
        return {"max": self._points[-1] * 4} if up else {"min": self._points[0] / 4}

    def exact(self) -> list[Any]:
        """Ends and density."""
        return [*self.edges(), self.per_octave]

    def describe(self) -> str:
        """Ends and number of points."""
        return (
            f"{len(self._points)} points from {self._points[0]:g} to {self._points[-1]:g}, {self.per_octave} an octave"
        )


_DIGITS = 10


def _decimal(number: int | float) -> Decimal:
    """As it is written, not as it is stored in binary."""
    return Decimal(repr(float(number)) if isinstance(number, float) else int(number))
