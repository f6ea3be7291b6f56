"""Laws of size: fitted to measured losses and learning rates, with intervals from resampling.

    loss    L(N, D) = E + A / N^a + B / D^b           Hoffmann et al. 2022, equation 2: Huber's loss of log L, 1e-3 wide
    rate    lr(N, D) = c N^p D^q                      as in DeepSeek LLM 2024 and Step Law 2025, but fitted, since
                                                      published exponents disagree

N are parameters and D tokens. The loss is fitted in log A, log B, log E, a and b by Levenberg and Marquardt's method on
the reweighted squares of Huber's loss, from 27 starts; all starts, and all resamples, are solved side by side.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
_HUBER = 1e-3
_STEPS = 300


@dataclass(frozen=True)
class Interval:
    """A value and where 90 % of the resamples put it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class LossLaw:
    """A fitted loss law.

    Attributes:
        theta: log A, a, log B, b, log E.
        resamples: The same of every resample, shape (R, 5).
        error: Largest relative error on the points it was fitted to.
    """

    theta: Array
    resamples: Array
    error: float

    def predict(self, parameters: int | float, tokens: int | float) -> Interval:
        """The loss of a model of ``parameters`` after ``tokens``."""
        n, d = np.array([float(parameters)]), np.array([float(tokens)])
        here, there = (np.exp(_log_loss(theta, n, d)) for theta in (self.theta, self.resamples))
        return _interval(float(here[0]), there[:, 0])

    def constants(self) -> dict[str, Interval]:
        """E, A, a, B, b."""
        names = {"E": (4, True), "A": (0, True), "a": (1, False), "B": (2, True), "b": (3, False)}
        found = {}
        for name, (place, is_log) in names.items():
            value, values = self.theta[place], self.resamples[:, place]
            found[name] = _interval(*((float(np.exp(value)), np.exp(values)) if is_log else (float(value), values)))
        return found


@dataclass(frozen=True)
class RateLaw:
    """A fitted law of the best learning rate.

    Attributes:
        theta: log c, p, q; an exponent whose quantity did not vary is 0.
        resamples: The same of every resample, shape (R, 3).
    """

    theta: Array
    resamples: Array

    def predict(self, parameters: int | float, tokens: int | float) -> Interval:
        """The best peak learning rate."""
        row = np.array([1.0, np.log(parameters), np.log(tokens)])
        return _interval(float(np.exp(self.theta @ row)), np.exp(self.resamples @ row))

    def constants(self) -> dict[str, Interval]:
        """c, p, q."""
        first = _interval(float(np.exp(self.theta[0])), np.exp(self.resamples[:, 0]))
        rest = {name: _interval(float(self.theta[k]), self.resamples[:, k]) for k, name in ((1, "p"), (2, "q"))}
        return {"c": first, **rest}


def fit_loss_law(
    parameters: Sequence[float], tokens: Sequence[float], losses: Sequence[float], resamples: int = 200, seed: int = 1
) -> LossLaw | None:
    """Fit the loss law.

    Args:
        parameters: N of each point.
        tokens: D of each point.
        losses: Finite and above 0.
        resamples: For the intervals.
        seed: Of the resampling.

    Returns:
        None for points that do not determine five constants: fewer than three sizes, three lengths or six points.
    """
    n, d, loss = (np.asarray(values, dtype=np.float64) for values in (parameters, tokens, losses))
    if len(loss) < 6 or min(len(set(n)), len(set(d))) < 3:
        return None
    starts = _starts(n, d, loss)
    weights = np.ones((len(starts), len(loss)))
    fitted, costs = _solve(starts, n, d, np.log(loss), weights)
    theta = fitted[int(np.argmin(costs))]
    counts = np.random.default_rng(seed).multinomial(len(loss), np.full(len(loss), 1 / len(loss)), size=resamples)
    again, _ = _solve(np.repeat(theta[None], resamples, 0), n, d, np.log(loss), counts.astype(np.float64))
    error = float(np.max(np.abs(np.exp(_log_loss(theta, n, d)) / loss - 1)))
    return LossLaw(theta, again, error)


def fit_rate_law(
    parameters: Sequence[float], tokens: Sequence[float], rates: Sequence[float], resamples: int = 200, seed: int = 1
) -> RateLaw | None:
    """Least squares of log lr; None for fewer points than constants and one.

    Args:
        parameters: N of each point.
        tokens: D of each point.
        rates: Best peak learning rate of each, above 0.
        resamples: For the intervals.
        seed: Of the resampling.
    """
    n, d, rate = (np.asarray(values, dtype=np.float64) for values in (parameters, tokens, rates))
    varying = [True, len(set(n)) > 1, len(set(d)) > 1]
    if len(rate) < sum(varying) + 1:
        return None
    design = np.stack([np.ones_like(n), np.log(n), np.log(d)], 1)[:, varying]
    draws = np.random.default_rng(seed).integers(len(rate), size=(resamples, len(rate)))
    rows = [np.arange(len(rate)), *draws]
    found = np.zeros((len(rows), 3))
    # The shortest solution where a resample lacks what it takes to tell two constants apart.
    found[:, varying] = [np.linalg.lstsq(design[row], np.log(rate[row]), rcond=None)[0] for row in rows]
    return RateLaw(found[0], found[1:])


