"""The model of an application: a run of ``gpt-lightning fit`` like any other, in the application's folder."""

from __future__ import annotations

import logging
import sys
from pathlib import Path
from typing import Any

from gpt_lightning.apps.application import AppFolder
from gpt_lightning.errors import CheckpointError


def fit_model(folder: AppFolder[Any], *settings: dict[str, Any], model: str = "") -> Path:
    """Train the folder's model, or go on with it where it was stopped.

    Args:
        folder: Its ``fit`` settings win over those that follow.
        settings: As for ``training.fitting.build.build``, later ones win.
        model: Folder of another model than the first, within the folder.

    Returns:
        The run.

    Raises:
        UserError: As of ``build`` and ``Run.fit``; CheckpointError where a model of other settings or data is there.
    """
    from gpt_lightning.training.fitting.build import build

    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    logging.getLogger("gpt_lightning").setLevel(logging.INFO)
    place = folder.file(model) if model else folder.model
    own = {"run.dir": str(place), "run.sample_tokens": 0}
    run = build(*settings, folder.settings.fit, own)
    try:
        result = run.fit(resume="auto")
    except CheckpointError as problem:
        raise CheckpointError(
            f"{str(problem).rstrip('.')}. To train anew: remove {place}, or say --set model=NAME"
        ) from problem
    losses = ", ".join(f"{name} {value:.4f}" for name, value in result.metrics.items() if name == "val/loss")
    sys.stdout.write(f"Trained {result.step:,} steps: {result.folder}{losses and f' ({losses})'}\n")
    return result.folder
