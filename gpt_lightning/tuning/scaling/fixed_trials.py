"""Trials whose settings are known beforehand: one after the other in one folder, each done once, sharing what agrees.

What is done stays: a second start reads ``result.json`` of the trials that have ended, goes on with the one that was
interrupted, and begins those that are left at the longest prefix in the store.
"""

from __future__ import annotations

import hashlib
import json
import logging
import math
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.errors import ConfigError, DivergedError, MachineError, UserError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.fitting.run import Run
from gpt_lightning.training.reuse.reuse import Reuse
from gpt_lightning.training.runs.run_folder import read_starts
from gpt_lightning.tuning.spec.causes import IN_USE, MACHINE, Patience, find_cause
from gpt_lightning.tuning.spec.spec import Retry

log = logging.getLogger("gpt_lightning")
_QUIET = {"trainer.logger": False, "trainer.enable_progress_bar": False, "run.sample_tokens": 0}
RESULT_FILE = "result.json"
_RETRY = Retry()
EVERY = "10%"
"""How often a trial stores its state for others, besides the steps at which they are known to leave it."""


@dataclass(frozen=True)
class Outcome:
    """How a trial ended.

    Attributes:
        folder: Its run folder.
        value: The metric at the end; infinite when training had to stop.
        parameters: Trained numbers of the model.
        tokens: Training tokens of the whole run.
        steps: Optimizer steps of the whole run.
        reused_steps: Steps that were taken over from other trials.
    """

    folder: str
    value: float
    parameters: int
    tokens: int
    steps: int
    reused_steps: int


class FixedTrials:
    """The trials of one folder.

    Args:
        folder: Holds ``trials/`` and ``prefixes/``.
        base: Configuration files of ``fit``, merged left to right.
        metric: Logged name of what counts.
        budget_bytes: Of the store of prefixes; None = anything.
        retry: What to do about faults of the machine.
    """

    def __init__(
        self, folder: Path, base: Sequence[Path], metric: str, budget_bytes: int | None, retry: Retry = _RETRY
    ) -> None:
        self._folder, self._base, self._metric, self._budget_bytes = folder, base, metric, budget_bytes
        self._retry = retry

    def build(self, settings: Mapping[str, Any], folder: Path | None = None) -> Run:
        """The run of these settings.

        Raises:
            ConfigError: They are wrong, or want several devices.
        """
        place = {} if folder is None else {"run.dir": str(folder)}
        run = build(*self._base, _QUIET, dict(settings), place, typed=False)
        if run.trainer.world_size > 1:
            raise ConfigError(
                "Trials that are trained one after the other here use one device",
                got=run.trainer.world_size,
                allowed="trainer.devices 1",
                fix="Add trainer: {devices: 1} to the base, or tune with gpt-lightning sweep run.",
            )
        return run

    def reuse(self, at: tuple[int, ...] = (), owner: str | None = None) -> Reuse:
        """The store of this folder."""
        return Reuse(self._folder / "prefixes", EVERY, self._budget_bytes, at, owner)

    def train(self, name: str, settings: Mapping[str, Any], at: tuple[int, ...] = ()) -> Outcome:
        """Train a trial to its end, unless that has been done.

        Args:
            name: Of its folder, followed by a digest of its settings.
            settings: Dotted keys.
            at: Steps at which others will leave it.

        Raises:
            ConfigError: A setting is wrong.
            MachineError: Disk or network fail again and again.
            StopRequested: A signal asked to stop; the state is saved.
        """
        folder = self._folder / "trials" / f"{name}-{self._digest(settings)}"
        done = _read_outcome(folder)
        if done is not None:
            return done
        began = time.monotonic()
        run, value, reason = self._fit(settings, folder, at)
        steps = run.plan.horizon.total_steps
        if value is None:
            raise ConfigError(
                f"{folder} has no {self._metric}",
                got=self._metric,
                allowed="a metric of validation, e.g. val/loss",
                fix="Name another metric, or let the base validate (data.val_fraction, trainer.limit_val_batches).",
            )
        if not math.isfinite(value) and reason is None:
            value, reason = float("inf"), f"{self._metric} is not finite at the end"
        outcome = Outcome(
            str(folder),
            value,
            run.module.config.num_parameters,
            run.plan.horizon.tokens_before(steps),
            steps,
            min(steps, sum(start.get("reused_steps") or 0 for start in read_starts(folder))),
        )
        _write_outcome(outcome, reason, time.monotonic() - began, run.seed)
        return outcome

    def _fit(
        self, settings: Mapping[str, Any], folder: Path, at: tuple[int, ...]
    ) -> tuple[Run, float | None, str | None]:
        """The run at its end, the metric, and why that is infinite."""
        patience = Patience(self._retry)
        while True:
            run = self.build(settings, folder)
            try:
                return run, run.fit("auto", self.reuse(at, folder.name)).metrics.get(self._metric), None
            except DivergedError as problem:
                log.warning("%s: %s", folder.name, problem)
                return run, float("inf"), str(problem)
            except (UserError, OSError) as problem:
                self._bear(problem, folder, patience)

    def _bear(self, problem: UserError | OSError, folder: Path, patience: Patience) -> None:
        """Wait after a fault of the machine, from which the trial goes on at its checkpoint.

        Raises:
            MachineError: That goes on and on. Nothing is written down: the same command goes on from here.
            UserError: It was none, but a mistake in the settings, for example.
        """
        if find_cause(problem) not in (MACHINE, IN_USE):
            raise problem
        log.warning("%s: %s", folder.name, problem)
        if not patience.endure():
            raise MachineError(
                f"{folder.name} cannot be trained here: {problem}",
                fix="Mend that; the same command goes on from the last checkpoint.",
            ) from problem

    def _digest(self, settings: Mapping[str, Any]) -> str:
        """Of settings and base: results of others are never taken for theirs."""
        content = [path.read_text(encoding="utf-8") for path in self._base]
        text = json.dumps([settings, content, self._metric], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()[:8]


def _read_outcome(folder: Path) -> Outcome | None:
    try:
        facts = json.loads((folder / RESULT_FILE).read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    if facts["state"] == "failed" and not facts.get("diverged"):
        return None  # by a version that took a full disk for a divergence: done again, from the last checkpoint
    value = float("inf") if facts["value"] is None else float(facts["value"])
    return Outcome(str(folder), value, facts["parameters"], facts["tokens"], facts["steps"], facts["reused_steps"])


def _write_outcome(outcome: Outcome, reason: str | None, seconds: float, seed: int) -> None:
    facts = {
        "state": "complete" if reason is None else "failed",
        "reason": reason,
        "diverged": reason is not None,
        "value": None if reason is not None else outcome.value,
        "steps": outcome.steps,
        "executed_steps": outcome.steps - outcome.reused_steps,
        "reused_steps": outcome.reused_steps,
        "tokens": outcome.tokens,
        "parameters": outcome.parameters,
        "seconds": round(seconds, 2),
        "seed": seed,
    }
    write_text_durably(Path(outcome.folder) / RESULT_FILE, json.dumps(facts, indent=1) + "\n")
