"""What a run tells of itself in TensorBoard when it starts, and how it ended when it ends."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gpt_lightning.checkpoints.durable import read_manifest
from gpt_lightning.errors import UserError
from gpt_lightning.optim.optimizers import OptimizerRecipe
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.schedules import Schedule
from gpt_lightning.parsing.strict_yaml import dump_yaml, flatten
from gpt_lightning.reports.charts import LineChart, Series
from gpt_lightning.reports.pictures import draw_picture
from gpt_lightning.tracking.hparams import Session, Status, choose_values
from gpt_lightning.tracking.records import build_layout, build_picture, build_text
from gpt_lightning.tracking.texts import describe_changes, describe_code, describe_facts
from gpt_lightning.training.runs.run_folder import MANIFEST_FILE
from gpt_lightning.training.watch.loggers import RunTensorBoard

_MOST_POINTS = 500
_SEED = "seed_everything"
_ALWAYS = (_SEED, "model.optimizer.class_path", "model.schedule.class_path", "trainer.max_steps")
_NEVER = ("run", "monitor", "trainer.logger", "trainer.callbacks", "trainer.profiler", "trainer.enable_progress_bar")


@dataclass(frozen=True)
class Origin:
    """What a run is, and where it comes from.

    Attributes:
        name: Of the run folder.
        config: The resolved configuration.
        defaults: Makes the same of the code's defaults; asked once, since it takes a moment.
        parent: Checkpoint that it goes on from or begins with; None = it begins at random.
        data: The data card.
        is_mixture: Whether the data are several sources.
        varied: What the runs beside it have otherwise, under the names of whoever started them; None = not known, and
            the HParams tab shows what differs from the defaults.
    """

    name: str
    config: Mapping[str, Any]
    defaults: Callable[[], Mapping[str, Any]]
    parent: Path | None
    data: Mapping[str, Any]
    is_mixture: bool = False
    varied: Mapping[str, Any] | None = None


class RunSummary:
    """Texts and pictures of the start, and the run's line in the HParams tab.

    Args:
        board: The run's event file.
        folder: The run folder.
        origin: What the run is.
    """

    def __init__(self, board: RunTensorBoard, folder: Path, origin: Origin) -> None:
        self._board, self._folder, self._origin = board, folder, origin
        self._session: Session | None = None

    def begin(self, step: int, *, first: bool) -> None:
        """Write what this start has to say.

        Args:
            step: Optimizer steps done.
            first: Whether the event file is the folder's first; what does not change is written once.
        """
        origin, flat = self._origin, flatten(self._origin.config)
        defaults = flatten(origin.defaults())
        starts = json.loads((self._folder / MANIFEST_FILE).read_text(encoding="utf-8"))["starts"]
        texts = {f"run/start_{len(starts)}": describe_facts(_join(starts[-1]))}
        parent = _read_config(origin.parent)
        if parent is not None and (step == 0 or _changes(parent, flat)):
            texts["run/config_vs_parent"] = describe_changes(parent, flat, str(origin.parent), origin.name)
        if first:
            self._board.add_summary(build_layout(sources=self._origin.is_mixture), 0)
            texts["run/config"] = describe_code(dump_yaml(origin.config), "yaml")
            texts["run/config_vs_defaults"] = describe_changes(defaults, flat, "default", origin.name)
            texts["run/data"] = describe_facts(origin.data)
        for name, text in texts.items():
            self._board.add_summary(build_text(name, text), step)
        if origin.varied is None:
            keys = [key for key in flat if key in _ALWAYS or (flat[key] != defaults.get(key) and not _is_below(key))]
            values = choose_values(flat, sorted(keys))
        else:
            values = choose_values({_SEED: flat.get(_SEED), **origin.varied}, [_SEED, *origin.varied])
        self._session = Session(self._folder, origin.name, values)

    def show_schedule(self, schedule: Schedule, recipe: OptimizerRecipe, horizon: Horizon, step: int) -> None:
        """The learning rate over the whole run."""
        stride = max(1, -(-horizon.total_steps // _MOST_POINTS))
        steps = [*range(0, horizon.total_steps - 1, stride), horizon.total_steps - 1]
        factors = [schedule.factor(place, horizon) for place in steps]
        done = [place + 1 for place in steps]
        groups: dict[float, list[str]] = {}
        for group, rate in recipe.rates.items():  # equal rates share a curve: one would hide the other
            groups.setdefault(rate, []).append(group)
        curves = [
            Series(", ".join(names), done, [rate * factor for factor in factors]) for rate, names in groups.items()
        ]
        chart = LineChart(curves, "learning rate by parameter group", x_label="steps done", y_label="learning rate")
        self._board.add_summary(build_picture("schedule/lr", draw_picture(chart)), step)

    def end(self, status: Status) -> None:
        """Write how the run really ended."""
        if self._session is not None:
            self._session.close(status)


def _is_below(key: str) -> bool:
    return any(key == entry or key.startswith(f"{entry}.") for entry in _NEVER)


def _changes(old: Mapping[str, object], new: Mapping[str, object]) -> bool:
    return any(old.get(key) != new.get(key) for key in old.keys() | new.keys())


def _join(facts: Mapping[str, Any]) -> dict[str, Any]:
    """Lists, such as the command, as text."""
    return {key: " ".join(map(str, value)) if isinstance(value, list) else value for key, value in facts.items()}


def _read_config(parent: Path | None) -> dict[str, Any] | None:
    """The flat configuration of a checkpoint; None where there is none, as in a file of weights alone."""
    if parent is None:
        return None
    try:
        config = read_manifest(parent)["facts"].get("config")
    except (UserError, OSError, KeyError):
        return None
    return flatten(config) if isinstance(config, Mapping) else None
