"""The loggers of a run folder: TensorBoard's event files and the same numbers as JSON lines.

Both continue one curve over resumes: points past the resumed step are purged (TensorBoard) or cut off (JSON lines),
so that no step appears twice. Neither writes hyper-parameters: the run folder holds the resolved configuration.

A disk that refuses a line ends the run, but not from inside a logger: only the first process writes, and the others
would wait for it for ever. So a logger keeps its ``problem`` and writes no more, and ``Saving`` finds it at the next
step border (``find_problem``), where all processes save and stop together.
"""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.fabric.loggers.logger import rank_zero_experiment
from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, TensorBoardLogger
from tensorboard.compat.proto.summary_pb2 import Summary
from torch.utils.tensorboard import SummaryWriter

from gpt_lightning.errors import MachineError
from gpt_lightning.tracking.patient import PatientFile, cannot_write, patient_event_files
from gpt_lightning.training.runs.run_folder import METRICS_FILE

TOKEN_AXIS = "by_tokens"


class RunTensorBoard(TensorBoardLogger):
    """TensorBoard events directly in a folder, continued from ``resumed_step``.

    Args:
        folder: Where the event file lies.
        resumed_step: Points behind this step are dropped by whoever reads; None = there are none.
    """

    def __init__(self, folder: Path, resumed_step: int | None = None) -> None:
        purge_step = None if resumed_step is None else resumed_step + 1
        super().__init__(str(folder), name="", version="", default_hp_metric=False, purge_step=purge_step)
        self._patient: list[PatientFile] = []

    @property
    def problem(self) -> MachineError | None:
        """What keeps it from writing."""
        return next((file.problem for file in self._patient if file.problem is not None), None)

    @property
    @rank_zero_experiment
    def experiment(self) -> SummaryWriter:
        """The stock class's writer, over a file that keeps its errors."""
        writer: SummaryWriter
        if self._experiment is not None:
            writer = super().experiment
            return writer
        with patient_event_files(Path(self.log_dir)) as begun:
            writer = super().experiment
        self._patient += begun
        return writer

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """A point: one event for all its values, where the stock class writes one for each."""
        values = [Summary.Value(tag=name, simple_value=float(value)) for name, value in metrics.items()]
        self.add_summary(Summary(value=values), step)

    @rank_zero_only
    def add_summary(self, summary: Summary, step: int | None) -> None:
        """Any other of TensorBoard's records."""
        self.experiment._get_file_writer().add_summary(summary, step)

    def save(self) -> None:
        """Flush; the stock class would also write an empty hparams.yaml."""
        if self._experiment is not None:
            self._experiment.flush()


class TokenAxis(RunTensorBoard):
    """Losses over training tokens, as a run of its own inside the run folder.

    Runs with other batch sizes are compared fairly so. Not in the run's own event file: a resume cuts that at a number
    of steps, whatever the names, and would cut all of these away. Under names of their own, since TensorBoard draws
    equal names of several runs into one chart, where steps and tokens would share an axis.

    Args:
        folder: The run folder.
        tokens_before: Training tokens of so many optimizer steps.
        resumed_step: As for ``RunTensorBoard``, in steps.
    """

    def __init__(self, folder: Path, tokens_before: Callable[[int], int], resumed_step: int | None = None) -> None:
        super().__init__(folder / TOKEN_AXIS, None if resumed_step is None else tokens_before(max(0, resumed_step)))
        self._tokens_before = tokens_before

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Those of the point's values that are worth comparing by tokens."""
        assert step is not None
        chosen = {
            f"{TOKEN_AXIS}/{name}": value
            for name, value in metrics.items()
            if name == "train/loss" or name.startswith("val/")
        }
        if chosen:
            super().log_metrics(chosen, self._tokens_before(step))


class RunLogger(Logger):
    """Base of loggers that take a run's points and nothing else: the folder names the run, config.yaml its settings."""

    @property
    def name(self) -> str:
        """By the class."""
        return type(self).__name__.strip("_").lower()

    @property
    def version(self) -> str:
        """Constant; the folder names the run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml holds them."""


class JsonLines(RunLogger):
    """One JSON object a line in ``metrics.jsonl``: step, seconds since the epoch, and the metrics.

    Floats are written with ``repr`` precision, so that two runs can be compared to the last bit.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / METRICS_FILE
        self.problem: MachineError | None = None

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one line; it is complete in the file when this returns, unless there is a ``problem``."""
        line = {"step": step, "time": round(time.time(), 3), **metrics}
        self._attempt(json.dumps(line) + "\n")

    @rank_zero_only
    def save(self) -> None:
        """Make the lines survive a power cut."""
        self._attempt("", durable=True)

    def _attempt(self, text: str, durable: bool = False) -> None:
        if self.problem is not None:
            return
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(text)
                if durable:
                    file.flush()
                    os.fsync(file.fileno())
        except OSError as error:
            self.problem = cannot_write(self._path, error)
