"""What a task is: rows of a file turned into questions to a model, and the scores of its answers."""

from __future__ import annotations

import random
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, ClassVar

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.evaluation.kinds.rows import RECORDS, Row, RowFormat
from gpt_lightning.evaluation.outcomes.results import Evaluation
from gpt_lightning.weights.loading import LoadedModel


@dataclass(frozen=True)
class Asking:
    """How a task is put to a model.

    Attributes:
        data: Folder of the task's files; None = where its YAML lies.
        shots: Solved examples before each question.
        seed: Which examples.
        limit: Ask only so many rows; None = all.
        begin: ``eot``: end-of-text before each prompt, as in training; ``none``: only before an empty one.
        max_tokens: Of a forward pass; changes time and memory only.
        part: Ask every ``part[1]``-th row from row ``part[0]`` on; for several processes.
    """

    data: Path | None = None
    shots: int = 0
    seed: int = 0
    limit: int | None = None
    begin: str = "eot"
    max_tokens: int = 4096
    part: tuple[int, int] = (0, 1)

    def take(self, rows: list[Row]) -> list[Row]:
        """This process's part."""
        return rows[self.part[0] :: self.part[1]]

    def __post_init__(self) -> None:
        for name, value, least in (
            ("shots", self.shots, 0),
            ("limit", self.limit, 1),
            ("max_tokens", self.max_tokens, 1),
        ):
            if value is not None and value < least:
                raise ConfigError(f"{name} is a count", got=value, allowed=f"{least} or more")
        if self.begin not in ("eot", "none"):
            raise ConfigError("No such beginning of a prompt", got=self.begin, allowed="eot, none")


@dataclass
class TaskFiles:
    """The files of a task and what is known about it; shared by every kind.

    Args:
        name: Short name, in files and logs.
        data: File of the questions, relative to the folder of data.
        description: What is asked, and the metric that counts.
        data_from: Where the files come from, for people; shown when one is missing.
        format: How a file is divided into rows.
        examples: File of solved examples for few-shot prompts; None = taken from ``data`` and not asked.
        published: Numbers of others: ``{who, metric, value, source}``.
    """

    name: str
    data: str
    description: str = ""
    data_from: str = ""
    format: RowFormat = RECORDS
    examples: str | None = None
    published: Sequence[Mapping[str, Any]] = field(default_factory=list)

    def read(self, asking: Asking, home: Path) -> tuple[list[Row], list[Row]]:
        """Questions, and solved examples if any are wanted.

        Args:
            asking: Folder, limits, seed.
            home: Folder of the task's own file.

        Raises:
            DataError: A file is missing or broken, or there are too few rows.
        """
        rows = [row for row in self.format.read(self.find(self.data, asking, home)) if self.keep(row)]
        shots: list[Row] = []
        if asking.shots:
            pool = rows
            if self.examples is not None:
                pool = [row for row in self.format.read(self.find(self.examples, asking, home)) if self.keep(row)]
            if len(pool) < asking.shots + (self.examples is None):
                raise DataError(
                    f"{self.name} has too few rows for so many examples", got=asking.shots, allowed=f"below {len(pool)}"
                )
            shots = random.Random(asking.seed).sample(pool, asking.shots)
            if self.examples is None:
                taken = {id(row) for row in shots}
                rows = [row for row in rows if id(row) not in taken]
        rows = list(islice(rows, asking.limit))
        if not rows:
            raise DataError(f"{self.name}: {self.data} has no rows", fix="Check the file.")
        return rows, shots

    def keep(self, row: Row) -> bool:
        """Whether a row is asked."""
        return True

    def find(self, name: str, asking: Asking, home: Path) -> Path:
        """A file of the task.

        Raises:
            DataError: It is not there; says where it comes from.
        """
        path = (home if asking.data is None else asking.data) / name
        if not path.is_file():
            where = f" The data: {self.data_from}." if self.data_from else ""
            raise DataError(
                f"{self.name} needs the file {path}, which is not there",
                fix=f"Put it there, or name the folder with --data.{where}",
            )
        return path


class Task(ABC):
    """A benchmark.

    Attributes:
        files: Its files, name and published numbers.
        home: Folder of the file that describes it.
        without: Settings of ``TaskFiles`` that this kind has no use for.
    """

    files: TaskFiles
    home: Path = Path()
    without: ClassVar[Sequence[str]] = ()

    @abstractmethod
    def run(self, loaded: LoadedModel, asking: Asking) -> Evaluation:
        """Ask a model everything.

        Raises:
            DataError: The files do not fit the task.
        """

    @abstractmethod
    def list_texts(self, asking: Asking) -> list[tuple[str, str, str]]:
        """Name, key and solved text of every question, as a training text would have it."""

    def check(self, asking: Asking) -> None:
        """Refuse what cannot be asked, before a model is loaded.

        Raises:
            UserError: A file is missing or broken, or a setting does not fit the task.
        """
        self.files.read(asking, self.home)

    def settings(self, asking: Asking) -> dict[str, Any]:
        """What the numbers depend on, for the record."""
        known = {"shots": asking.shots, "begin": asking.begin}
        if asking.shots:
            known["seed"] = asking.seed
        if asking.limit is not None:
            known["limit"] = asking.limit
        return known
