"""Rules that watch the logged points of a run and say when something is wrong.

Each rule is an object with a state of its own, which sees every point once and in order; what it says is passed on when
it begins to say it, and again only after it was silent in between. A rule of your own is a class with ``check``.

>>> rule = NonFinite()
>>> rule.check(Point(10, {"train/loss": float("nan")}))
'train/loss is nan'
>>> rule.check(Point(20, {"train/loss": 3.5})) is None
True
"""

from __future__ import annotations

import math
import shutil
import statistics
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from gpt_lightning.errors import ConfigError


@dataclass(frozen=True)
class Point:
    """What was logged at a step.

    Attributes:
        step: Optimizer steps done.
        values: By name.
        folder: The run folder.
    """

    step: int
    values: Mapping[str, float]
    folder: Path = Path()


class AlertRule(ABC):
    """Something that must not happen unnoticed."""

    @abstractmethod
    def check(self, point: Point) -> str | None:
        """What is wrong, in one sentence without a full stop; None = nothing, or the point does not tell."""

    def concerns(self, point: Point) -> bool:
        """Whether the point tells this rule anything."""
        return True


class LossSpike(AlertRule):
    """The training loss is far above what it was lately.

    The mean and spread are of the last points that were no spikes: one spike must not hide the next.

    Args:
        deviations: How many standard deviations above the mean count as a spike.
        points: How many points the mean is over; a quarter of them must be there first.
        least: A rise by less than this many nats is no spike, however smooth the curve was.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(self, deviations: float = 6.0, points: int = 40, least: float = 0.3) -> None:
        _check("LossSpike.deviations", deviations, 0.0)
        _check("LossSpike.points", points, 4)
        _check("LossSpike.least", least, 0.0)
        self._deviations, self._least = deviations, least
        self._window: deque[float] = deque(maxlen=points)
        self._needed = points // 4

    def concerns(self, point: Point) -> bool:
        """Points of training."""
        return "train/loss" in point.values

    def check(self, point: Point) -> str | None:
        """Compare, then remember."""
        loss = point.values["train/loss"]
        if not math.isfinite(loss):
            return None
        if len(self._window) >= self._needed:
            mean, spread = statistics.fmean(self._window), statistics.pstdev(self._window)
            if loss > mean + max(self._deviations * spread, self._least):
                return f"train/loss is {loss:.3f}, and was {mean:.3f} +- {spread:.3f} over {len(self._window)} points"
        self._window.append(loss)
        return None


class NonFinite(AlertRule):
    """A loss or a gradient norm is not a number, or steps had to be left out for that."""

    def __init__(self) -> None:
        self._skipped = 0.0

    def concerns(self, point: Point) -> bool:
        """Points with a loss."""
        return any(name.endswith("/loss") for name in point.values)

    def check(self, point: Point) -> str | None:
        """Look at losses and norms, then at the counter."""
        for name, value in point.values.items():
            if (name.endswith("/loss") or name == "optim/grad_norm") and not math.isfinite(value):
                return f"{name} is {value}"
        skipped = point.values.get("optim/skipped_steps", self._skipped)
        new, self._skipped = skipped - self._skipped, skipped
        return f"{new:.0f} steps were left out as not finite, {skipped:.0f} in all" if new > 0 else None


class ThroughputDrop(AlertRule):
    """Training became much slower than it usually is.

    Args:
        share: Of the median speed of the last points, below which it is a drop; above 0, below 1.
        points: How many points the median is over; a quarter of them must be there first.
        patience: How many points in a row must be slow.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(self, share: float = 0.4, points: int = 40, patience: int = 3) -> None:
        _check_share("ThroughputDrop.share", share)
        _check("ThroughputDrop.points", points, 4)
        _check("ThroughputDrop.patience", patience, 1)
        self._share, self._patience, self._slow = share, patience, 0
        self._window: deque[float] = deque(maxlen=points)
        self._needed = points // 4

    def concerns(self, point: Point) -> bool:
        """Points of training."""
        return "perf/tokens_per_second" in point.values

    def check(self, point: Point) -> str | None:
        """Compare, then remember unless it is slow."""
        rate = point.values["perf/tokens_per_second"]
        usual = statistics.median(self._window) if len(self._window) >= self._needed else 0.0
        if rate >= self._share * usual:
            self._slow = 0
            self._window.append(rate)
            return None
        self._slow += 1
        if self._slow < self._patience:
            return None
        return f"training does {rate:,.0f} tokens/s, and {usual:,.0f} before"


