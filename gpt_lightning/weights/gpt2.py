"""GPT-2's weights under the names of its released checkpoints and of the Hugging Face files, and back.

Two differences beside the names: their linear layers store (in, out) where PyTorch stores (out, in), and their files
may carry the tied head a second time and the causal triangle as a buffer.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.keys import check_architecture, check_keys, check_tied_head, cut_vocabulary, fill_vocabulary

_PREFIX = "transformer."
_HEAD = "lm_head.weight"
_BUFFER = re.compile(r"h\.\d+\.attn\.(masked_)?bias")
# Ours -> theirs; True where the matrix is stored transposed.
_OUTSIDE = {"token_embedding": ("wte", False), "position_embedding": ("wpe", False), "final_norm": ("ln_f", False)}
_INSIDE = {
    "attention_norm": ("ln_1", False),
    "attention.query_key_value": ("attn.c_attn", True),
    "attention.output": ("attn.c_proj", True),
    "mlp_norm": ("ln_2", False),
    "mlp.expand": ("mlp.c_fc", True),
    "mlp.contract": ("mlp.c_proj", True),
}
_REQUIRED = {
    "bias": True,
    "norm": "layer",
    "mlp": "gelu",
    "rope_theta": None,
    "qk_norm": False,
    "window": None,
    "tie_embeddings": True,
    "logit_softcap": None,
    "value_embeddings": False,
    "smear": False,
    "bigram_rows": None,
}


def from_gpt2(state_dict: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our state dict, for ``GPT(config).load_state_dict``, from one with GPT-2's names.

    Args:
        state_dict: With or without the ``transformer.`` prefix; a head and attention buffers may be there.
        config: The sizes to expect.

    Raises:
        CheckpointError: A key is missing, unknown or of another shape (each is named), or the head is not tied.
        ConfigError: ``config`` is not of GPT-2's architecture.
    """
    table = _build_table(config)
    theirs = {key.removeprefix(_PREFIX): tensor for key, tensor in state_dict.items()}
    theirs = {key: tensor for key, tensor in theirs.items() if not _BUFFER.fullmatch(key)}
    head = theirs.pop(_HEAD, None)
    check_keys(theirs, {name: _their_shape(shape, turn) for name, shape, turn in table.values()})
    fix = "This architecture has no head of its own; the checkpoint cannot be expressed."
    check_tied_head(head, theirs["wte.weight"], (_HEAD, "wte.weight"), fix)
    ours = {
        ours: theirs[name].t().contiguous() if turn else theirs[name].clone() for ours, (name, _, turn) in table.items()
    }
    return fill_vocabulary(ours, config)


def to_gpt2(state_dict: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """The names of Hugging Face's ``GPT2LMHeadModel``, from our state dict; ``lm_head.weight`` shares its memory.

    Raises:
        CheckpointError: A key is missing, unknown or of another shape; each is named.
        ConfigError: ``config`` is not of GPT-2's architecture.
    """
    table = _build_table(config)
    ours = cut_vocabulary(state_dict, config)
    check_keys(ours, {key: shape for key, (_, shape, _) in table.items()})
    theirs = {
        _PREFIX + name: ours[key].t().contiguous() if turn else ours[key].clone()
        for key, (name, _, turn) in table.items()
    }
    theirs[_HEAD] = theirs[_PREFIX + "wte.weight"]
    return theirs


def _build_table(config: GPTConfig) -> dict[str, tuple[str, torch.Size, bool]]:
    """Our key -> (their key without prefix, our shape, whether theirs is transposed)."""
    check_architecture(config, "GPT-2's", {**_REQUIRED, "key_value_heads": config.n_head})
    with torch.device("meta"):
        model = GPT(dataclasses.replace(config, vocab_multiple=1))
    table = {}
    for key, tensor in model.state_dict().items():
        path, _, kind = key.rpartition(".")
        inside = re.fullmatch(r"blocks\.(\d+)\.(.+)", path)
        name, turn = _INSIDE[inside[2]] if inside else _OUTSIDE[path]
        name = f"h.{inside[1]}.{name}.{kind}" if inside else f"{name}.{kind}"
        table[key] = (name, tensor.shape, turn and kind == "weight")
    return table


def _their_shape(shape: torch.Size, turn: bool) -> torch.Size:
    return torch.Size(reversed(shape)) if turn else shape