def parabola_minimum(rates: Sequence[float], losses: Sequence[float]) -> tuple[float, bool]:
    """The learning rate of the lowest loss, between the points of a grid, and whether it lies inside the grid.

    A parabola in log lr through the lowest point and its neighbours; at the edge of the grid that edge itself.

    Args:
        rates: At least one, in any order.
        losses: As many; what is not finite counts as worst.
    """
    order = np.argsort(rates)
    x, y = np.log(np.asarray(rates, dtype=np.float64)[order]), np.asarray(losses, dtype=np.float64)[order]
    y = np.where(np.isfinite(y), y, np.inf)
    best = int(np.argmin(y))
    if not 0 < best < len(x) - 1:
        return float(np.exp(x[best])), False
    near = slice(best - 1, best + 2)
    if not np.all(np.isfinite(y[near])):
        return float(np.exp(x[best])), True
    curve = np.polyfit(x[near] - x[best], y[near], 2)
    shift = -curve[1] / (2 * curve[0]) if curve[0] > 0 else 0.0
    return float(np.exp(x[best] + np.clip(shift, x[best - 1] - x[best], x[best + 1] - x[best]))), True


def _interval(value: float, resamples: Array) -> Interval:
    low, high = np.quantile(resamples, [0.05, 0.95])
    return Interval(value, float(low), float(high))


def _terms(theta: Array, n: Array, d: Array) -> Array:
    """Logarithms of the three terms, shape (..., 3, points)."""
    first = theta[..., 0, None] - theta[..., 1, None] * np.log(n)
    second = theta[..., 2, None] - theta[..., 3, None] * np.log(d)
    return np.stack([first, second, np.broadcast_to(theta[..., 4, None], first.shape)], -2)


def _log_loss(theta: Array, n: Array, d: Array) -> Array:
    return np.asarray(np.logaddexp.reduce(_terms(theta, n, d), axis=-2))


def _starts(n: Array, d: Array, loss: Array) -> Array:
    """Exponents and floors of a grid; the sizes of the terms follow from the middle of the points."""
    middle = float(np.median(loss))
    starts = []
    for floor in (0.3, 0.6, 0.9):
        rest = np.log((middle - floor * loss.min()) / 2)
        for a in (0.2, 0.4, 0.8):
            for b in (0.2, 0.4, 0.8):
                terms = [rest + a * np.log(n).mean(), a, rest + b * np.log(d).mean(), b, np.log(floor * loss.min())]
                starts.append(terms)
    return np.array(starts)


def _solve(theta: Array, n: Array, d: Array, target: Array, weights: Array) -> tuple[Array, Array]:
    """Minimise the weighted Huber loss from every row of ``theta``; the rows and their costs."""
    damping = np.full(len(theta), 1e-2)
    costs = _cost(theta, n, d, target, weights)
    for _ in range(_STEPS):
        terms = _terms(theta, n, d)
        logs = np.logaddexp.reduce(terms, axis=-2)
        shares = np.exp(terms - logs[:, None, :])
        jacobian = np.stack(
            [shares[:, 0], -shares[:, 0] * np.log(n), shares[:, 1], -shares[:, 1] * np.log(d), shares[:, 2]], -1
        )
        errors = logs - target
        scaled = weights * np.minimum(1.0, _HUBER / np.maximum(np.abs(errors), 1e-300))
        normal = np.einsum("rpi,rp,rpj->rij", jacobian, scaled, jacobian)
        slope = np.einsum("rpi,rp,rp->ri", jacobian, scaled, errors)
        diagonal = np.einsum("rii->ri", normal) + 1e-12
        damped = normal + damping[:, None, None] * diagonal[:, :, None] * np.eye(5)
        trial = theta - np.linalg.solve(damped, slope[:, :, None])[:, :, 0]
        trial_costs = _cost(trial, n, d, target, weights)
        better = trial_costs < costs  # not where it is NaN
        theta = np.where(better[:, None], trial, theta)
        costs = np.where(better, trial_costs, costs)
        damping = np.clip(np.where(better, damping / 3, damping * 4), 1e-12, 1e12)
    return theta, costs


def _cost(theta: Array, n: Array, d: Array, target: Array, weights: Array) -> Array:
    errors = np.abs(_log_loss(theta, n, d) - target)
    huber = np.where(errors <= _HUBER, errors**2 / 2, _HUBER * (errors - _HUBER / 2))
    return np.asarray((weights * huber).sum(-1))
