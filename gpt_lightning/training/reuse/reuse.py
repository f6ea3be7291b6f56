"""Steps that another run has done already: found, taken over and stored, so that the result is that of doing them.

A run that is given a ``Reuse`` begins at the longest prefix of its trajectory in the store, and stores its own. What a
checkpoint says about the run it came from rather than about the steps up to it is replaced:

    settings of the run          this run's own (``card``), where the checkpoint becomes one of this run
    lines of metrics.jsonl       those that this run would have written: training lines at its multiples of
                                 log_every_n_steps, validations at its own cadence; a prefix that lacks one of them is
                                 not taken, and further validations of the other run are left out
    best                         computed from these lines; its checkpoint, where it lies in the prefix, is copied at
                                 the end if it is still the best, so that ``best`` never points into another run
    table of a batch ramp        compared step by step in the key, up to the prefix

Everything else in it is a function of the steps done. An unfinished logging interval and a mean of the weights travel
in it, as in a resume.
"""

from __future__ import annotations

import logging
import math
import time
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from lightning.pytorch.loggers import Logger

from gpt_lightning.checkpoints.best import VALIDATION, Validation, point_to_best
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.folder import read_checkpoint, write_checkpoint
from gpt_lightning.checkpoints.prefixes import Line, Prefix, PrefixStore
from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.schedules.lengths import Horizon, Length, to_steps
from gpt_lightning.training.callbacks.prefixes import PrefixRecorder
from gpt_lightning.training.callbacks.saving import MONITOR
from gpt_lightning.training.engine.checkpoint_io import facts_of
from gpt_lightning.training.parts import RunParts
from gpt_lightning.training.reuse.fingerprint import RunFingerprint, trace
from gpt_lightning.training.runs.run_folder import read_metrics, write_metrics
from gpt_lightning.training.watch.loggers import JsonLines

log = logging.getLogger("gpt_lightning")


@dataclass(frozen=True)
class Reuse:
    """Where prefixes are kept, and how many.

    Args:
        folder: The store; made when missing.
        every: How often a run stores its state: steps (500), tokens ("20M tokens") or a share of the run ("5%").
        budget_bytes: What the store may take; null = anything.
        at: Further steps at which the state is stored: where branches are known to leave.
        owner: Name under which the run pins what it needs until it has ended; null = made from its folder.

    Raises:
        ConfigError: ``every`` or the budget is none.
    """

    folder: Path
    every: Length = "5%"
    budget_bytes: int | None = None
    at: tuple[int, ...] = ()
    owner: str | None = None

    def __post_init__(self) -> None:
        if self.every in (0, "0", "0%"):
            raise ConfigError("reuse.every is a cadence", got=self.every, allowed="more than 0", fix="Say '5%'.")
        if self.budget_bytes is not None and self.budget_bytes < 1:
            raise ConfigError("reuse.budget is a number of bytes", got=self.budget_bytes, allowed=">= 1, or null")


def borders_of(every: Length, at: tuple[int, ...], horizon: Horizon) -> list[int]:
    """Steps at which a run stores its state, the last one among them."""
    total = horizon.total_steps
    stride = max(1, to_steps(every, horizon, "reuse.every"))
    return sorted({*range(stride, total, stride), *(step for step in at if 0 < step < total), total})


@dataclass(frozen=True)
class Rules:
    """Which lines a run writes.

    Attributes:
        log_every: Steps between training lines.
        validate_every: Steps between validations; None = there are none.
        total_steps: Steps of the run; both kinds are written at the last one.
    """

    log_every: int
    validate_every: int | None
    total_steps: int

    def select(self, lines: list[Line], step: int) -> list[Line] | None:
        """The lines up to ``step`` of a run with these rules out of those of another; None where some are missing."""
        chosen, logged, validated = [], set(), set()
        for line in lines:
            at = line["step"]
            if at > step:
                continue
            if "train/loss" in line:
                if not self._is_due(at, self.log_every):
                    continue
                logged.add(at)
            elif "val/loss" in line:
                if not self._is_due(at, self.validate_every):
                    continue
                validated.add(at)
            chosen.append(line)
        complete = logged == self._due(self.log_every, step) and validated == self._due(self.validate_every, step)
        return chosen if complete else None

    def _is_due(self, step: int, every: int | None) -> bool:
        return every is not None and (step % every == 0 or step == self.total_steps)

    def _due(self, every: int | None, step: int) -> set[int]:
        if every is None:
            return set()
        return {*range(every, step + 1, every), *([step] if step == self.total_steps else [])}


