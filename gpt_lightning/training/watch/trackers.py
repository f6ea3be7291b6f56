"""Other places that a run's numbers go to, beside TensorBoard and JSON lines: one line of YAML each.

    monitor: {trackers: [CSV]}                                                     metrics.csv in the run folder
    monitor: {trackers: [{class_path: WandB, init_args: {offline: true}}]}         pip install 'gpt-lightning[wandb]'
    monitor: {trackers: [MLflow]}                                                  pip install 'gpt-lightning[mlflow]'

Each is Lightning's own logger, put into the run folder, told the resolved configuration, and going on with the same
curve after a resume. ``trainer.logger`` still takes any logger of Lightning, instead of TensorBoard; this list is in
addition to it. (With the stock CLI, MLflow in a database fails: Lightning saves the configuration into the logger's
folder, which there is none of. Here the configuration lies in the run folder.)
"""

from __future__ import annotations

import csv
import hashlib
import io
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from lightning.fabric.utilities.rank_zero import rank_zero_only
from lightning.pytorch.loggers import Logger

from gpt_lightning.errors import ConfigError
from gpt_lightning.files.atomic import write_text_atomically
from gpt_lightning.parsing.strict_yaml import flatten
from gpt_lightning.training.watch.loggers import RunLogger

_CSV_FILE = "metrics.csv"
_HEADER = ("step", "time", "name", "value")


class Tracker(ABC):
    """Somebody else who keeps the numbers of runs."""

    @classmethod
    def describe_reach(cls, settings: Mapping[str, Any]) -> str:
        """What it sends where, for whoever has to allow it: a verb and its object; empty = it writes files here.

        Args:
            settings: Arguments of the class by name.
        """
        return ""

    def check(self) -> None:  # noqa: B027 (most need nothing)
        """Refuse what cannot work, before anything is trained.

        Raises:
            ConfigError: A package is missing.
        """

    @abstractmethod
    def attach(self, folder: Path, config: Mapping[str, Any], last_step: int) -> Logger:
        """A logger for one start of a run.

        Args:
            folder: The run folder.
            config: The resolved configuration.
            last_step: What was logged behind this step does not count; -1 = nothing counts.
        """

    def end(self, logger: Logger, *, succeeded: bool) -> None:  # noqa: B027 (most have nothing to end)
        """The start is over; Lightning has finalized the logger already."""


class CSV(Tracker):
    """``metrics.csv`` in the run folder: step, time (seconds since the epoch), name, value; a row for each number.

    Long rather than wide: validation and training have other columns, and a wide file would be rewritten for each new
    one. pandas: ``read_csv(...).pivot_table(index="step", columns="name", values="value")``.
    """

    def attach(self, folder: Path, config: Mapping[str, Any], last_step: int) -> Logger:
        """Cut the file back to ``last_step``, and append from there."""
        return _CsvLogger(folder / _CSV_FILE, last_step)


class _CsvLogger(RunLogger):
    def __init__(self, path: Path, last_step: int) -> None:
        super().__init__()
        self._path = path
        kept = [row for row in read_csv(path) if int(row["step"]) <= last_step]
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, _HEADER)
        writer.writeheader()
        writer.writerows(kept)
        write_text_atomically(path, text.getvalue())

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        now = round(time.time(), 3)
        with self._path.open("a", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows((step, now, name, repr(value)) for name, value in metrics.items())


def read_csv(path: Path) -> list[dict[str, str]]:
    """The rows of a ``metrics.csv``; one that was cut off by a kill is left out."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [row for row in rows if None not in row.values() and row["step"].isdigit()]


class WandB(Tracker):
    """Weights & Biases.

    Args:
        project: Where runs are gathered.
        offline: Write into the run folder alone and use no network; ``wandb sync`` sends it later.
        entity: Team or user; null = the account's own.
        tags: Of the run.
    """

    def __init__(
        self,
        project: str = "gpt_lightning",
        offline: bool = False,
        entity: str | None = None,
        tags: list[str] | None = None,
    ) -> None:
        self._project, self._offline, self._entity, self._tags = project, offline, entity, tags

    @classmethod
    def describe_reach(cls, settings: Mapping[str, Any]) -> str:
        """W&B's server, unless ``offline``."""
        return "" if settings.get("offline") else "sends the numbers and settings of the run to Weights & Biases"

    def check(self) -> None:
        """The package must be there."""
        _need("wandb", "wandb")

    def attach(self, folder: Path, config: Mapping[str, Any], last_step: int) -> Logger:
        """The run of this folder: a second start goes on with it."""
        from lightning.pytorch.loggers import WandbLogger

        return WandbLogger(
            name=folder.name,
            save_dir=folder,
            project=self._project,
            offline=self._offline,
            id=_identify(folder),
            resume="allow",
            entity=self._entity,
            tags=self._tags,
            config=dict(config),
        )

    def end(self, logger: Logger, *, succeeded: bool) -> None:
        """End W&B's run: the next one of this process is another."""
        logger.experiment.finish(exit_code=0 if succeeded else 1)  # type: ignore[attr-defined]


class MLflow(Tracker):
    """MLflow.

    Args:
        experiment: Where runs are gathered.
        uri: Server or database; null = ``mlflow.db`` beside the run folders. (MLflow 3 refuses plain folders.)
    """

    def __init__(self, experiment: str = "gpt_lightning", uri: str | None = None) -> None:
        self._experiment, self._uri = experiment, uri

    @classmethod
    def describe_reach(cls, settings: Mapping[str, Any]) -> str:
        """The server, unless ``uri`` is a file of this machine."""
        uri = settings.get("uri")
        local = uri is None or urlsplit(uri).scheme in ("", "file", "sqlite")
        return "" if local else f"sends the numbers and settings of the run to {uri}"

    def check(self) -> None:
        """The packages must be there."""
        for package in ("mlflow", "sqlalchemy", "alembic"):
            _need(package, "mlflow")

    def attach(self, folder: Path, config: Mapping[str, Any], last_step: int) -> Logger:
        """The run of this folder: a second start goes on with it."""
        from lightning.pytorch.loggers import MLFlowLogger

        note = folder / "mlflow_run.txt"
        logger = MLFlowLogger(
            experiment_name=self._experiment,
            run_name=folder.name,
            tracking_uri=self._uri or f"sqlite:///{folder.resolve().parent / 'mlflow.db'}",
            artifact_location=str(folder.resolve().parent / "mlflow_artifacts") if self._uri is None else None,
            run_id=note.read_text(encoding="utf-8").strip() if note.exists() else None,
        )
        if not note.exists():
            logger.log_hyperparams(flatten(config))
            note.write_text(f"{logger.run_id}\n", encoding="utf-8")
        return logger


def _need(package: str, extra: str) -> None:
    if find_spec(package) is None:
        raise ConfigError(
            f"monitor.trackers needs the package {package}, which is not installed",
            fix=f"pip install 'gpt-lightning[{extra}]'",
        )


def _identify(folder: Path) -> str:
    """The same for every start in this folder, and for no other folder."""
    return hashlib.sha256(str(folder.resolve()).encode()).hexdigest()[:16]
