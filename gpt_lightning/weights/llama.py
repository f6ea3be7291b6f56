"""Rotary positions in a ``config.json``: Llama's and Qwen3's own, and Llama 3.1's stretching of them.

There are two spellings: older readers know ``rope_theta`` and ``rope_scaling``, newer ones prefer ``rope_parameters``.
Both are read, and both are written.

Weights under the names of the Hugging Face classes for Llama and Qwen3, and back.

Qwen3 is Llama with norms over queries and keys (``qk_norm``); the names are the same otherwise. Theirs has one matrix
each for queries, keys, values, gate and value where ours stacks them; no number changes on the way.
"""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

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

_STRETCHED = "llama3"
_STRETCHING = ("linear", "dynamic", "yarn", _STRETCHED)
"""Kinds that stretch by a factor, and by 1 not at all; yarn as long as nothing else is said of it."""
_FURTHER = {"attention_factor", "mscale", "mscale_all_dim"}
_THETA = 10000.0
_STRETCH = {
    "rope_factor": "factor",
    "rope_low_factor": "low_freq_factor",
    "rope_high_factor": "high_freq_factor",
    "rope_context": "original_max_position_embeddings",
}


def read_rope(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of ``GPTConfig`` from a ``config.json`` in which ``list_rope_obstacles`` finds nothing."""
    rope = _gather(settings)
    fields: dict[str, Any] = {"rope_theta": float(rope.get("rope_theta", _THETA))}
    if _kind(rope) == _STRETCHED:
        fields |= {ours: float(rope[theirs]) for ours, theirs in _STRETCH.items()}
        fields["rope_context"] = int(fields["rope_context"])
    return fields


def write_rope(config: GPTConfig) -> dict[str, Any]:
    """Entries of a ``config.json``."""
    theta = config.rope_theta
    if config.rope_scaling is None:
        return {"rope_theta": theta, "rope_parameters": {"rope_type": "default", "rope_theta": theta}}
    stretch = {"rope_type": _STRETCHED} | {theirs: getattr(config, ours) for ours, theirs in _STRETCH.items()}
    return {"rope_theta": theta, "rope_scaling": stretch, "rope_parameters": {**stretch, "rope_theta": theta}}


def list_rope_obstacles(settings: Mapping[str, Any]) -> list[str]:
    """What this decoder cannot follow, and numbers that are none."""
    rope = _gather(settings)
    if any(isinstance(value, Mapping) for value in rope.values()):
        return ["rotary positions that differ between layers"]
    kind = _kind(rope)
    if kind not in ("default", _STRETCHED) or rope.get("partial_rotary_factor", 1.0) != 1.0:
        return [f"rotary positions of type {kind!r}: {dict(rope)}"]
    numbers = {"rope_theta": rope.get("rope_theta", _THETA)}
    if kind == _STRETCHED:
        numbers |= {name: rope.get(name) for name in _STRETCH.values()}
    return [f"{name} {value!r}" for name, value in numbers.items() if not _is_positive(value)]


def _gather(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """What is said, in either spelling."""
    found: dict[str, Any] = {"rope_theta": settings["rope_theta"]} if settings.get("rope_theta") is not None else {}
    for name in ("rope_scaling", "rope_parameters"):
        entry = settings.get(name)
        if isinstance(entry, Mapping):
            found |= entry
    return found


def _kind(rope: Mapping[str, Any]) -> Any:
    kind = rope.get("rope_type", rope.get("type", "default"))
    stretches_nothing = rope.get("factor") == 1.0 and not rope.keys() & _FURTHER
    return "default" if kind in _STRETCHING and stretches_nothing else kind


def _is_positive(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 < value < math.inf


_HEAD, _EMBEDDING = "lm_head.weight", "model.embed_tokens.weight"
# Ours -> theirs, whose rows ours has one below the other.
_OUTSIDE = {"token_embedding": ("model.embed_tokens",), "final_norm": ("model.norm",), "head": ("lm_head",)}
_INSIDE = {
    "attention_norm": ("input_layernorm",),
    "attention.query_key_value": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "attention.query_norm": ("self_attn.q_norm",),
    "attention.key_norm": ("self_attn.k_norm",),
    "attention.output": ("self_attn.o_proj",),
    "mlp_norm": ("post_attention_layernorm",),
    "mlp.expand": ("mlp.gate_proj", "mlp.up_proj"),
    "mlp.contract": ("mlp.down_proj",),
}
REQUIRED: dict[str, object] = {
    "bias": False,
    "norm": "rms",
    "mlp": "swiglu",
    "window": None,
    "logit_softcap": None,
    "value_embeddings": False,
    "smear": False,
    "bigram_rows": None,
}


def from_llama(state_dict: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our state dict, for ``GPT(config).load_state_dict``, from one of ``LlamaForCausalLM`` or ``Qwen3ForCausalLM``.

    Args:
        state_dict: Their weights; with a tied head, ``lm_head.weight`` may be there or not.
        config: The architecture to expect.

    Raises:
        CheckpointError: A key is missing, unknown or of another shape (each is named), or the head is not tied.
        ConfigError: ``config`` is not inside Llama's and Qwen3's architecture.
    """
    table = _build_table(config)
    theirs = own_names(state_dict)
    head = theirs.pop(_HEAD, None) if config.tie_embeddings else None
    check_keys(theirs, {name: shape for parts in table.values() for name, shape in parts.items()})
    check_tied_head(head, theirs[_EMBEDDING], (_HEAD, _EMBEDDING), HEAD_FIX)
    ours = {key: torch.cat([theirs[name] for name in parts]) for key, parts in table.items()}
    return fill_vocabulary(ours, config)


def check_llama(shapes: Mapping[str, torch.Size], config: GPTConfig) -> None:
    """Whether ``from_llama`` would find every key and shape, without the tensors.

    Raises:
        CheckpointError: A key is missing, unknown or of another shape; each is named.
    """
    found = own_names(shapes)
    expected = {name: shape for parts in _build_table(config).values() for name, shape in parts.items()}
    if config.tie_embeddings and found.get(_HEAD) == expected[_EMBEDDING]:
        del found[_HEAD]
    check_shapes(found, expected)


def to_llama(state_dict: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """The names of ``LlamaForCausalLM`` or, with ``qk_norm``, of ``Qwen3ForCausalLM``; a tied head shares its memory.

    Raises:
        CheckpointError: A key is missing, unknown or of another shape; each is named.
        ConfigError: ``config`` is not inside their architecture.
    """
    table = _build_table(config)
    ours = cut_vocabulary(state_dict, config)
    check_keys(ours, {key: _stack(list(parts.values())) for key, parts in table.items()})
    theirs: dict[str, Tensor] = {}
    for key, parts in table.items():
        rows = torch.split(ours[key], [shape[0] for shape in parts.values()])
        theirs |= {name: part.clone() for name, part in zip(parts, rows, strict=True)}
    if config.tie_embeddings:
        theirs[_HEAD] = theirs[_EMBEDDING]
    return theirs


def _build_table(config: GPTConfig) -> dict[str, dict[str, torch.Size]]:
    """Our key -> their keys with their shapes, from top to bottom."""
    # Any base will do, but learned positions will not.
    check_architecture(config, "Llama's and Qwen3's", {**REQUIRED, "rope_theta": config.rope_theta or 10000.0})
    with torch.device("meta"):
        model = GPT(dataclasses.replace(config, vocab_multiple=1))
    groups = config.key_value_heads * config.head_size
    heights = {
        "attention.query_key_value": (config.query_size, groups, groups),
        "mlp.expand": (config.inner_size, config.inner_size),
    }
    table = {}
    for key, tensor in model.state_dict().items():
        path = key.removesuffix(".weight")
        inside = re.fullmatch(r"blocks\.(\d+)\.(.+)", path)
        names = _INSIDE[inside[2]] if inside else _OUTSIDE[path]
        place = f"model.layers.{inside[1]}." if inside else ""
        rows = heights.get(inside[2], (tensor.shape[0],)) if inside else (tensor.shape[0],)
        table[key] = {
            f"{place}{name}.weight": torch.Size((height, *tensor.shape[1:]))
            for name, height in zip(names, rows, strict=True)
        }
    return table


def _stack(shapes: list[torch.Size]) -> torch.Size:
    return torch.Size((sum(shape[0] for shape in shapes), *shapes[0][1:]))