class PrefixReuse:
    """One run's dealings with the store.

    Args:
        reuse: The settings.
        run: Not started yet.

    Raises:
        ConfigError: The run may differ from what its settings say.
    """

    def __init__(self, reuse: Reuse, run: RunParts) -> None:
        if run.settings.allow_changes:
            raise ConfigError(
                "run.allow_changes lets a run differ from its settings, and what it computes cannot be reused",
                got=run.settings.allow_changes,
                allowed="no changes where work is shared",
                fix="Leave run.allow_changes out, or switch reuse off.",
            )
        self._run, self._owner = run, reuse.owner
        self.store = PrefixStore(reuse.folder, reuse.budget_bytes)
        self.trajectory: RunFingerprint = trace(run)
        total = run.plan.horizon.total_steps
        self._borders = borders_of(reuse.every, reuse.at, run.plan.horizon)
        has_validation = bool(run.trainer.limit_val_batches)
        self.rules = Rules(
            log_every=int(vars(run.trainer)["log_every_n_steps"]),
            validate_every=run.plan.validate_every if has_validation else None,
            total_steps=total,
        )
        self.is_pure = True
        self._shown_before = 0

    @cached_property
    def _keys(self) -> dict[int, str]:
        """Of every step at which something is stored, or will be by this run."""
        return self.trajectory.keys([*self._borders, *(entry.step for entry in self.store.entries())])

    def owner(self, folder: Path) -> str:
        """Name of the run's pin."""
        return self._owner or self.store.pin_name(folder)

    def choose(self, folder: Path, own_step: int | None, own_bases: list[str | None]) -> Prefix | None:
        """The prefix to begin at, if one is longer than what the run has done itself; its lines are written.

        Args:
            folder: The run's folder.
            own_step: Of the checkpoint that the run would go on from; None = none.
            own_bases: ``RunFingerprint.base`` of every start of this run before.
        """
        # An own checkpoint may come from another machine or version, which the key of this start does not describe.
        self.is_pure = own_step is None or all(base == self.trajectory.base for base in own_bases)
        longer = {step: key for step, key in self._keys.items() if step > (own_step or 0)}
        prefix = self.store.take(longer, lambda entry: self.lines_of(entry) is not None, self.owner(folder), folder)
        if prefix is None:
            return None
        self.is_pure = True
        self._shown_before = own_step or 0
        lines = self.lines_of(prefix)
        assert lines is not None
        best = _find_best(lines)
        entry = None if best is None else self._entry_at(best["step"])
        if entry is not None:
            self.store.pin(self.owner(folder), folder, [entry])
        now = round(time.time(), 3)  # when this run got them; the first of its lines would be older than the run
        write_metrics(folder, [{**line, "time": now} for line in lines])
        log.info("reusing %d steps of other runs", prefix.step - self._shown_before)
        return prefix

    def lines_of(self, entry: Prefix) -> list[Line] | None:
        """The lines of an entry as this run would have written them; None where some are missing."""
        return self.rules.select(entry.read_lines(), entry.step)

    def _entry_at(self, step: float) -> Prefix | None:
        key = self._keys.get(int(step))
        return None if key is None else self.store.find(int(step), key)

    def prefix_of(self, checkpoint: Path | None) -> Prefix | None:
        """The entry that a checkpoint belongs to; None for a checkpoint of the run itself."""
        if checkpoint is None or checkpoint.parent.parent.resolve() != self.store.folder:
            return None
        digits, _, key = checkpoint.parent.name.partition("-")
        return Prefix(checkpoint.parent, int(digits), key)

    def prepare(self, prefix: Prefix | None, folder: Path, loggers: list[Logger]) -> PrefixRecorder:
        """What has to be there when training starts.

        Args:
            prefix: What the run begins with.
            folder: The run's folder.
            loggers: Of the run; all but our JSON lines are told what happened before.

        Returns:
            The callback that stores; nothing where the run's own past is not what its key says.
        """
        adopted: dict[str, dict[str, float] | None] | None = None
        if prefix is not None:
            self._run.datamodule.allow_changes = ("data.batch_ramp",)
            lines = self.lines_of(prefix) or []
            adopted = {"best": _find_best(lines)}
            self._replay(lines, loggers)
        borders = {step: self._keys[step] for step in self._borders if self.is_pure}
        return PrefixRecorder(self.store, borders, folder, self.trajectory.is_shared, adopted)

    def _replay(self, lines: list[Line], loggers: list[Logger]) -> None:
        for line in lines:
            values = {name: value for name, value in line.items() if name not in ("step", "time")}
            if line["step"] > self._shown_before:
                for logger in loggers:
                    if not isinstance(logger, JsonLines):
                        logger.log_metrics(values, step=line["step"])

    def first_shown(self, resumed: int) -> int:
        """Step behind which loggers have nothing yet."""
        return min(resumed, self._shown_before) if self._shown_before else resumed

    def reused_steps(self, prefix: Prefix | None) -> int:
        """Steps that this run has neither done in this start nor in one before."""
        return 0 if prefix is None else prefix.step - self._shown_before

    def finish(self, folder: Path, prefix: Prefix | None) -> None:
        """At the end of the run, on the first process: own what is left in the store, and let go of the rest."""
        lines = read_metrics(folder)
        best = _find_best(lines)
        if prefix is not None and prefix.step == self.rules.total_steps:
            self._copy(prefix, folder, best)
        if best is not None and not (folder / CHECKPOINTS_DIR / f"step-{int(best['step']):09d}").is_dir():
            entry = self._entry_at(best["step"])
            if entry is None:
                log.info("the best validation was at step %d, whose weights nobody kept", best["step"])
            else:
                self._copy(entry, folder, best)
        if best is not None and (folder / CHECKPOINTS_DIR / f"step-{int(best['step']):09d}").is_dir():
            point_to_best(folder / CHECKPOINTS_DIR)
        self.store.release(self.owner(folder))

    def _copy(self, entry: Prefix, folder: Path, best: dict[str, float] | None) -> None:
        """A checkpoint of the store as one of this run."""
        state = read_checkpoint(entry.checkpoint)
        state["gpt_lightning"] = dict(self._run.module.card)
        own_best = best if best is not None and best["step"] <= entry.step else None
        state["callbacks"]["Saving"] = {"best": own_best}
        state.pop(VALIDATION, None)
        for line in read_metrics(folder):
            if line["step"] == entry.step and MONITOR in line:
                state[VALIDATION] = Validation(entry.step, MONITOR, float(line[MONITOR])).facts()
        stream = state.get(type(self._run.datamodule).__qualname__)
        if stream is not None:
            stream["stream"] = self._run.datamodule.describe()
        write_checkpoint(folder / CHECKPOINTS_DIR, step=entry.step, state=state, facts=facts_of(state))


def last_validation(folder: Path) -> dict[str, float]:
    """The values of the last validation of a run, from its log."""
    for line in reversed(read_metrics(folder)):
        if MONITOR in line:
            return {name: float(value) for name, value in line.items() if name.startswith("val/")}
    return {}


def _find_best(lines: list[Line]) -> dict[str, float] | None:
    """The first lowest validation, as ``Saving`` keeps it."""
    best: dict[str, float] | None = None
    for line in lines:
        value = line.get(MONITOR)
        if value is not None and math.isfinite(value) and (best is None or value < best["value"]):
            best = {"value": float(value), "step": float(line["step"])}
    return best
