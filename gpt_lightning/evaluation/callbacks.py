"""Benchmarks while a model is trained: ``TaskScores`` among ``trainer.callbacks``.

    trainer:
      callbacks:
        - class_path: gpt_lightning.evaluation.callbacks.TaskScores
          init_args: {tasks: [tnews, my_task.yaml], data: benchmarks, limit: 200}

Training does not notice. The scores are taken inside a validation, with the weights that are validated (their running
mean, where one is kept); nothing is drawn from a generator that training uses, and no weight, buffer or counter
changes. A run with the callback has the same losses and checkpoints, bit for bit, as without (tested).
"""

from __future__ import annotations

import contextlib
from dataclasses import replace
from pathlib import Path

import torch
from lightning.pytorch import Callback, LightningModule, Trainer
from lightning.pytorch.strategies import DDPStrategy, SingleDeviceStrategy
from lightning.pytorch.trainer.states import TrainerFn

from gpt_lightning.errors import ConfigError
from gpt_lightning.evaluation.kinds.task_files import read_tasks
from gpt_lightning.evaluation.kinds.tasks import Asking
from gpt_lightning.evaluation.outcomes.results import Evaluation
from gpt_lightning.training.loading.datamodule import TokenDataModule
from gpt_lightning.training.modules.module import GPTModule
from gpt_lightning.weights.loading import LoadedModel


class TaskScores(Callback):
    """Scores of tasks at validations, logged as ``eval/<task>/<metric>``; a sweep can optimize them.

    Several processes share the questions. Between two turns the last scores stand.

    Args:
        tasks: Names of tasks that come with the package (``gpt-lightning evaluate list``), or paths of YAML files.
        data: Folder of the tasks' data; null = that of each task's YAML file.
        every_steps: Take scores only at validations whose step is a multiple of it, and at the last step.
        shots: Solved examples before each question.
        seed: Which examples are shown.
        limit: Ask only so many questions of each task; null = all.
        begin: eot: end-of-text before each prompt, as in training; none: only before an empty one.

    Raises:
        UserError: A task or its data cannot be read, or a value is out of range.
    """

    def __init__(
        self,
        tasks: list[str],
        data: str | None = None,
        every_steps: int = 1,
        shots: int = 0,
        seed: int = 0,
        limit: int | None = None,
        begin: str = "eot",
    ) -> None:
        if every_steps < 1:
            raise ConfigError("every_steps counts optimizer steps", got=every_steps, allowed="1 or more")
        folder = None if data is None else Path(data).expanduser()
        self._asking = Asking(folder, shots, seed, limit, begin)
        self._tasks, self._every_steps = read_tasks(tasks), every_steps
        for task in self._tasks:
            task.check(self._asking)

    def on_fit_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Every process must hold all weights, since each asks other questions."""
        if not isinstance(trainer.strategy, (SingleDeviceStrategy, DDPStrategy)):
            raise ConfigError(
                "TaskScores needs every process to hold all weights",
                got=type(trainer.strategy).__name__,
                allowed="one device, or DDP",
                fix="Leave it out, and run gpt-lightning evaluate tasks on the checkpoints.",
            )

    def on_validation_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Ask, and publish: to loggers, and under ``trainer.callback_metrics``."""
        step = trainer.global_step
        fitting = trainer.state.fn == TrainerFn.FITTING
        if trainer.sanity_checking or (fitting and step % self._every_steps and step < trainer.max_steps):
            return
        assert isinstance(pl_module, GPTModule)
        values = self._ask(trainer, pl_module)
        pl_module.log_dict(values, logger=False, sync_dist=False)
        if trainer.is_global_zero and fitting:
            for logger in trainer.loggers:
                logger.log_metrics(values, step=step)

    def _ask(self, trainer: Trainer, module: GPTModule) -> dict[str, float]:
        data = getattr(trainer, "datamodule", None)
        assert isinstance(data, TokenDataModule)
        step = f"step {trainer.global_step}"
        loaded = LoadedModel(module.model, module.text_tokenizer, module.card, Path(step))
        asking = replace(self._asking, part=(trainer.global_rank, trainer.world_size))
        values: dict[str, float] = {}
        # Questions have many shapes; a compiled model would be compiled anew for each.
        eager = torch.compiler.set_stance("force_eager") if module.model.is_compiled else contextlib.nullcontext()
        with eager:
            for task in self._tasks:
                found = _put_together(trainer, task.run(loaded, asking))
                values |= {f"eval/{task.files.name}/{name}": value for name, value in found.items()}
        return values


def _put_together(trainer: Trainer, evaluation: Evaluation) -> dict[str, float]:
    """Scores over the items of all processes: their sums add up."""
    results: dict[str, float] = {}
    for measure in evaluation.measures:
        sums = torch.from_numpy(evaluation.rows(measure).sum(axis=0)).to(trainer.strategy.root_device)
        if trainer.world_size > 1:
            sums = trainer.strategy.reduce(sums, reduce_op="sum")
        values = measure.build().compute(sums.cpu().numpy())
        results |= {measure.label(name): value for name, value in values.items()}
    return results
