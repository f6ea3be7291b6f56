"""A tiny decoder on bytes, with positions for a few sentences."""

from __future__ import annotations

from pathlib import Path

import torch

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

SMALL = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=640, vocab_size=257)


def write_byte_run(folder: Path, seed: int = 0) -> Path:
    """A run folder of random weights, large enough to have opinions."""
    generator = torch.Generator().manual_seed(seed)
    model = GPT(SMALL, generator)
    weights = {f"model.{name}": 4 * value for name, value in model.state_dict().items()}
    card = {"model": SMALL.to_dict(), "tokenizer": ByteTokenizer().describe()}
    write_checkpoint(folder / CHECKPOINTS_DIR, step=seed + 1, state={"state_dict": weights, "gpt_lightning": card})
    return folder
