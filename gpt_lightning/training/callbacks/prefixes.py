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
from gpt_lightning.tracking.patient import cannot_write
from gpt_lightning.training.engine.checkpoint_io import save_together, share
from gpt_lightning.training.engine.steps import at_step_border, validation_follows
from gpt_lightning.training.runs.run_folder import read_metrics

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
        lines = [line for line in read_metrics(self._folder) if line["step"] <= step] if trainer.is_global_zero else []
        place: list[Path | None] = [None]
        try:
            share(trainer, lambda: place.append(self._begin(step, key, lines)))
            begun = trainer.strategy.broadcast(place[-1])
            if begun is None:
                return
            save_together(trainer, begun / checkpoint_name(step))
            share(trainer, lambda: self._commit(begun, step, key, lines))
        except TrainingError as problem:
            if trainer.is_global_zero:
                if place[-1] is not None:
                    self._store.abandon(place[-1])
                log.warning("step %d is not stored for other runs: %s", step, problem)

    def _begin(self, step: int, key: str, lines: list[Line]) -> Path | None:
        try:
            return self._store.begin(step, key, lines)
        except OSError as error:
            raise cannot_write(self._store.folder, error) from error

    def _commit(self, begun: Path, step: int, key: str, lines: list[Line]) -> None:
        try:
            self._store.commit(begun, step, key, lines, preferred=self._preferred(step))
        except OSError as error:
            raise cannot_write(self._store.folder, error) from error
