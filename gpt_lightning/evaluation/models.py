"""The model under evaluation, from a path as the user typed it."""

from __future__ import annotations

from gpt_lightning.checkpoints.durable import step_of
from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.command import choose_device
from gpt_lightning.weights.loading import LoadedModel, load_model


def open_model(path: str, *, prefer: str, device: str) -> LoadedModel:
    """Load a model in evaluation mode.

    Raises:
        ConfigError: A choice that there is not.
        CheckpointError: Nothing usable there.
    """
    if prefer not in ("best", "last"):
        raise ConfigError("prefer names a checkpoint of the run", got=prefer, allowed="best, last", fix="Use best.")
    return load_model(path, prefer=prefer, device=choose_device(device))


def step_of_card(loaded: LoadedModel) -> int:
    """Training steps behind a checkpoint of ours; 0 for anything else."""
    return step_of(loaded.path) or 0
