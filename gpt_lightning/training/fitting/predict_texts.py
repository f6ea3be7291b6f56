"""``predict`` with prompts: a file of them answered by all devices of a Trainer, into one file.

    process 0     opens the output, tells all which prompts are left, at the end puts the parts together
    process r     loads the whole model, answers every so-many-th of them into a part of its own

What a text is does not depend on who writes it (``generation.engine``), so the file is that of ``generate``, which can
also go on with it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from torch import Tensor
from torch.utils.data import DataLoader

from gpt_lightning.errors import ConfigError, RunFolderError, UserError
from gpt_lightning.generation.batch_files import AnswerFile, ProgressLine, Report, Tally, check_prompts
from gpt_lightning.generation.command import collect_settings
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.packing import pack
from gpt_lightning.generation.prompts import Prompt, read_prompts
from gpt_lightning.training.engine.processes import launched_from_outside, process_group_closed, process_rank
from gpt_lightning.training.engine.sharded_strategy import Sharded
from gpt_lightning.weights.loading import LoadedModel, load_model

PLACES = ("accelerator", "devices", "num_nodes", "strategy", "plugins")
"""Options of the Trainer that say where processes run. The others are of training; numbers are those of ``weights``."""


def answer_prompts(trainer: Trainer, checkpoint: str, given: Mapping[str, Any]) -> str:
    """Answer a file of prompts with every device of a Trainer.

    Args:
        trainer: Has not started; its strategy keeps a whole model in every process.
        checkpoint: What ``load_model`` takes.
        given: Arguments of ``generate_command`` by name, ``input`` and ``output`` among them.

    Returns:
        A line that says what was done.

    Raises:
        ConfigError: A setting is out of range, or the strategy shares one model out.
        UserError: The prompts cannot be read, the output not written, or the model not loaded.
    """
    if isinstance(trainer.strategy, Sharded):
        raise ConfigError(
            "every device writes texts of its own and needs the whole model",
            got=type(trainer.strategy).__name__,
            allowed="auto, ddp",
            fix="Say --trainer.strategy ddp.",
        )
    settings = collect_settings(dict(given))
    loaded = load_model(checkpoint)
    prompts = read_prompts(Path(given["input"]), loaded.tokenizer, settings)
    check_prompts(Engine(loaded.model, loaded.tokenizer, slots=given["slots"]), prompts)
    origin = {"checkpoint": str(loaded.path.resolve()), "weights": given["weights"]}
    file = AnswerFile(Path(given["output"]), prompts, origin)
    if process_rank() == 0 and not launched_from_outside():
        file.check()  # before other processes are started
    module = Answering(loaded, prompts, file, slots=given["slots"], weights=given["weights"])
    # One batch for each process; what it answers is settled when all are connected.
    loader: DataLoader[int] = DataLoader([0])  # type: ignore[arg-type]
    with process_group_closed():
        trainer.predict(module, loader, return_predictions=False)
    before = f" ({module.done_before:,} of them before)" if module.done_before else ""
    return f"{len(prompts):,} {'prompt' if len(prompts) == 1 else 'prompts'} answered{before}: {file.output}"


class Answering(LightningModule):
    """One process of several that answer prompts.

    Args:
        loaded: The model, whole.
        prompts: All of them.
        file: Where the answers go.
        slots: Texts written at once by each process.
        weights: As ``packing.pack`` takes.

    Attributes:
        done_before: Prompts that an earlier start has answered.
    """

    def __init__(
        self, loaded: LoadedModel, prompts: list[Prompt], file: AnswerFile, *, slots: int, weights: str
    ) -> None:
        super().__init__()
        self.model, self.done_before = loaded.model, 0
        self._tokenizer, self._prompts, self._file = loaded.tokenizer, prompts, file
        self._slots, self._weights = slots, weights
        self._parent = os.getppid()

    def predict_step(self, batch: Tensor, batch_idx: int) -> int:
        """Everything this process has to do; how many prompts that were."""
        engine = Engine(pack(self.model, self._weights), self._tokenizer, slots=self._slots)
        left = self._open()
        self.done_before = len(self._prompts) - len(left)
        try:
            rank, world = self.global_rank, self.trainer.world_size
            mine = left[rank::world]
            self._answer(engine, rank, mine, _choose_report(rank, world))
            self.trainer.strategy.barrier()
            if rank == 0:
                for _ in self._file.write():
                    pass
            return len(mine)
        finally:
            self._file.close()

    def _open(self) -> list[int]:
        """Numbers of the prompts that are left, the same for all: the first process looks while the others wait."""
        found: list[int] | UserError | None = None
        if self.global_rank == 0:
            try:
                found = self._file.begin()
            except UserError as error:
                found = error  # the others must not wait for what never comes
        found = self.trainer.strategy.broadcast(found)
        if isinstance(found, UserError):
            raise found
        assert found is not None
        return found

    def _answer(self, engine: Engine, rank: int, numbers: list[int], report: Report) -> None:
        tally = Tally()
        for done in self._file.write_part(rank, tally.lines(engine, self._prompts, numbers)):
            report(done, len(numbers), tally.tokens)
            # Whoever started this process was killed: its next start must find the part free.
            if os.getppid() != self._parent:
                raise RunFolderError("the process that started this one is gone", fix="Start the command again.")


def _choose_report(rank: int, world: int) -> Report:
    if rank:
        return _say_nothing
    return ProgressLine(f" of process 1 of {world}" if world > 1 else "")


def _say_nothing(done: int, total: int, tokens: int) -> None:
    """One process reports; with equal shares the others stand where it does."""
