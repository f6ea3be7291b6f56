"""The records a sweep file is read into; frozen, checked, and nothing that depends on Optuna but the parameters."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from gpt_lightning.tuning.pruning.early_termination import EarlyTermination, read_early_terminate
from gpt_lightning.tuning.spec.parameters import Parameter

METHODS = ("tpe", "gp", "cmaes", "qmc", "random", "grid", "nsga2")
IMPUTATIONS = ("worst", "best", "latest")
LAUNCHERS = ("local", "slurm", "none", "ray")


@dataclass(frozen=True)
class Metric:
    """An objective.

    Attributes:
        name: A logged metric.
        goal: ``minimize`` or ``maximize``.
        at: Which of the reported values counts: ``last``, ``best``, or ``mean_last_K`` (of the last K reports).
        impute: What the sampler is told of a trial that diverged: ``worst`` (of all that could be), ``best`` (so far),
            or ``latest`` (its last finite value).
    """

    name: str = "val/loss"
    goal: str = "minimize"
    at: str = "last"
    impute: str = "worst"

    @property
    def sign(self) -> float:
        """Times this, smaller is better."""
        return 1.0 if self.goal == "minimize" else -1.0


@dataclass(frozen=True)
class Constraint:
    """A limit that the best trial must keep.

    Attributes:
        name: Name in the study.
        metric: A logged metric, or ``seconds`` or ``tokens`` of the trial.
        maximum: Upper limit; None = none.
        minimum: Lower limit; None = none.
    """

    name: str
    metric: str
    maximum: float | None = None
    minimum: float | None = None

    def excess(self, value: float) -> float:
        """How far beyond the limits a value lies; <= 0 is allowed."""
        over = [] if self.maximum is None else [value - self.maximum]
        under = [] if self.minimum is None else [self.minimum - value]
        return max(over + under)


@dataclass(frozen=True)
class Method:
    """How values are chosen.

    Attributes:
        name: One of METHODS, or the path of a sampler class.
        options: Arguments of that class.
    """

    name: str = "tpe"
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class ReuseSettings:
    """Sharing of work between trials.

    Attributes:
        enabled: ``auto``, ``true`` or ``false``.
        every: Distance of the checkpoints that are kept for others; a length.
        budget_bytes: Most bytes of the store.
        verify: Share of trials that are run a second time from scratch and compared.
    """

    enabled: str = "auto"
    every: int | float | str = "5%"
    budget_bytes: int = 200 * 10**9
    verify: float = 0.0


@dataclass(frozen=True)
class Budget:
    """When a sweep ends; whatever comes first.

    Attributes:
        trials: Trials, retries not counted; None = no limit.
        hours: Hours of wall time, over all starts of the sweep; None = no limit.
        no_improvement: Trials in a row that end without a new best; None = no limit.
        target: A value of the first metric that is good enough; None = none is.
        failures: Trials in a row that fail of the same, not counting divergence; None = no limit.
    """

    trials: int | None = None
    hours: float | None = None
    no_improvement: int | None = None
    target: float | None = None
    failures: int | None = 5


@dataclass(frozen=True)
class RepeatBest:
    """Repetitions of the best trials with other seeds, at the end.

    Attributes:
        top_k: How many of the best.
        seeds: Seeds of the repetitions.
    """

    top_k: int = 0
    seeds: tuple[int, ...] = ()


@dataclass(frozen=True)
class Retry:
    """What happens to trials whose process died, or whose machine failed.

    Attributes:
        max: How often a trial is started again, from its own newest checkpoint.
        lease_seconds: How often a worker shows that it is alive.
        grace_seconds: Silence after which another worker takes the trial over.
        timeout_seconds: Longest time of one trial; None = no limit.
        storage_seconds: How long an unreachable storage is tried again before a worker gives up.
        wait_seconds: Pause after a fault of the machine (a full disk, a network that does not answer), doubled from one
            to the next; after ``max`` of them in a row the sweep is stopped.
    """

    max: int = 3
    lease_seconds: float = 60.0
    grace_seconds: float = 300.0
    timeout_seconds: float | None = None
    storage_seconds: float = 600.0
    wait_seconds: float = 30.0


@dataclass(frozen=True)
class LauncherSettings:
    """Who starts workers, and what each of them may use.

    Attributes:
        type: One of LAUNCHERS.
        workers: How many; ``auto`` = one for each slot.
        devices: Device numbers or names to use; ``auto`` = all that are found.
        devices_per_trial: Devices of one trial.
        trials_per_device: Trials that share a device.
        slurm: Options of ``sbatch``, without their dashes.
    """

    type: str = "local"
    workers: int | str = "auto"
    devices: tuple[str, ...] | str = "auto"
    devices_per_trial: int = 1
    trials_per_device: int = 1
    slurm: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class SweepSpec:
    """A sweep, as read from its file.

    Attributes:
        name: Name of the study and of the folder below ``runs``.
        parameters: Key -> what it may be, parents of ``when`` first.
        base: Configuration files of ``fit``, merged left to right.
        metrics: Objectives, at least one.
        constraints: Limits.
        method: How values are chosen.
        seed: Seed of the sampler and, unless the base or a parameter sets ``seed_everything``, of every trial.
        derive: Key -> expression, see ``derive``.
        enqueue: Points to start with, key -> value.
        early_terminate: Which trials are stopped when.
        reuse: Sharing of work.
        budget: When it ends.
        repeat_best: Repetitions at the end.
        storage: ``sqlite``, ``journal`` or a URL.
        retry: What happens to trials whose process died.
        launcher: Who starts workers.
        description: For people.
        ignored: Keys of a Weights & Biases file that mean nothing here.
        raw: The file's content with ``--set`` applied, to be written beside the results.
    """

    name: str
    parameters: Mapping[str, Parameter]
    base: tuple[Path, ...] = ()
    metrics: tuple[Metric, ...] = (Metric(),)
    constraints: tuple[Constraint, ...] = ()
    method: Method = field(default_factory=Method)
    seed: int = 1337
    derive: Mapping[str, Any] = field(default_factory=dict)
    enqueue: tuple[Mapping[str, Any], ...] = ()
    early_terminate: EarlyTermination = field(default_factory=lambda: read_early_terminate(None))
    reuse: ReuseSettings = field(default_factory=ReuseSettings)
    budget: Budget = field(default_factory=Budget)
    repeat_best: RepeatBest = field(default_factory=RepeatBest)
    storage: str = "sqlite"
    retry: Retry = field(default_factory=Retry)
    launcher: LauncherSettings = field(default_factory=LauncherSettings)
    description: str = ""
    ignored: tuple[str, ...] = ()
    raw: Mapping[str, Any] = field(default_factory=dict)
