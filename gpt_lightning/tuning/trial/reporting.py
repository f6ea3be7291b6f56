"""The shape of a learning-rate curve up to a step, as a short key: trials with equal keys can be compared half-way.

A loss in the middle of a run says little about its end when the learning rates went different ways (they have high
losses while the rate is high), and nearly everything when they went the same way at different heights. The key is a
hash of the factors so far, divided by the largest factor of the whole run, so that the peak learning rate itself does
not count. Stretches of equal factors are one entry, written with the tokens before them: a constant stretch is the
same for any batch size, and a run that will cool down has the key of one that will not, until it does.

The trial's end of the mailbox: after each validation it reports, and does what the verdict says.

Only the first process writes and reads; it tells the others, so that all of them stop at the same step.

A limit that is known to be broken before a step is trained ends the trial there: it costs no step.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from typing import Any

import torch
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch import Callback, LightningModule, Trainer

from gpt_lightning.errors import EndedEarly
from gpt_lightning.files.processes import peak_resident_bytes
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.schedules import Schedule
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.training.runs.run_folder import read_metrics
from gpt_lightning.training.watch.loggers import RunLogger
from gpt_lightning.tuning.spec.spec import Constraint
from gpt_lightning.tuning.trial.mailbox import Mailbox, Report


class ShapeKeys:
    """Keys of one run, step after step; each step is hashed once.

    Args:
        schedule: The curve.
        horizon: Length of the run.
    """

    def __init__(self, schedule: Schedule, horizon: Horizon) -> None:
        self._schedule, self._horizon = schedule, horizon
        self._peak = max(schedule.factor(step, horizon) for step in range(horizon.total_steps)) or 1.0
        self._hash = hashlib.sha256()
        self._done, self._last = 0, ""

    def at(self, step: int) -> str:
        """Key of the first ``step`` optimizer steps; steps must not fall from call to call.

        Returns:
            16 hexadecimal digits.

        Raises:
            ValueError: An earlier step than in the call before.
        """
        if step < self._done:
            raise ValueError(f"steps go forward: got {step} after {self._done}")
        for place in range(self._done, step):
            # 12 digits: two formulas of one curve may differ in the last bits.
            factor = f"{self._schedule.factor(place, self._horizon) / self._peak:.12g}"
            if factor != self._last:
                self._hash.update(f"{self._horizon.tokens_before(place)}:{factor};".encode())
                self._last = factor
        self._done = step
        return self._hash.hexdigest()[:16]


def shape_key(schedule: Schedule, horizon: Horizon, step: int) -> str:
    """Key of the first ``step`` optimizer steps of a run: equal for equal learning-rate histories up to a factor.

    >>> from gpt_lightning.optim.schedules.schedules import WSD, Constant, Linear
    >>> run = Horizon(total_steps=100, tokens_per_step=512)
    >>> shape_key(WSD(warmup=0), run, 80) == shape_key(Constant(), run, 80)
    True
    >>> shape_key(WSD(warmup=0), run, 82) == shape_key(Constant(), run, 82)
    False
    >>> shape_key(Linear(), run, 10) == shape_key(Constant(), run, 10)
    False
    """
    return ShapeKeys(schedule, horizon).at(step)


_PAUSE = 0.01


class Pruned(EndedEarly):
    """The supervisor said stop; the reason is the text."""


class LatestMetrics(RunLogger):
    """Keeps the latest value of everything that is logged."""

    def __init__(self) -> None:
        super().__init__()
        self.values: dict[str, float] = {}

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Remember."""
        self.values |= {name: float(value) for name, value in metrics.items()}


