"""A checkpoint in pieces, as fsdp2 and tp save them, as one that everything reads."""

from __future__ import annotations

import shutil
from pathlib import Path

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.durable import read_manifest, step_of
from gpt_lightning.checkpoints.folder import read_checkpoint, storing, write_checkpoint, write_tensors

_CONFIG_FILE = "config.yaml"
_FILES = (".pt", ".pth")


def consolidate(source: Path, target: Path) -> None:
    """Write a checkpoint as one file of weights, or as a folder that can be used like a run folder.

    Args:
        source: A checkpoint folder.
        target: What does not exist yet: ``NAME.pt`` for the weights alone, else a folder.

    Raises:
        CheckpointError: The checkpoint is damaged.
        TrainingError: The disk refuses the write.
    """
    if target.suffix in _FILES:
        step = step_of(source)
        assert step is not None
        target.parent.mkdir(parents=True, exist_ok=True)
        with storing(target.parent, step):
            write_tensors(target, {"state_dict": read_checkpoint(source)["state_dict"]})
        return
    manifest, state = read_manifest(source), read_checkpoint(source)
    step = int(manifest["step"])
    write_checkpoint(target / CHECKPOINTS_DIR, step=step, state=state, facts=manifest["facts"])
    config = source.parent.parent / _CONFIG_FILE
    if config.exists():
        shutil.copy(config, target / _CONFIG_FILE)  # so that validate finds the data and the settings
