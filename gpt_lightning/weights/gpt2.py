"""GPT-2's weights under the names of its released checkpoints and of the Hugging Face files, and back.

Two differences beside the names: their linear layers store (in, out) where PyTorch stores (out, in), and their files
may carry the tied head a second time and the causal triangle as a buffer. They always have biases; a model without them
leaves with zeros, which give the same numbers, and comes back without.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping

import torch
from torch import Tensor

from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.keys import (
    HEAD_FIX,
    check_architecture,
    check_keys,
    check_shapes,
    check_tied_head,
    cut_vocabulary,
    fill_vocabulary,
    own_names,
)

_PREFIX = "transformer."
_HEAD = "lm_head.weight"
# Ours -> theirs; True where the matrix is stored transposed.
_OUTSIDE = {
    "token_embedding": ("wte", False),
    "position_embedding": ("wpe", False),
    "final_norm": ("ln_f", False),
    "head": ("lm_head", False),
}
_INSIDE = {
    "attention_norm": ("ln_1", False),
    "attention.query_key_value": ("attn.c_attn", True),
    "attention.output": ("attn.c_proj", True),
    "mlp_norm": ("ln_2", False),
    "mlp.expand": ("mlp.c_fc", True),
    "mlp.contract": ("mlp.c_proj", True),
}
REQUIRED: dict[str, object] = {
    "norm": "layer",
    "mlp": "gelu",
    "rope_theta": None,
    "qk_norm": False,
    "window": None,
    "logit_softcap": None,
    "value_embeddings": False,
    "smear": False,
    "bigram_rows": None,
}


def from_gpt2(state_dict: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our state dict, for ``GPT(config).load_state_dict``, from one with GPT-2's names.

    Args:
        state_dict: With or without the ``transformer.`` prefix; attention buffers may be there, and a tied head.
        config: The sizes to expect.

    Raises:
        CheckpointError: A key is missing, unknown or of another shape (each is named), or the checkpoint has a head or
            biases of its own where ``config`` has none.
        ConfigError: ``config`` is not of GPT-2's architecture.
    """
    table = _build_table(config)
    theirs = {key.removeprefix(_PREFIX): tensor for key, tensor in own_names(state_dict).items()}
    head = theirs.pop(_HEAD, None) if config.tie_embeddings else None
    check_keys(theirs, {name: _their_shape(shape, turn) for name, shape, turn in table.values()})
    check_tied_head(head, theirs["wte.weight"], (_HEAD, "wte.weight"), HEAD_FIX)
    biases = [table[key][0] for key in table if not config.bias and key.endswith(".bias")]
    used = [name for name in biases if theirs[name].count_nonzero()]
    if used:
        raise CheckpointError(
            f"{used[0]} and {len(used) - 1} other biases are not zero",
            fix="Set bias to true: this checkpoint has them.",
        )
    ours = {
        key: theirs[name].t().contiguous() if turn else theirs[name].clone()
        for key, (name, _, turn) in table.items()
        if name not in biases
    }
    return fill_vocabulary(ours, config)


def rename_gpt2(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Our names for GPT-2's, whatever the sizes; matrices are turned where they are stored as in the released files.

    NanoGPT has the same names and PyTorch's layout: the matrix of queries, keys and values, three times as high as wide
    or the other way round, tells which it is. (Its newer versions compute GELU exactly, not by its tanh form: logits
    differ in the third digit.) A head equal to the embedding is left out, as a tied one is.

    Raises:
        CheckpointError: A name that GPT-2 does not have.
    """
    theirs = {key.removeprefix(_PREFIX): tensor for key, tensor in own_names(state_dict).items()}
    names = {name: (ours, turn) for ours, (name, turn) in (_INSIDE | _OUTSIDE).items()}
    head = theirs.get(_HEAD)
    if head is not None and torch.equal(head, theirs["wte.weight"]):
        del theirs[_HEAD]
    ours = {}
    for key, tensor in theirs.items():
        path, _, kind = key.rpartition(".")
        inside = re.fullmatch(r"h\.(\d+)\.(.+)", path)
        name, turn = names.get(inside[2] if inside else path, (None, False))
        if name is None:
            raise CheckpointError(f"{key} is no weight of GPT-2", fix="Compare the checkpoint's architecture.")
        stored = theirs.get(f"h.{inside[1]}.attn.c_attn.weight") if inside else None
        turns = turn and kind == "weight" and stored is not None and stored.shape[0] < stored.shape[1]
        place = f"blocks.{inside[1]}.{name}" if inside else name
        ours[f"{place}.{kind}"] = tensor.t().contiguous() if turns else tensor
    return ours


def check_gpt2(shapes: Mapping[str, torch.Size], config: GPTConfig) -> None:
    """Whether ``from_gpt2`` would find every key and shape, without the tensors.

    Raises:
        CheckpointError: A key is missing, unknown or of another shape; each is named.
    """
    found = {key.removeprefix(_PREFIX): shape for key, shape in own_names(shapes).items()}
    expected = {name: _their_shape(shape, turn) for name, shape, turn in _build_table(config).values()}
    if config.tie_embeddings and found.get(_HEAD) == expected["wte.weight"]:
        del found[_HEAD]
    check_shapes(found, expected)


def to_gpt2(state_dict: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """The names of Hugging Face's ``GPT2LMHeadModel``, from our state dict; a tied head shares its memory.

    Raises:
        CheckpointError: A key is missing, unknown or of another shape; each is named.
        ConfigError: ``config`` is not of GPT-2's architecture.
    """
    table = _build_table(config)
    ours = cut_vocabulary(state_dict, config)
    absent = {key for key in table if not config.bias and key.endswith(".bias")}
    check_keys(ours, {key: shape for key, (_, shape, _) in table.items() if key not in absent})
    some = next(iter(ours.values()))
    theirs = {
        name if name == _HEAD else _PREFIX + name: some.new_zeros(shape)
        if key in absent
        else (ours[key].t().contiguous() if turn else ours[key].clone())
        for key, (name, shape, turn) in table.items()
    }
    if config.tie_embeddings:
        theirs[_HEAD] = theirs[_PREFIX + "wte.weight"]
    return theirs


def _build_table(config: GPTConfig) -> dict[str, tuple[str, torch.Size, bool]]:
    """Our key -> (their key without prefix, our shape, whether theirs is transposed), biases included."""
    check_architecture(config, "GPT-2's", {**REQUIRED, "key_value_heads": config.n_head, "query_size": config.n_embd})
    with torch.device("meta"):
        model = GPT(dataclasses.replace(config, vocab_multiple=1, bias=True))
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
