"""What stands ahead of a text in peft's format: PREFIX_TUNING and PROMPT_TUNING, one tensor ``prompt_embeddings``.

                    ours                                      theirs
    PrefixTuning    keys and values (layers, groups, n, head)  (n, layers x 2 x groups x head), keys first
    PromptTuning    stream (n, embed)                          the same

Theirs lets the text begin at position n. Rotary positions know distances alone, so our keys are theirs turned by n
positions; learned positions would be others, so there neither can be said in the other's format.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.adapters.prefix import Beginning, PrefixStates, PrefixTuning, PromptTuning, VirtualTokens
from gpt_lightning.errors import CheckpointError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.positions import rotate, rotate_rows

TENSOR = "prompt_embeddings"
_AHEAD = "ahead.deltas.default"


def describe_beginning(model: GPT, beginning: Beginning) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Tensors and settings of an adapter as peft has them.

    Raises:
        CheckpointError: The base has learned positions.
    """
    _check_positions(model)
    config = model.config
    width = config.key_value_heads * config.head_size
    settings: dict[str, Any] = {"num_transformer_submodules": 1, "num_layers": config.n_layer}
    found: Tensor
    if isinstance(beginning, VirtualTokens):
        settings |= {"num_attention_heads": config.n_head, "token_dim": config.n_embd}
        settings |= {"peft_type": "PROMPT_TUNING", "prompt_tuning_init": "RANDOM"}
        found = beginning.stream
    else:
        assert isinstance(beginning, PrefixStates)
        settings |= {"num_attention_heads": config.key_value_heads, "token_dim": width}
        settings |= {"peft_type": "PREFIX_TUNING", "prefix_projection": False, "encoder_hidden_size": width}
        count = beginning.keys.shape[2]
        pairs = torch.stack((_turn(model, beginning.keys, count), beginning.values), dim=1)
        found = pairs.permute(3, 0, 1, 2, 4).reshape(count, -1)
    return {TENSOR: found}, {"num_virtual_tokens": len(found), **settings}


def read_beginning(
    model: GPT, settings: Mapping[str, Any], tensors: Mapping[str, Tensor], path: Path
) -> tuple[Adaptation, dict[str, Tensor]]:
    """Theirs as an adaptation of ours and its state.

    Args:
        model: The base, for its shapes.
        settings: Theirs.
        tensors: Likewise.
        path: Where they lie, for messages.

    Raises:
        CheckpointError: It is of a model of other shapes, or the base has learned positions.
    """
    _check_positions(model)
    config, found = model.config, tensors.get(TENSOR, torch.empty(0, 0))
    is_prefix = settings["peft_type"] == "PREFIX_TUNING"
    shape = (config.n_layer, 2, config.key_value_heads, config.head_size)
    width = torch.Size(shape).numel() if is_prefix else config.n_embd
    if set(tensors) != {TENSOR} or found.ndim != 2 or found.shape[1] != width:
        raise CheckpointError(
            f"{path} is of a model of other shapes",
            got={name: tuple(value.shape) for name, value in tensors.items()},
            allowed=f"{TENSOR} of (any, {width})",
        )
    if not is_prefix:
        return PromptTuning(len(found)), {f"{_AHEAD}.stream": found}
    keys, values = found.view(-1, *shape).permute(2, 1, 3, 0, 4)
    state = {f"{_AHEAD}.keys": _turn(model, keys, -len(found)), f"{_AHEAD}.values": values.contiguous()}
    return PrefixTuning(len(found)), state


def _turn(model: GPT, keys: Tensor, by: int) -> Tensor:
    """Keys as they are so many positions further on."""
    config = model.config
    assert config.rope_theta is not None
    place = torch.tensor([by], device=keys.device)
    return rotate(keys, rotate_rows(place, config.head_size, config.rope_theta, config.rope_scaling))


def _check_positions(model: GPT) -> None:
    if model.config.rope_theta is None:
        raise CheckpointError(
            "peft lets a text begin behind what is ahead of it, where learned positions are others than here",
            allowed="a base with rotary positions",
            fix="Use the run itself (generate, evaluate, serve read it), or an adapter such as LoRA.",
        )