class ValidationRising(AlertRule):
    """The validation loss has been above its best for some validations: the model overfits, or diverges.

    Args:
        times: How many validations in a row.
        least: A rise by less than this many nats does not count.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(self, times: int = 3, least: float = 0.02) -> None:
        _check("ValidationRising.times", times, 1)
        _check("ValidationRising.least", least, 0.0)
        self._times, self._least, self._above, self._best = times, least, 0, math.inf

    def concerns(self, point: Point) -> bool:
        """Validations."""
        return "val/loss" in point.values

    def check(self, point: Point) -> str | None:
        """Count validations above the best."""
        loss = point.values["val/loss"]
        if math.isfinite(loss):
            self._above = self._above + 1 if loss > self._best + self._least else 0
            self._best = min(self._best, loss)
        if self._above < self._times:
            return None
        return f"val/loss is {loss:.4f}, above its best of {self._best:.4f} for {self._above} validations"


class DiskAlmostFull(AlertRule):
    """The disk of the run folder has little room left.

    Args:
        gib: Less than this many GiB.

    Raises:
        ConfigError: ``gib`` is negative.
    """

    def __init__(self, gib: float = 2.0) -> None:
        _check("DiskAlmostFull.gib", gib, 0.0)
        self._gib = gib

    def check(self, point: Point) -> str | None:
        """Ask the system."""
        free = shutil.disk_usage(point.folder).free / (1 << 30)
        return f"{free:.2f} GiB are left on the disk of {point.folder}" if free < self._gib else None


class StalledData(AlertRule):
    """The device waits for batches most of the time.

    Args:
        share: Of the time, above which it is a stall; above 0, below 1.
        patience: How many points in a row.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(self, share: float = 0.5, patience: int = 3) -> None:
        _check_share("StalledData.share", share)
        _check("StalledData.patience", patience, 1)
        self._share, self._patience, self._stalled = share, patience, 0

    def concerns(self, point: Point) -> bool:
        """Points of training."""
        return "perf/data_wait" in point.values

    def check(self, point: Point) -> str | None:
        """Count points in a row."""
        wait = point.values["perf/data_wait"]
        self._stalled = self._stalled + 1 if wait > self._share else 0
        return f"{wait:.0%} of the time goes into waiting for data" if self._stalled >= self._patience else None


class Watch:
    """Rules over the points of one run.

    Args:
        rules: In the order in which they are asked.
    """

    def __init__(self, rules: list[AlertRule]) -> None:
        self._rules = rules
        self._speaking = [False] * len(rules)

    def see(self, point: Point) -> list[tuple[str, str]]:
        """What rules begin to say at this point: (name of the rule, sentence)."""
        said = []
        for number, rule in enumerate(self._rules):
            if not rule.concerns(point):
                continue
            message = rule.check(point)
            if message is not None and not self._speaking[number]:
                said.append((type(rule).__name__, message))
            self._speaking[number] = message is not None
        return said


def _check(name: str, value: int | float, least: int | float) -> None:
    if not value >= least:
        raise ConfigError(f"{name} is out of range", got=value, allowed=f"{least:g} or more")


def _check_share(name: str, value: float) -> None:
    if not 0 < value < 1:
        raise ConfigError(f"{name} is out of range", got=value, allowed="above 0 and below 1")
