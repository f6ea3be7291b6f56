"""Stores the state of a run at given steps under their keys, for other runs to begin there.

Like ``Saving``, after the validation that is due at the same step, so that its line is among those stored; and after
``Saving``, which has then done what the run itself needs.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Checkpoint

from gpt_lightning.checkpoints.durable import checkpoint_name
from gpt_lightning.checkpoints.prefixes import Line, PrefixStore
from gpt_lightning.errors import TrainingError
from gpt_lightning.training.callbacks.saving import at_step_border, validation_follows
from gpt_lightning.training.metrics_file import read_metrics

log = logging.getLogger("gpt_lightning")


class PrefixRecorder(Checkpoint):
    """Writes entries of the store; a ``Checkpoint``, which Lightning runs after all other callbacks.

    Args:
        store: The store.
        keys: Step -> key of everything that led there.
        folder: The run's folder, whose lines go with an entry.
        preferred: Whether other runs are likely to begin at a step.
        adopted: State of ``Saving`` at the start, where the run begins with the checkpoint of another.
    """

    def __init__(
        self,
        store: PrefixStore,
        keys: Mapping[int, str],
        folder: Path,
        preferred: Callable[[int], bool],
        adopted: Mapping[str, Any] | None = None,
    ) -> None:
        self._store, self._keys, self._folder = store, dict(keys), folder
        self._preferred, self._adopted = preferred, adopted
        self._due = False

    def on_load_checkpoint(self, trainer: Trainer, pl_module: LightningModule, checkpoint: dict[str, Any]) -> None:
        """The best value of this run in the place of the other's; Lightning gives callbacks their states after this."""
        if self._adopted is not None:
            checkpoint["callbacks"]["Saving"] = dict(self._adopted)

    def on_train_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """All processes store at the steps of the first: together, or one would wait for the others."""
        self._keys = trainer.strategy.broadcast(self._keys)

    def on_train_batch_end(
        self, trainer: Trainer, pl_module: LightningModule, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        """Store now unless a validation comes first."""
        if at_step_border(trainer):
            self._due = trainer.global_step in self._keys
            if self._due and not validation_follows(trainer):
                self._store_state(trainer)

    def on_validation_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Store what was due."""
        if self._due and trainer.fit_loop._data_fetcher and not trainer.sanity_checking:
            self._store_state(trainer)

    def _store_state(self, trainer: Trainer) -> None:
        self._due = False
        step = trainer.global_step
        key = self._keys[step]
        lines: list[Line] = []
        place: Path | None = None
        if trainer.is_global_zero:
            lines = [line for line in read_metrics(self._folder) if line["step"] <= step]
            place = self._store.begin(step, key, lines)
        place = trainer.strategy.broadcast(place)
        if place is None:
            return
        try:
            trainer.save_checkpoint(place / checkpoint_name(step))
            if trainer.is_global_zero:
                self._store.commit(place, step, key, lines, preferred=self._preferred(step))
        except (TrainingError, OSError) as problem:
            if trainer.world_size > 1:
                raise  # the others wait for this process
            log.warning("step %d is not stored for other runs: %s", step, problem)
