"""``Run``: a trainer, a module and a datamodule that belong together, and what can be done with them."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from lightning.pytorch import Callback, Trainer

from gpt_lightning.board.notices import cut_alerts
from gpt_lightning.board.terminal import choose_view
from gpt_lightning.checkpoints.durable import step_of
from gpt_lightning.checkpoints.prefixes import Prefix
from gpt_lightning.checkpoints.shelf import SHELF, discard_after, locate, sweep
from gpt_lightning.data.report import summarize
from gpt_lightning.errors import CheckpointError, ConfigError, UserError
from gpt_lightning.files.atomic import write_text_durably
from gpt_lightning.parsing.strict_yaml import dump_yaml
from gpt_lightning.training.callbacks.accumulation import RampedAccumulation
from gpt_lightning.training.callbacks.metrics_log import MetricsLog
from gpt_lightning.training.callbacks.prediction_file import PredictionFile
from gpt_lightning.training.callbacks.saving import Saving
from gpt_lightning.training.callbacks.status_line import StatusLine
from gpt_lightning.training.callbacks.step_seed import StepSeed
from gpt_lightning.training.datamodule import TokenDataModule
from gpt_lightning.training.ending import end_recorded
from gpt_lightning.training.global_batch import MicroStep
from gpt_lightning.training.lengths import Plan
from gpt_lightning.training.loggers import JsonLines, RunTensorBoard
from gpt_lightning.training.metrics_file import cut_metrics
from gpt_lightning.training.module import GPTModule
from gpt_lightning.training.monitor import Monitor
from gpt_lightning.training.observers import Observers, build_speed
from gpt_lightning.training.process_memory import keep_freed_memory
from gpt_lightning.training.processes import (
    announce_wait,
    connect_processes,
    launched_from_outside,
    process_group_closed,
    process_rank,
)
from gpt_lightning.training.resume import check_resumable
from gpt_lightning.training.reuse import Reuse, Sharing, last_validation
from gpt_lightning.training.run_folder import CONFIG_FILE, RunLock, command_line, read_starts, write_manifest
from gpt_lightning.training.settings import RunSettings
from gpt_lightning.training.sharding import count_streams
from gpt_lightning.training.signals import StopFlag
from gpt_lightning.training.start import Start, choose_start, find_checkpoint, publish, published, retract

log = logging.getLogger("gpt_lightning")


@dataclass(frozen=True)
class FitResult:
    """What training ended with.

    Attributes:
        folder: The run folder.
        step: Optimizer steps done.
        metrics: Latest validation metrics (``val/loss``, ``eval/...``); empty when the run had already ended before.
        resumed_step: Step it went on from; None for a new run.
        executed_steps: Optimizer steps done by this call.
        reused_steps: Optimizer steps that another run had done and this one never did.
    """

    folder: Path
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    resumed_step: int | None = None
    executed_steps: int = 0
    reused_steps: int = 0


@dataclass
class Run:
    """One configured run; made by ``training.build.build``.

    Attributes:
        trainer: Lightning's Trainer, without our loggers and callbacks until a method needs them.
        module: The model under training.
        datamodule: The data.
        plan: Lengths in steps.
        settings: ``run.*``.
        config: The resolved configuration, plain data.
        seed: Seed of everything.
        name: Name for numbered run folders.
        stock_logger: Whether to log to TensorBoard in the run folder (the user chose no logger).
        progress: How to show where training stands: plain, rich or none; None = rich on a terminal, plain elsewhere.
        monitor: ``monitor.*``.
        defaults: Makes the configuration that the code's defaults are.
        initial_path: What ``init_from`` was found to be.
        varied: Settings that differ among the runs started with this one, to be shown in TensorBoard; None = not known.
    """

    trainer: Trainer
    module: GPTModule
    datamodule: TokenDataModule
    plan: Plan
    settings: RunSettings
    config: dict[str, Any]
    seed: int
    name: str
    stock_logger: bool
    progress: str | None = None
    monitor: Monitor = field(default_factory=Monitor)
    defaults: Callable[[], dict[str, Any]] = dict
    initial_path: Path | None = None
    varied: Mapping[str, Any] | None = None

    def fit(self, resume: str = "never", reuse: Reuse | None = None) -> FitResult:
        """Train to the end of the plan.

        Args:
            resume: never, auto, or the path of a run folder or checkpoint.
            reuse: Where to find and leave steps that other runs share; None = do all steps. Not with a path.

        Raises:
            UserError: A setting, the data, a checkpoint or the folder does not fit, or training had to stop.
            StopRequested: A signal asked to stop; the state is saved.
        """
        if reuse is not None and resume not in ("never", "auto"):
            raise ConfigError(
                "A run that goes on from a checkpoint named by path cannot share its work",
                got=resume,
                allowed="--resume never or auto",
                fix="Leave out --resume PATH, or reuse.",
            )
        try:
            sharing = None if reuse is None else Sharing(reuse, self)
            return self._fit(resume, sharing)
        finally:
            self.datamodule.close()

    def _fit(self, resume: str, sharing: Sharing | None) -> FitResult:
        told = published()
        if told is not None:
            return self._train(*told, sharing)
        if launched_from_outside():
            with process_group_closed():
                connect_processes(self.trainer, self.module)
                return self._fit_together(resume, sharing)
        announce_wait(self.trainer)
        return self._fit_alone(resume, sharing)

    def _fit_alone(self, resume: str, sharing: Sharing | None) -> FitResult:
        """As the process that decides, and launches the others of this machine."""
        start = choose_start(self.settings, resume, self.name, num_nodes=self.trainer.num_nodes)
        lock = RunLock(start.folder)
        if process_rank() == 0:
            lock.acquire()
        try:
            checkpoint = self._prepare_folder(start, sharing)
            publish(start.folder, checkpoint)
            with self._end_recorded(start.folder, checkpoint):
                return self._train(start.folder, checkpoint, sharing)
        finally:
            retract()
            lock.release()

    def _fit_together(self, resume: str, sharing: Sharing | None) -> FitResult:
        """As one of several processes that are connected: the first decides, and tells the others."""
        lock: RunLock | None = None
        decision: tuple[Path, Path | None] | UserError | None = None
        try:
            if process_rank() == 0:
                try:
                    start = choose_start(self.settings, resume, self.name)
                    lock = RunLock(start.folder)
                    lock.acquire()
                    decision = (start.folder.resolve(), self._prepare_folder(start, sharing))
                except UserError as error:
                    decision = error  # the others must not wait for what never comes
            decision = self.trainer.strategy.broadcast(decision)
            if isinstance(decision, UserError):
                raise decision
            assert decision is not None
            with self._end_recorded(*decision):
                return self._train(*decision, sharing)
        finally:
            if lock is not None:
                lock.release()

    def _end_recorded(self, folder: Path, checkpoint: Path | None) -> AbstractContextManager[None]:
        resumed = (checkpoint and step_of(checkpoint)) or 0
        return end_recorded(
            folder,
            # The Trainer counts from 0 until it has loaded the checkpoint, and for ever when nothing is left to do.
            step=lambda: max(resumed, self.trainer.global_step),
            total_steps=self.plan.horizon.total_steps,
            active=process_rank() == 0,
        )

    def _prepare_folder(self, start: Start, sharing: Sharing | None) -> Path | None:
        """Check the checkpoint, cut the curves back to it, write config and manifest."""
        shelf = start.folder / SHELF
        found = find_checkpoint(start)
        for reason in found.skipped:
            log.warning("passed over: %s", reason)
        step = check_resumable(found.path, self.module.card, self.settings.allow_changes) if found.path else None
        if start.source and step is not None and step >= self.plan.horizon.total_steps:
            raise CheckpointError(
                f"{found.path} has reached the end of this run already, so nothing is left to do in {start.folder}",
                got=f"step {step} of {self.plan.horizon.total_steps}",
                fix=f"Use {start.source} itself, or train longer with --trainer.max_steps {2 * step} "
                "--run.allow_changes '[trainer.max_steps]'.",
            )
        if process_rank() != 0:
            return found.path
        sweep(shelf)
        if start.continues:
            discard_after(shelf, -1 if step is None else step)
        if start.continues or start.source:
            cut_metrics(start.folder, -1 if step is None else step, start.source)
            cut_alerts(start.folder, -1 if step is None else step)
        write_text_durably(start.folder / CONFIG_FILE, dump_yaml(self.config))
        checkpoint, prefix = found.path, None
        if sharing is not None:
            prefix = sharing.choose(start.folder, step, [past.get("trajectory") for past in read_starts(start.folder)])
            checkpoint = found.path if prefix is None else prefix.checkpoint
        facts: dict[str, Any] = {
            "resumed_step": None if checkpoint is None else step_of(checkpoint),
            "resumed_from": None if checkpoint is None else str(checkpoint),
            "data_fingerprint": self.module.card["data_fingerprint"],
            "data": self._describe_data(),
            "total_steps": self.plan.horizon.total_steps,
            "parameters": self.module.config.num_parameters,
            "trajectory": None if sharing is None else sharing.trajectory.base,
            "reused_steps": 0 if sharing is None else sharing.reused_steps(prefix),
        }
        write_manifest(start.folder, command=command_line(), seed=self.seed, facts=facts)
        if found.path is not None:
            log.info("going on from step %d in %s", step, start.folder)
        return checkpoint

    def _describe_data(self) -> str:
        store = self.datamodule.open_store()
        return "prepared on the fly" if self.datamodule.on_the_fly else summarize(store.manifest)

    def _train(self, folder: Path, checkpoint: Path | None, sharing: Sharing | None) -> FitResult:
        resumed = step_of(checkpoint) if checkpoint else None
        prefix = None if sharing is None else sharing.prefix_of(checkpoint)
        if resumed is not None and resumed >= self.plan.horizon.total_steps:
            return self._finished(folder, resumed, sharing, prefix)
        trainer = self.trainer
        shown = -1 if resumed is None else resumed
        if sharing is not None:
            shown = sharing.first_shown(shown)
        observers = Observers(self, folder, resumed, shown, checkpoint)
        trainer.loggers = [*trainer.loggers, *observers.loggers]
        *callbacks, saving = self._training_callbacks(folder)
        add_callbacks(trainer, *callbacks, *observers.callbacks, saving)
        if sharing is not None:
            add_callbacks(trainer, sharing.prepare(prefix, folder, trainer.loggers))
        keep_freed_memory(trainer.strategy.root_device)
        with process_group_closed(), observers.watching():
            trainer.fit(self.module, datamodule=self.datamodule, ckpt_path=checkpoint)
        if sharing is not None and process_rank() == 0:
            sharing.finish(folder, prefix)
        return FitResult(
            folder,
            trainer.global_step,
            {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith(("val/", "eval/"))},
            resumed,
            executed_steps=trainer.global_step - (resumed or 0),
            reused_steps=0 if sharing is None else sharing.reused_steps(prefix),
        )

    def _finished(self, folder: Path, step: int, sharing: Sharing | None, prefix: Prefix | None) -> FitResult:
        """Nothing to train: the run had ended before, or others have done all of its steps."""
        if sharing is None:
            return FitResult(folder, step, resumed_step=step)
        if process_rank() == 0:
            sharing.finish(folder, prefix)
        return FitResult(
            folder, step, last_validation(folder), resumed_step=step, reused_steps=sharing.reused_steps(prefix)
        )

    def rehearse(self, folder: Path, steps: int, *observers: Callback) -> None:
        """Train some steps as ``fit`` would, without validation, checkpoints and a record of the run.

        Args:
            folder: Where the loggers write.
            steps: Optimizer steps; the lengths of the plan, and so the learning rates, stay as they are.
            observers: Further callbacks, run after all others.
        """
        trainer = self.trainer
        loop = trainer.fit_loop.epoch_loop
        loop.max_steps, loop.min_steps = steps, None
        trainer.limit_val_batches = 0
        trainer.loggers = [RunTensorBoard(folder), JsonLines(folder)]
        callbacks = [each for each in self._training_callbacks(folder) if not isinstance(each, (Saving, StatusLine))]
        add_callbacks(trainer, *callbacks, *observers)
        keep_freed_memory(trainer.strategy.root_device)
        with process_group_closed():
            trainer.fit(self.module, datamodule=self.datamodule)

    def _training_callbacks(self, folder: Path) -> list[Callback]:
        """Saving comes last, so that a checkpoint holds what the others did at its step."""
        horizon = self.plan.horizon
        windows = self.datamodule.windows_per_epoch()
        epoch = None if windows is None else windows * self.datamodule.block_size
        every = int(vars(self.trainer)["log_every_n_steps"])
        speed = build_speed(self)
        speed.measure_peak(self.trainer)
        saving = Saving(
            folder / SHELF, every_steps=self.plan.save_every, keep=self.settings.keep_checkpoints, stop=StopFlag()
        )
        self.datamodule.watch_waits(partial(saving.stop_waiting, self.trainer))
        return [
            StepSeed(self.seed),
            *self._ramp_callbacks(),
            MetricsLog(every_steps=every, speed=speed, tokens_per_epoch=epoch),
            StatusLine(horizon.tokens_before, choose_view(self.progress, sys.stderr, folder.name)),
            saving,
        ]

    def _ramp_callbacks(self) -> list[Callback]:
        sizes, data = self.plan.horizon.batch_sizes, self.datamodule
        if sizes is None:
            return []
        return [
            RampedAccumulation(sizes, MicroStep(data.block_size, data.batch_size, count_streams(self.trainer)).tokens)
        ]

    def validate(self, checkpoint: str | Path | None = None) -> dict[str, float]:
        """Metrics over the whole validation split: of a checkpoint, or of the weights in memory when None."""
        if not self.datamodule.has_validation():
            self.datamodule.open_store().split("val")  # says what is missing; the Trainer would do nothing
        return self._evaluate(self.trainer.validate, checkpoint)

    def test(self, checkpoint: str | Path | None = None) -> dict[str, float]:
        """Metrics over the whole test split."""
        return self._evaluate(self.trainer.test, checkpoint)

    def _evaluate(self, method: Any, checkpoint: str | Path | None) -> dict[str, float]:
        path = None if checkpoint is None else locate(checkpoint)
        add_callbacks(self.trainer, StepSeed(self.seed))
        with process_group_closed():
            method(self.module, datamodule=self.datamodule, ckpt_path=path, verbose=False)
        return {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    def predict(self, checkpoint: str | Path, output: Path) -> Path:
        """Write log-probabilities of every window of ``data.predict_split`` to ``output``, one JSON line each."""
        writer = PredictionFile(output, self.datamodule.open_store().tokenizer)
        add_callbacks(self.trainer, StepSeed(self.seed), writer)
        with process_group_closed():
            self.trainer.predict(
                self.module, datamodule=self.datamodule, ckpt_path=locate(checkpoint), return_predictions=False
            )
        return writer.path


def add_callbacks(trainer: Trainer, *callbacks: Callback) -> None:
    """Append to a Trainer that has not started; the last ones run last."""
    vars(trainer)["callbacks"].extend(callbacks)  # an attribute that Lightning sets without declaring it
