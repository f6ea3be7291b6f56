"""The parts of a run, as plain attributes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lightning.pytorch import Trainer
from torch import Tensor

from gpt_lightning.training.loading.datamodule import TokenDataModule
from gpt_lightning.training.modules.module import GPTModule
from gpt_lightning.training.runs.lengths import Plan
from gpt_lightning.training.runs.settings import RunSettings
from gpt_lightning.training.watch.monitor import Monitor
from gpt_lightning.weights.starting import read_initial_weights


@dataclass
class RunParts:
    """What a run is put together from: everything that watches it, shares its steps or begins it may ask.

    Attributes:
        trainer: Lightning's Trainer, without our loggers and callbacks until a method needs them.
        module: The model under training.
        datamodule: The data.
        plan: Lengths in steps.
        settings: ``run.*``.
        config: The resolved configuration, plain data.
        seed: Seed of everything.
        name: Name for numbered run folders.
        stock_logger: Whether to log to TensorBoard in the run folder (the user chose no logger).
        progress: How to show where training stands: plain, rich or none; None = rich on a terminal, plain elsewhere.
        monitor: ``monitor.*``.
        defaults: Makes the configuration that the code's defaults are.
        initial_path: What ``init_from`` was found to be.
        varied: Settings that differ among the runs started with this one, to be shown in TensorBoard; None = not known.
    """

    trainer: Trainer
    module: GPTModule
    datamodule: TokenDataModule
    plan: Plan
    settings: RunSettings
    config: dict[str, Any]
    seed: int
    name: str
    stock_logger: bool
    progress: str | None = None
    monitor: Monitor = field(default_factory=Monitor)
    defaults: Callable[[], dict[str, Any]] = dict
    initial_path: Path | None = None
    varied: Mapping[str, Any] | None = None

    def begin_with(self, weights: Path) -> Mapping[str, Tensor]:
        """Read the weights that the run begins with, unless it has them; what it begins with."""
        if self.module.initial_weights is None:
            self.module.begin_with(read_initial_weights(weights).fit(self.module.config), weights)
        assert self.module.initial_weights is not None
        return self.module.initial_weights
