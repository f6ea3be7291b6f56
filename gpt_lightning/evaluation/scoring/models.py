"""The model under evaluation, from a path as the user typed it."""

from __future__ import annotations

import dataclasses

from gpt_lightning.checkpoints.durable import step_of
from gpt_lightning.evaluation.outcomes.results import Evaluation
from gpt_lightning.generation.command import choose_device
from gpt_lightning.generation.packing import check_weights, pack
from gpt_lightning.weights.loading import LoadedModel, load_model

FULL = "float32"


def open_model(path: str, *, prefer: str, device: str, weights: str = FULL) -> LoadedModel:
    """Load a model in evaluation mode.

    Args:
        path: Run folder, checkpoint folder or exported folder.
        prefer: Which checkpoint of a run folder: best or last.
        device: Where to run.
        weights: What ``packing.pack`` makes of it; float32 = the model as it is.

    Raises:
        ConfigError: A choice that there is not.
        CheckpointError: Nothing usable there.
    """
    check_weights(weights)
    loaded = load_model(path, prefer=prefer, device=choose_device(device))
    return loaded if weights == FULL else dataclasses.replace(loaded, model=pack(loaded.model, weights))


def with_weights(evaluation: Evaluation, weights: str) -> Evaluation:
    """An evaluation with reduced weights says so among its settings."""
    if weights == FULL:
        return evaluation
    return dataclasses.replace(evaluation, settings={**evaluation.settings, "weights": weights})


def step_of_card(loaded: LoadedModel) -> int:
    """Training steps behind a checkpoint of ours; 0 for anything else."""
    return step_of(loaded.path) or 0
