"""``Run``: a trainer, a module and a datamodule that belong together, and what can be done with them."""

from __future__ import annotations

import logging
import sys
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import Callback, Trainer

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR, locate
from gpt_lightning.checkpoints.durable import read_manifest, step_of
from gpt_lightning.checkpoints.prefixes import Prefix
from gpt_lightning.errors import ConfigError, StopRequested, UserError
from gpt_lightning.tracking.patient import cannot_write
from gpt_lightning.tracking.terminal import choose_view, in_notebook
from gpt_lightning.training.callbacks.metrics_log import MetricsLog
from gpt_lightning.training.callbacks.prediction_file import PredictionFile
from gpt_lightning.training.callbacks.saving import Saving, describe_part
from gpt_lightning.training.callbacks.status_line import StatusLine
from gpt_lightning.training.callbacks.steps import RampedAccumulation, StepSeed
from gpt_lightning.training.engine.process_memory import keep_freed_memory
from gpt_lightning.training.engine.processes import (
    StopFlag,
    connect_processes,
    connects,
    launches_all,
    process_group_closed,
    process_rank,
)
from gpt_lightning.training.engine.sharding import count_streams
from gpt_lightning.training.fitting.beginning import prepare_folder
from gpt_lightning.training.fitting.memory_limit import check_memory, memory_told
from gpt_lightning.training.fitting.observers import RunLoggers, build_speed
from gpt_lightning.training.fitting.reference import attach_reference
from gpt_lightning.training.parts import RunParts
from gpt_lightning.training.reuse.reuse import PrefixReuse, Reuse, last_validation
from gpt_lightning.training.runs.lengths import MicroStep
from gpt_lightning.training.runs.run_folder import RUNS, RunLock
from gpt_lightning.training.runs.run_status import EarlyEnd, end_recorded, explain_early_end
from gpt_lightning.training.runs.start import Decision, check_same_view, choose_start
from gpt_lightning.training.watch.loggers import JsonLines, RunTensorBoard
from gpt_lightning.weights.adapted import find_base, names_base

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
        ended: Why it ended before its last step; None = it has reached that.
    """

    folder: Path
    step: int
    metrics: dict[str, float] = field(default_factory=dict)
    resumed_step: int | None = None
    executed_steps: int = 0
    reused_steps: int = 0
    ended: EarlyEnd | None = None


@dataclass
class Run(RunParts):
    """One configured run; made by ``training.build.build``."""

    _stop: StopFlag = field(default_factory=StopFlag)
    _folder: Path | None = None

    def fit(self, resume: str = "never", reuse: Reuse | None = None) -> FitResult:
        """Train to the end of the plan.

        Args:
            resume: never, auto, or the path of a run folder or checkpoint.
            reuse: Where to find and leave steps that other runs share; None = do all steps. Not with a path.

        Raises:
            UserError: A setting, the data, a checkpoint or the folder does not fit, or training had to stop.
            StopRequested: A signal asked to stop; the state is saved. In a notebook an interrupt returns instead.
        """
        if reuse is not None and resume not in ("never", "auto"):
            raise ConfigError(
                "A run that goes on from a checkpoint named by path cannot share its work",
                got=resume,
                allowed="--resume never or auto",
                fix="Leave out --resume PATH, or reuse.",
            )
        try:
            check_memory(self)
            sharing = None if reuse is None else PrefixReuse(reuse, self)
            return self._fit(resume, sharing)
        except StopRequested as stop:
            if not (in_notebook() and stop.signal_name == "SIGINT"):
                raise
            return self._interrupted(stop)
        finally:
            self.datamodule.close()

    def _interrupted(self, stop: StopRequested) -> FitResult:
        """What a cell gets that was stopped: the kernel goes on, and with it the run when it is asked to."""
        log.warning("%s; go on with the same settings and fit(resume='auto')", stop)
        fix = "Build it again with the same settings, and fit(resume='auto')."
        assert self._folder is not None, "signals are caught once the folder is known"
        return FitResult(self._folder, stop.step, ended=EarlyEnd(str(stop), state="stopped", fix=fix))

    def _fit(self, resume: str, sharing: PrefixReuse | None) -> FitResult:
        """The first process decides where to write and what to go on from, holds the lock, and tells the others."""
        with ExitStack() as stack:
            first = process_rank() == 0
            decision = self._decide(stack, resume, sharing) if first else None
            if isinstance(decision, UserError) and (launches_all(self.trainer) or not connects(self.trainer)):
                raise decision  # nobody waits for it
            if connects(self.trainer):
                stack.enter_context(process_group_closed())
                connect_processes(self.trainer, self.module)
                decision = self._agree(decision)
            assert isinstance(decision, Decision)
            self._folder = decision.folder
            if decision.weights is not None:
                self.begin_with(decision.weights)
            resumed = (decision.checkpoint and step_of(decision.checkpoint)) or 0
            stack.enter_context(self._stop.installed(step=resumed, announce=first))
            stack.enter_context(self._end_recorded(decision.folder, resumed))
            return self._train(decision.folder, decision.checkpoint, sharing)

    def _decide(self, stack: ExitStack, resume: str, sharing: PrefixReuse | None) -> Decision | UserError:
        """As the first process; an error is returned, since others may have to be told."""
        try:
            start = choose_start(self.settings, resume, self.name)
            lock = RunLock(start.folder)
            lock.acquire()
            stack.callback(lock.release)
            return prepare_folder(self, start, sharing)
        except UserError as error:
            return error
        except OSError as error:
            return cannot_write(Path(error.filename or self.settings.dir or RUNS), error)

    def _agree(self, decision: Decision | UserError | None) -> Decision:
        """The decision of the first process, on all of them.

        Raises:
            UserError: The first process came to none, or a process does not see what it saw.
        """
        told = self.trainer.strategy.broadcast(decision.resolve() if isinstance(decision, Decision) else decision)
        if isinstance(told, UserError):
            raise told
        assert told is not None
        problems: list[str | None] = [None] * self.trainer.world_size
        torch.distributed.all_gather_object(problems, told.compare())
        check_same_view(problems)
        return decision if isinstance(decision, Decision) else told

    def _end_recorded(self, folder: Path, resumed: int) -> AbstractContextManager[None]:
        return end_recorded(
            folder,
            # The Trainer counts from 0 until it has loaded the checkpoint, and for ever when nothing is left to do.
            step=lambda: max(resumed, self.trainer.global_step),
            total_steps=self.plan.horizon.total_steps,
            active=process_rank() == 0,
            why=self._why_early,
        )

    def _why_early(self) -> EarlyEnd:
        return explain_early_end(self.trainer, self.config["trainer"].get("max_time"))

    def _train(self, folder: Path, checkpoint: Path | None, sharing: PrefixReuse | None) -> FitResult:
        resumed = step_of(checkpoint) if checkpoint else None
        prefix = None if sharing is None else sharing.prefix_of(checkpoint)
        if resumed is not None and resumed >= self.plan.horizon.total_steps:
            return self._finished(folder, resumed, sharing, prefix)
        attach_reference(self, folder)
        trainer = self.trainer
        shown = -1 if resumed is None else resumed
        if sharing is not None:
            shown = sharing.first_shown(shown)
        observers = RunLoggers(self, folder, resumed, shown, checkpoint)
        trainer.loggers = [*trainer.loggers, *observers.loggers]
        *callbacks, saving = self._training_callbacks(folder)
        add_callbacks(trainer, *callbacks, *observers.callbacks, saving)
        if sharing is not None:
            add_callbacks(trainer, sharing.prepare(prefix, folder, trainer.loggers))
        keep_freed_memory(trainer.strategy.root_device)
        with process_group_closed(), observers.watching(self._why_early), memory_told(self):
            trainer.fit(self.module, datamodule=self.datamodule, ckpt_path=checkpoint)
        if sharing is not None and process_rank() == 0:
            sharing.finish(folder, prefix)
        done = trainer.global_step >= self.plan.horizon.total_steps
        return FitResult(
            folder,
            trainer.global_step,
            {name: float(v) for name, v in trainer.callback_metrics.items() if name.startswith(("val/", "eval/"))},
            resumed,
            executed_steps=trainer.global_step - (resumed or 0),
            reused_steps=0 if sharing is None else sharing.reused_steps(prefix),
            ended=None if done else self._why_early(),
        )

    def _finished(self, folder: Path, step: int, sharing: PrefixReuse | None, prefix: Prefix | None) -> FitResult:
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
        with process_group_closed(), memory_told(self):
            trainer.fit(self.module, datamodule=self.datamodule)

    def _training_callbacks(self, folder: Path) -> list[Callback]:
        """Saving comes last, so that a checkpoint holds what the others did at its step; the log of metrics first."""
        horizon = self.plan.horizon
        windows = self.datamodule.windows_per_epoch()
        epoch = None if windows is None else windows * self.datamodule.block_size
        every = int(vars(self.trainer)["log_every_n_steps"])
        speed = build_speed(self)
        speed.measure_peak(self.trainer)
        saving = Saving(
            folder / CHECKPOINTS_DIR,
            every_steps=self.plan.save_every,
            keep=self.settings.keep_checkpoints,
            stop=self._stop,
            part=describe_part(self.trainer.limit_val_batches, self.datamodule.eval_batch_size),
        )
        self.datamodule.watch_waits(partial(saving.stop_waiting, self.trainer))
        vars(self.trainer)["callbacks"].insert(0, MetricsLog(every_steps=every, speed=speed, tokens_per_epoch=epoch))
        return [
            StepSeed(self.seed),
            *self._ramp_callbacks(),
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
        path = None if checkpoint is None else self._locate(checkpoint)
        add_callbacks(self.trainer, StepSeed(self.seed))
        with process_group_closed(), memory_told(self):
            method(self.module, datamodule=self.datamodule, ckpt_path=path, verbose=False)
        return {name: float(value) for name, value in self.trainer.callback_metrics.items()}

    def _locate(self, checkpoint: str | Path) -> Path:
        """The checkpoint; the base that it was trained beside is read."""
        path = locate(checkpoint)
        facts = read_manifest(path)["facts"]
        if names_base(facts):
            self.begin_with(find_base(path, facts))
        attach_reference(self, path.parent.parent)
        return path

    def predict(self, checkpoint: str | Path, output: Path) -> Path:
        """Write log-probabilities of every window of ``data.predict_split``, or labels of its texts, to ``output``."""
        use = self.module.objective.describe_use(self.module.context)
        writer = PredictionFile(output, self.module.text_tokenizer, use)
        add_callbacks(self.trainer, StepSeed(self.seed), writer)
        with process_group_closed(), memory_told(self):
            self.trainer.predict(
                self.module, datamodule=self.datamodule, ckpt_path=self._locate(checkpoint), return_predictions=False
            )
        return writer.path


def add_callbacks(trainer: Trainer, *callbacks: Callback) -> None:
    """Append to a Trainer that has not started; the last ones run last."""
    vars(trainer)["callbacks"].extend(callbacks)  # an attribute that Lightning sets without declaring it
