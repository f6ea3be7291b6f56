"""Distributions that Optuna does not have, stored as a quantile: normal, log-normal, beta."""

from __future__ import annotations

import math
from abc import abstractmethod
from statistics import NormalDist
from typing import Any

from optuna.distributions import BaseDistribution, FloatDistribution

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.extras import import_extra
from gpt_lightning.tuning.spec.parameters import Conditions, Parameter, Steps


class Quantile(Parameter):
    """A distribution that is stored as a quantile, which is uniform.

    Args:
        key: See Parameter.
        quantum: Values are multiples of it; None = any.
        when: See Parameter.
    """

    def __init__(self, key: str, *, quantum: int | float | None = None, when: Conditions | None = None) -> None:
        super().__init__(key, when)
        self.quantum = quantum

    def ordered(self) -> list[Any]:
        """It has no ends."""
        return []

    @abstractmethod
    def value_at(self, quantile: float) -> float:
        """The value below which that share lies."""

    @abstractmethod
    def share_below(self, value: float) -> float:
        """The inverse of ``value_at``."""

    @property
    def stored_name(self) -> str:
        """The quantile is what is stored."""
        return f"quantile {self.key}"

    def distribution(self) -> BaseDistribution:
        """Quantiles; the outermost thousandths are left out, because they have no end."""
        return FloatDistribution(0.001, 0.999)

    def decode(self, stored: Any) -> Any:
        """The value at that quantile, on its multiple."""
        value = self.value_at(stored)
        if self.quantum is None:
            return value
        reach = abs(value) + self.quantum
        return Steps(0, self.quantum, -reach, reach).nearest(value)

    def encode(self, value: Any) -> Any:
        """The quantile of a value."""
        super().encode(value)
        return min(max(self.share_below(float(value)), 0.001), 0.999)

    def edges(self) -> list[Any]:
        """The values at a thousandth from either end."""
        return [self.decode(0.001), self.decode(0.999)]


class Normal(Quantile):
    """Normally distributed, or with ``log`` the exponential of it."""

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
        super().__init__(key, quantum=quantum, when=when)
        self._normal, self.log = NormalDist(float(mean), float(deviation)), log

    def value_at(self, quantile: float) -> float:
        """The value below which that share lies."""
        value = self._normal.inv_cdf(quantile)
        return math.exp(value) if self.log else value

    def share_below(self, value: float) -> float:
        """The share below a value."""
        if self.log and value <= 0:
            return 0.0
        return self._normal.cdf(math.log(value) if self.log else value)

    def exact(self) -> list[Any]:
        """Mean, deviation and distance."""
        return [self._normal.mean, self._normal.stdev, self.quantum]

    def describe(self) -> str:
        """Mean and deviation."""
        kind = "log-normal" if self.log else "normal"
        return f"{kind}, mean {self._normal.mean:g}, deviation {self._normal.stdev:g}"


class Beta(Quantile):
    """Beta distributed between 0 and 1; needs SciPy.

    Args:
        key: See Parameter.
        a: First shape parameter, above 0.
        b: Second one.
        quantum: See Quantile.
        when: See Parameter.
    """

    def __init__(
        self,
        key: str,
        *,
        a: int | float,
        b: int | float,
        quantum: int | float | None = None,
        when: Conditions | None = None,
    ) -> None:
        super().__init__(key, quantum=quantum, when=when)
        self.a, self.b = a, b
        self._special = import_extra("scipy.special", "samplers", "distribution beta needs", ConfigError)

    def value_at(self, quantile: float) -> float:
        """Inverse of the regularized incomplete beta function."""
        return float(self._special.betaincinv(self.a, self.b, quantile))

    def share_below(self, value: float) -> float:
        """Regularized incomplete beta function."""
        return float(self._special.betainc(self.a, self.b, min(max(value, 0.0), 1.0)))

    def exact(self) -> list[Any]:
        """Shape parameters and distance."""
        return [self.a, self.b, self.quantum]

    def describe(self) -> str:
        """Shape parameters."""
        return f"beta, a {self.a:g}, b {self.b:g}"
