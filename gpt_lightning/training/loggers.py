"""The two loggers of a run folder: TensorBoard's event file and the same numbers as JSON lines.

Both continue one curve over resumes: points past the resumed step are purged (TensorBoard) or cut off (JSON lines),
so that no step appears twice. Neither writes hyper-parameters: the run folder holds the resolved configuration.
"""

from __future__ import annotations

import json
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, TensorBoardLogger

from gpt_lightning.training.metrics_file import METRICS_FILE


class RunTensorBoard(TensorBoardLogger):
    """TensorBoard events directly in the run folder, continued from ``resumed_step``."""

    def __init__(self, folder: Path, resumed_step: int | None = None) -> None:
        purge_step = None if resumed_step is None else resumed_step + 1
        super().__init__(str(folder), name="", version="", default_hp_metric=False, purge_step=purge_step)

    def save(self) -> None:
        """Flush; the stock class would also write an empty hparams.yaml."""
        if self._experiment is not None:
            self._experiment.flush()


class JsonLines(Logger):
    """One JSON object a line in ``metrics.jsonl``: step, seconds since the epoch, and the metrics.

    Floats are written with ``repr`` precision, so that two runs can be compared to the last bit.
    """

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._path = folder / METRICS_FILE

    @property
    def name(self) -> str:
        """Constant; the folder names the run."""
        return "jsonl"

    @property
    def version(self) -> str:
        """Constant; the folder names the run."""
        return ""

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Nothing: config.yaml holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        """Append one line; it is complete in the file when this returns."""
        line = {"step": step, "time": round(time.time(), 3), **metrics}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
