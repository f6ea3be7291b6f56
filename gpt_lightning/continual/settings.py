"""The file of a continual run: what it says, and the commented one that ``continual init`` writes."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from gpt_lightning.continual.gate import Gate
from gpt_lightning.errors import ConfigError
from gpt_lightning.feedback.datasets import Rules
from gpt_lightning.parsing.parser import StrictParser
from gpt_lightning.parsing.strict_yaml import read_yaml

TASKS = {
    "conversations": ("Conversation", "SFT"),
    "preferences": ("Preference", "DPO"),
    "ratings": ("Rated", "KTO"),
}
"""Kind of rows -> how they are laid out, and what is learned of them."""
TEMPLATE = """\
# Learn from feedback, again and again: gpt-lightning continual run {file}
base: {name}@production        # what training begins with: a registered model, and an alias or a version of it
feedback: feedback.db          # file of serve --feedback; or data: a folder of feedback build
kind: conversations            # corrections (conversations), pairs (preferences) or thumbs (ratings)
min_rows: 20                   # fewer new rows than this are not worth a round
rules: {{gate_fraction: 0.2, rows_per_user: 100, rating_gap: 1.0}}     # as of feedback build
replay:                        # what the model knew, repeated so that it is not forgotten; null = nothing
  source: base.txt             # texts, or rows (.jsonl) such as those of the feedback: files, folders, globs
  share: 0.5                   # of the training windows
  rows: 10000                  # at most so many pieces of it, chosen by their hash
fit:                           # settings of fit; what is not said: LoRA, the base's tokenizer and block size
  trainer: {{max_steps: 200}}
  model:
    optimizer: {{lr: 3.0e-4}}
    schedule: {{class_path: Cosine, init_args: {{warmup: "10%"}}}}     # the rate is warmed up again
gate:                          # what the new version has to show, see models gate
  better: []                   # besides the rows of feedback that were set aside
  texts: [base.txt]            # not forgotten: bits per byte grow by text_growth at most
  text_growth: 0.01
promote: production            # the alias that a version takes which has passed; null = none
"""


@dataclass(frozen=True)
class Replay:
    """What the model knew, trained on beside the new rows.

    Args:
        source: Texts, or rows (.jsonl) of the new rows' kind: files, folders, globs.
        share: Of the training windows.
        rows: At most so many pieces of it, chosen by their hash.

    Raises:
        ConfigError: A number is out of range.
    """

    source: str | list[str]
    share: float = 0.5
    rows: int = 10_000

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise ConfigError("replay.share is a share", got=self.share, allowed="above 0 and below 1")
        if self.rows < 1:
            raise ConfigError("replay.rows counts pieces", got=self.rows, allowed="1 or more")

    @property
    def sources(self) -> list[str]:
        """As a list."""
        return [self.source] if isinstance(self.source, str) else list(self.source)


@dataclass(frozen=True)
class Continual:
    """What a file of a continual run says.

    Args:
        base: What training begins with: NAME@ALIAS, or NAME@VERSION.
        feedback: Store of serve --feedback.
        data: Folder of feedback build, instead of a store.
        kind: Which rows: conversations, preferences or ratings.
        min_rows: Fewer new rows than this are not worth a round.
        rules: What is taken of the store.
        replay: What the model knew; null = nothing of it is repeated.
        fit: Settings of fit, over those that a round makes.
        gate: What the new version has to show, besides being better on the rows that were set aside.
        promote: The alias that a version takes which has passed; null = none.
        folder: Where the rounds lie; null = continual/NAME.

    Raises:
        ConfigError: A value is out of range.
    """

    base: str
    feedback: str | None = None
    data: str | None = None
    kind: str = "conversations"
    min_rows: int = 20
    rules: Rules = field(default_factory=Rules)
    replay: Replay | None = None
    fit: dict[str, Any] = field(default_factory=dict)
    gate: Gate = field(default_factory=Gate)
    promote: str | None = "production"
    folder: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in TASKS:
            raise ConfigError("kind", got=self.kind, allowed=", ".join(TASKS))
        if (self.feedback is None) == (self.data is None):
            raise ConfigError(
                "The new rows come from a store of feedback or from a data set",
                got={"feedback": self.feedback, "data": self.data},
                allowed="one of them",
            )
        if self.min_rows < 1:
            raise ConfigError("min_rows counts rows", got=self.min_rows, allowed="1 or more")
        model, at, wanted = self.base.partition("@")
        if not (model and at and wanted):
            raise ConfigError("base is a registered model", got=self.base, allowed="NAME@ALIAS or NAME@VERSION")

    @property
    def model(self) -> str:
        """Name of the registered model."""
        return self.base.partition("@")[0]

    @property
    def wanted(self) -> str:
        """The alias, or version, that training begins with."""
        return self.base.partition("@")[2]

    @property
    def place(self) -> Path:
        """Folder of the rounds."""
        return Path("continual") / Path(self.model).name if self.folder is None else Path(self.folder)

    @property
    def digest(self) -> str:
        """Of all that decides what a round trains."""
        content = {name: getattr(self, name) for name in ("feedback", "data", "kind", "fit")}
        content |= {"rules": asdict(self.rules), "replay": None if self.replay is None else asdict(self.replay)}
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def read_continual(path: Path) -> Continual:
    """The settings in a file.

    Raises:
        ConfigError: It cannot be read, or a setting is unknown, missing or of the wrong type.
    """
    if not path.is_file():
        raise ConfigError(
            "There is no such file", got=str(path), fix=f"Write one: gpt-lightning continual init {path}."
        )
    parser = StrictParser(prog=f"continual run {path.name}", default_env=False)
    parser.add_argument("-c", "--config", action="config")
    parser.add_class_arguments(Continual, as_group=False)
    parsed = parser.parse_args([f"--config={path}"])
    parsed.pop("fit")  # classes that it names are the run's
    for name in ("gate", "rules"):
        if parsed[name] is None:  # a heading with nothing below it
            parsed.pop(name)
    found = vars(parser.instantiate(parsed))
    found.pop("config", None)
    return Continual(**{**found, "fit": read_yaml(path).get("fit") or {}})
