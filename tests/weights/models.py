"""Checkpoints of tiny decoders with weights that say something, in every shape that other libraries know."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import torch

from gpt_lightning.checkpoints.checkpoint_dir import CHECKPOINTS_DIR
from gpt_lightning.checkpoints.folder import write_checkpoint
from gpt_lightning.data.tokenizers.bpe import train_vocabulary
from gpt_lightning.data.tokenizers.kinds import EncodingTokenizer
from gpt_lightning.data.tokenizers.tokenizer import Tokenizer
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

GPT2 = GPTConfig(n_layer=2, n_head=2, n_embd=32, block_size=48, vocab_size=300, dropout=0.1)
LLAMA = dataclasses.replace(
    GPT2,
    dropout=0.0,
    n_head=4,
    bias=False,
    norm="rms",
    norm_eps=1e-6,
    mlp="swiglu",
    rope_theta=5000.0,
    vocab_multiple=64,
    zero_init=True,
)
QWEN3 = dataclasses.replace(LLAMA, n_kv_head=2, qk_norm=True)
CONFIGS = {
    "gpt2": GPT2,
    "gpt2-no-bias": dataclasses.replace(GPT2, bias=False, n_inner=40),
    "gpt2-untied": dataclasses.replace(GPT2, tie_embeddings=False),
    "llama": LLAMA,
    "llama-untied-gqa": dataclasses.replace(LLAMA, n_kv_head=2, tie_embeddings=False, n_inner=96),
    "qwen3": QWEN3,
    "qwen3-untied": dataclasses.replace(QWEN3, tie_embeddings=False),
    "qwen3-heads": dataclasses.replace(QWEN3, head_dim=16),
    "llama-stretched": dataclasses.replace(LLAMA, rope_factor=4.0, rope_context=200),
}


def small_tokenizer() -> Tokenizer:
    """A byte-level BPE of 300 tokens."""
    return EncodingTokenizer(train_vocabulary([GPTConfig.__doc__ or "", "it's 1234 你好 hello world"], 300))


def loud_model(config: GPTConfig, seed: int = 0) -> GPT:
    """Random weights, biases and norms included, large enough to tell errors apart."""
    model = GPT(config, torch.Generator().manual_seed(seed))
    generator = torch.Generator().manual_seed(seed + 1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    return model.eval()


def write_run(
    folder: Path, config: GPTConfig, tokenizer: Tokenizer | None = None, card: dict[str, Any] | None = None
) -> GPT:
    """A run folder with one checkpoint; returns its model."""
    model = loud_model(config)
    described = {"model": config.to_dict(), "tokenizer": (tokenizer or small_tokenizer()).describe(), **(card or {})}
    weights = {f"model.{name}": value for name, value in model.state_dict().items()}
    facts = {name: value for name, value in described.items() if name != "tokenizer"}
    write_checkpoint(
        folder / CHECKPOINTS_DIR, step=5, state={"state_dict": weights, "gpt_lightning": described}, facts=facts
    )
    return model
