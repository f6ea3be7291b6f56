"""One small decoder for every option of the architecture, with weights that leave none of them idle."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

VOCAB, BLOCK = 11, 12
OPTIONS: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "no-bias": {"bias": False},
    "rope": {"rope_theta": 100.0},
    "stretched": {"rope_theta": 100.0, "rope_factor": 8.0, "rope_context": 24},
    "rms": {"norm": "rms"},
    "eps": {"norm_eps": 0.1},
    "swiglu": {"mlp": "swiglu", "n_inner": 12},
    "relu2": {"mlp": "relu2"},
    "inner": {"n_inner": 20},
    "gqa": {"n_kv_head": 2},
    "mqa": {"n_kv_head": 1},
    "heads": {"head_dim": 6},
    "qk-norm": {"qk_norm": True},
    "untied": {"tie_embeddings": False},
    "padded": {"vocab_multiple": 8},
    "zero-init": {"zero_init": True},
    "softcap": {"logit_softcap": 2.0},
    "window": {"window": 3},
    "window-and-global": {"window": 3, "global_every": 2},
    "values": {"value_embeddings": True},
    "smear": {"smear": True},
    "bigram": {"bigram_rows": VOCAB**2 + 1},
    "bigram-hashed": {"bigram_rows": 40},
}
MODERN: dict[str, Any] = {
    "bias": False,
    "rope_theta": 100.0,
    "norm": "rms",
    "mlp": "swiglu",
    "n_inner": 12,
    "n_kv_head": 2,
    "qk_norm": True,
    "vocab_multiple": 8,
}
EVERYTHING: dict[str, Any] = {
    **MODERN,
    "tie_embeddings": False,
    "logit_softcap": 2.0,
    "window": 3,
    "global_every": 2,
    "value_embeddings": True,
    "smear": True,
    "bigram_rows": 40,
}
RECIPES = {**OPTIONS, "modern": MODERN, "everything": EVERYTHING}


def small_config(**changes: Any) -> GPTConfig:
    """Two layers, four heads of four channels, and the changes."""
    return GPTConfig(**{"n_layer": 2, "n_head": 4, "n_embd": 16, "block_size": BLOCK, "vocab_size": VOCAB, **changes})


def build_stirred(**changes: Any) -> GPT:
    """A small decoder in evaluation mode whose every weight is random: no zero that hides a branch."""
    generator = torch.Generator().manual_seed(0)
    model = GPT(small_config(**changes), generator).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.3)
    return model


def draw_tokens(rows: int = 3, time: int = BLOCK) -> Tensor:
    """Random ids, always the same."""
    return torch.randint(VOCAB, (rows, time), generator=torch.Generator().manual_seed(1))
