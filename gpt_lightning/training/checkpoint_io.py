"""Lightning's checkpoint plug-in point, filled with our durable folders.

With it ``trainer.save_checkpoint`` and ``trainer.fit(ckpt_path=...)`` write and read ``checkpoints.folder``; a path on
the network, a damaged file or a pickle that wants to run code is refused before any state is touched. (Lightning 2.6.6
itself loads pickles from http paths with code execution on.)
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lightning
from lightning.pytorch.plugins.io import CheckpointIO

from gpt_lightning.checkpoints.durable import discard, step_of
from gpt_lightning.checkpoints.folder import read_checkpoint, write_checkpoint
from gpt_lightning.errors import CheckpointError


def facts_of(checkpoint: dict[str, Any]) -> dict[str, Any]:
    """What the manifest says about the model and its data."""
    card = checkpoint.get("gpt_lightning", {})
    return {name: value for name, value in card.items() if name != "tokenizer"}  # a vocabulary is large


class DurableCheckpointIO(CheckpointIO):
    """Reads and writes checkpoint folders named ``step-NNN``."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Write ``checkpoint`` so that it is complete or invisible."""
        target = Path(path)
        step = step_of(target)
        if step is None:
            raise CheckpointError(
                "A checkpoint is a folder named for its step",
                got=target.name,
                allowed="step-000000600",
                fix="Use checkpoints.durable.checkpoint_name(step).",
            )
        write_checkpoint(target.parent, step=step, state=checkpoint, facts=facts_of(checkpoint))

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Verify, then load plain data; ``weights_only`` is always true, whatever is asked."""
        state = read_checkpoint(path)
        # An imported model was never in a Trainer, which asks for these even when it only validates.
        return {"pytorch-lightning_version": lightning.__version__, "epoch": 0, "global_step": 0, **state}

    def remove_checkpoint(self, path: str | Path) -> None:
        """Delete a checkpoint folder."""
        discard(Path(path))
