"""Sizes under a name: the four published GPT-2s, and a modern family of about the same sizes.

The modern ones stay inside what Qwen3's architecture can express (without ``qk_norm``, Llama's), so that their weights
can leave under those names: RoPE, RMSNorm, SwiGLU, grouped-query attention, no biases. Width and depth are GPT-2's, so
that a comparison at equal size is one word in a config. Heads are 64 wide everywhere.
"""

from __future__ import annotations

from typing import Any

_GPT2 = {"block_size": 1024, "vocab_size": 50257}
_MODERN = {
    "block_size": 2048,
    "vocab_size": 50257,
    "vocab_multiple": 128,
    "bias": False,
    "norm": "rms",
    "norm_eps": 1e-6,
    "mlp": "swiglu",
    "rope_theta": 10000.0,
    "qk_norm": True,
    "zero_init": True,
}

PRESETS: dict[str, dict[str, Any]] = {
    "gpt2": {**_GPT2, "n_layer": 12, "n_head": 12, "n_embd": 768},
    "gpt2-medium": {**_GPT2, "n_layer": 24, "n_head": 16, "n_embd": 1024},
    "gpt2-large": {**_GPT2, "n_layer": 36, "n_head": 20, "n_embd": 1280},
    "gpt2-xl": {**_GPT2, "n_layer": 48, "n_head": 25, "n_embd": 1600},
    "modern-nano": {**_MODERN, "n_layer": 6, "n_head": 6, "n_kv_head": 2, "n_embd": 384},
    "modern-small": {**_MODERN, "n_layer": 12, "n_head": 12, "n_kv_head": 4, "n_embd": 768},
    "modern-medium": {**_MODERN, "n_layer": 24, "n_head": 16, "n_kv_head": 4, "n_embd": 1024},
    "modern-large": {**_MODERN, "n_layer": 36, "n_head": 20, "n_kv_head": 5, "n_embd": 1280},
}
