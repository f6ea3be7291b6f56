"""Tiny decoders of two architectures, and what to do to an adapter so that it has an effect."""

from __future__ import annotations

import torch
from torch import Tensor

from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

GPT2 = GPTConfig(n_layer=2, n_head=2, n_embd=16, vocab_size=40, block_size=16)
LLAMA = GPTConfig(
    n_layer=2,
    n_head=4,
    n_kv_head=2,
    n_embd=16,
    vocab_size=40,
    block_size=16,
    mlp="swiglu",
    norm="rms",
    bias=False,
    rope_theta=1e4,
    tie_embeddings=False,
)
"""Grouped queries, a gated MLP, a head of its own."""


def build_base(config: GPTConfig) -> GPT:
    """Weights large enough that an adapter's effect is not lost in rounding."""
    model = GPT(config, torch.Generator().manual_seed(3)).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)
    return model


def train_a_little(model: GPT, seed: int = 5) -> None:
    """Move everything that is trained, as training would."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))


def adapted(config: GPTConfig, adaptation: Adaptation, seed: int = 5) -> GPT:
    """A base with an adapter that does something."""
    model = build_base(config)
    adaptation.attach(model, torch.Generator().manual_seed(1))
    train_a_little(model, seed)
    return model.eval()


def tokens(rows: int = 3) -> Tensor:
    """A batch of 9 tokens a row."""
    return torch.randint(0, 40, (rows, 9), generator=torch.Generator().manual_seed(2))


def logits_of(model: GPT, batch: Tensor | None = None) -> Tensor:
    """Of every position."""
    with torch.no_grad():
        return model.logits(model(tokens() if batch is None else batch))
