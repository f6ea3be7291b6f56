"""The two loggers of a run folder: TensorBoard's event file and the same numbers as JSON lines.

Both continue one curve over resumes: points past the resumed step are purged (TensorBoard) or cut off (JSON lines),
so that no step appears twice. Neither writes hyper-parameters: the run folder holds the resolved configuration.
"""

from __future__ import annotations

import json
import os
import time
from argparse import Namespace
from pathlib import Path
from typing import Any

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger, TensorBoardLogger

METRICS_FILE = "metrics.jsonl"


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


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's ``metrics.jsonl``; a last line cut off by a kill is left out."""
    path = folder / METRICS_FILE
    records = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else []:
        try:
            records.append(json.loads(line))
        except ValueError:
            break
    return records


def cut_metrics(folder: Path, last_step: int, source: Path | None = None) -> None:
    """Keep only the lines up to ``last_step``; with ``source``, those of another run folder (a branch)."""
    kept = [record for record in read_metrics(source or folder) if record["step"] <= last_step]
    temporary = folder / f".{METRICS_FILE}"
    temporary.write_text("".join(json.dumps(record) + "\n" for record in kept), encoding="utf-8")
    os.replace(temporary, folder / METRICS_FILE)
