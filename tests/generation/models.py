"""Checkpoints of tiny decoders, written without training and without Lightning."""

from __future__ import annotations

from pathlib import Path

import torch

from gpt_lightning.checkpoints.best import write_best
from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

TINY = GPTConfig(n_layer=1, n_head=2, n_embd=8, block_size=16, vocab_size=257)


def tiny_model(seed: int = 0) -> GPT:
    """Random weights, a function of ``seed``."""
    return GPT(TINY, torch.Generator().manual_seed(seed)).eval()


def write_run(folder: Path, *, steps: tuple[int, ...] = (1, 2), best: int | None = None) -> Path:
    """A run folder with a checkpoint per step, whose weights are those of ``tiny_model(step)``."""
    card = {"model": TINY.to_dict(), "tokenizer": ByteTokenizer().describe()}
    for step in steps:
        weights = {f"model.{name}": value for name, value in tiny_model(step).state_dict().items()}
        write_checkpoint(folder / CHECKPOINTS_DIR, step=step, state={"state_dict": weights, "gpt_lightning": card})
    if best is not None:
        write_best(folder / CHECKPOINTS_DIR, step=best, metric="val/loss", value=1.0)
    return folder