class Reporting(Callback):
    """Reports validations of ``run`` and waits for verdicts.

    Args:
        run: The run; its plan gives tokens and report numbers.
        mailbox: Of the trial.
        patience_seconds: Longest wait for a verdict; a supervisor whose storage does not answer must not stop training.
            0 = no verdicts are expected.
    """

    def __init__(self, run: Run, mailbox: Mailbox, patience_seconds: float) -> None:
        self._run, self._mailbox, self._patience = run, mailbox, patience_seconds
        self._folder = mailbox.folder
        self._latest = LatestMetrics()
        run.trainer.loggers = [*run.trainer.loggers, self._latest]
        self._start = 0
        self.last: Report | None = None

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Steps before were computed by somebody else; what was measured then is reported again."""
        self._start = trainer.global_step
        if trainer.is_global_zero:
            self.catch_up(self._start, executed=0)

    def catch_up(self, step: int, executed: int) -> None:
        """Report the validations up to ``step`` that stand in ``metrics.jsonl`` and were not reported yet.

        Those of an attempt before, or of another trial whose steps were taken over, perhaps all of them.
        """
        known: dict[str, float] = {}
        for line in read_metrics(self._folder):
            known |= {name: float(value) for name, value in line.items() if name not in ("step", "time")}
            at = int(line["step"])
            if "val/loss" in line and at <= step and (self.last is None or at > self.last.step):
                self.last = self._report(at, known, executed)
                self._mailbox.post(self.last)
        self._latest.values = {**known, **self._latest.values}

    def executed(self, step: int) -> int:
        """Of the steps up to ``step``, those that this attempt computed."""
        return max(0, step - self._start)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Report; raise what the verdict says.

        Raises:
            Pruned: On all processes.
        """
        if trainer.sanity_checking or not trainer.fit_loop._data_fetcher:
            return
        reason: str | None = None
        if trainer.is_global_zero:
            published = {name: float(value) for name, value in trainer.callback_metrics.items()}
            step = trainer.global_step
            self.last = self._report(step, {**self._latest.values, **published}, step - self._start)
            self._mailbox.post(self.last)
            if self._patience and trainer.global_step < self._run.plan.horizon.total_steps:
                reason = self._wait(self.last.n)
        if trainer.world_size > 1:
            reason = trainer.strategy.broadcast(reason)
        if reason is not None:
            raise Pruned(reason)

    def _report(self, step: int, metrics: Mapping[str, float], executed: int) -> Report:
        horizon = self._run.plan.horizon
        return Report(
            n=math.ceil(step / self._run.plan.validate_every) - 1,
            step=step,
            tokens=horizon.tokens_before(step),
            metrics={**self._sizes(), **metrics},
            shape=shape_key(self._run.module.schedule, horizon, step),
            total_tokens=horizon.tokens_before(horizon.total_steps),
            executed=executed,
        )

    def _sizes(self) -> dict[str, float]:
        """What is measured of a trial and logged by no run; see ``checking.MEASURED``."""
        return {"sys/peak_mem_gb": _peak_gigabytes(), "model/parameters": self._parameters}

    @cached_property
    def _parameters(self) -> float:
        return count_parameters(self._run.module.config)

    def _wait(self, n: int) -> str | None:
        end = time.monotonic() + self._patience
        while time.monotonic() < end:
            verdict = self._mailbox.verdict(n)
            if verdict is not None:
                return verdict.stop
            time.sleep(_PAUSE)
        return None


def count_parameters(config: GPTConfig) -> float:
    """Of the decoder, from its shape: a trial whose steps are all taken over builds no module."""
    with torch.device("meta"):
        return float(sum(weights.numel() for weights in GPT(config).parameters()))


def _peak_gigabytes() -> float:
    """Most memory used so far: of the device, or of this process on a CPU."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e9
    return peak_resident_bytes() / 1e9


class BeyondLimits(Pruned):
    """A constraint cannot be kept.

    Args:
        text: Which one.
        metrics: What was found out before training.
    """

    def __init__(self, text: str, metrics: Mapping[str, float]) -> None:
        super().__init__(text)
        self.metrics = dict(metrics)


def check_limits(run: Run, limits: Sequence[Mapping[str, Any]]) -> None:
    """Whether the run could keep its constraints, as far as its settings say.

    Args:
        run: Built, not begun.
        limits: Fields of ``Constraint``; of metrics that only training tells nothing is known.

    Raises:
        BeyondLimits: It could not.
    """
    known = {each: measure(run) for each, measure in _MEASURES.items() if any(each == one["metric"] for one in limits)}
    for limit in (Constraint(**each) for each in limits):
        value = known.get(limit.metric)
        if value is not None and limit.excess(value) > 0:
            text = f"beyond constraint {limit.name} before a step was trained: {limit.metric} is {value:.6g}"
            raise BeyondLimits(text, {name: each for name, each in known.items() if each is not None})


def _tokens(run: Run) -> float:
    horizon = run.plan.horizon
    return float(horizon.tokens_before(horizon.total_steps))


def _memory(run: Run) -> float | None:
    """Gigabytes of a step without what the process takes for itself: what is measured later is more."""
    from gpt_lightning.training.profiling.doctor import estimate_step_memory

    estimate, _ = estimate_step_memory(run)
    return None if estimate is None else estimate.peak / 1e9


_MEASURES: dict[str, Callable[[Run], float | None]] = {
    "model/parameters": lambda run: count_parameters(run.module.config),
    "tokens": _tokens,
    "sys/peak_mem_gb": _memory,
}
