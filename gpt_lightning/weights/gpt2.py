"""GPT-2's weights under the names of its released checkpoints and of the Hugging Face files, and back.

Two differences beside the names: their linear layers store (in, out) where PyTorch stores (out, in), and their files
may carry the tied head a second time and the causal triangle as a buffer.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

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
    _check_keys(theirs, {name: _their_shape(shape, turn) for name, shape, turn in table.values()})
    if head is not None and head is not theirs["wte.weight"] and not torch.equal(head, theirs["wte.weight"]):
        raise CheckpointError(
            f"{_HEAD} differs from wte.weight",
            allowed="a head tied to the token embedding",
            fix="This architecture has no head of its own; the checkpoint cannot be expressed.",
        )
    return {
        ours: theirs[name].t().contiguous() if turn else theirs[name].clone() for ours, (name, _, turn) in table.items()
    }


def to_gpt2(state_dict: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """The names of Hugging Face's ``GPT2LMHeadModel``, from our state dict; ``lm_head.weight`` shares its memory.

    Raises:
        CheckpointError: A key is missing, unknown or of another shape; each is named.
        ConfigError: ``config`` is not of GPT-2's architecture.
    """
    table = _build_table(config)
    _check_keys(state_dict, {ours: shape for ours, (_, shape, _) in table.items()})
    theirs = {
        _PREFIX + name: state_dict[ours].t().contiguous() if turn else state_dict[ours].clone()
        for ours, (name, _, turn) in table.items()
    }
    theirs[_HEAD] = theirs[_PREFIX + "wte.weight"]
    return theirs


def _build_table(config: GPTConfig) -> dict[str, tuple[str, torch.Size, bool]]:
    """Our key -> (their key without prefix, our shape, whether theirs is transposed)."""
    if not config.bias:
        raise ConfigError("GPT-2's weights have biases, this model has none", got="bias=False", allowed="bias=True")
    with torch.device("meta"):
        shapes = {key: tensor.shape for key, tensor in GPT(config).state_dict().items()}
    table = {}
    for key, shape in shapes.items():
        path, _, kind = key.rpartition(".")
        inside = re.fullmatch(r"blocks\.(\d+)\.(.+)", path)
        name, turn = _INSIDE[inside[2]] if inside else _OUTSIDE[path]
        table[key] = (f"h.{inside[1]}.{name}.{kind}" if inside else f"{name}.{kind}", shape, turn and kind == "weight")
    return table


def _their_shape(shape: torch.Size, turn: bool) -> torch.Size:
    return torch.Size(reversed(shape)) if turn else shape


def _check_keys(found: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> None:
    complaints = [f"missing {key}" for key in expected if key not in found]
    complaints += [f"unknown {key}" for key in found if key not in expected]
    complaints += [
        f"{key} is {tuple(found[key].shape)} where {tuple(shape)} is expected"
        for key, shape in expected.items()
        if key in found and found[key].shape != shape
    ]
    if complaints:
        raise CheckpointError(
            f"the weights do not fit the model ({len(complaints)} keys): {'; '.join(complaints)}",
            fix="Compare n_layer, n_embd, block_size and vocab_size with the checkpoint's.",
        )
