"""What every table of foreign names needs: does the architecture fit, do the keys fit, and the vocabulary's filling."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.config import GPTConfig

Value = TypeVar("Value")
HEAD_FIX = (
    "If the head is its own, set tie_embeddings to false (tie_word_embeddings in its config.json); "
    "if not, the files are of two models."
)
_VOCABULARY_KEYS = ("token_embedding.weight", "head.weight")


_COMPUTED = re.compile(
    r"(?:.*\.)?(?:(?:self_)?attn\.(?:(?:masked_)?bias|mask)"  # causal triangles
    r"|rotary_emb\.(?:(?:original_)?inv_freq|(?:cos|sin)_cached)|position_ids)"
)


def own_name(name: str) -> str | None:
    """A tensor's name in its architecture; None for a buffer that the model computes itself."""
    bare = ".".join(part for part in name.split(".") if part != "_orig_mod").removeprefix("module.")
    return None if _COMPUTED.fullmatch(bare) else bare


def own_names(found: Mapping[str, Value]) -> dict[str, Value]:
    """The same by own names, without buffers."""
    return {own: value for name, value in found.items() if (own := own_name(name)) is not None}


def check_architecture(config: GPTConfig, family: str, required: Mapping[str, object]) -> None:
    """Refuse a model whose architecture the other family cannot express.

    Args:
        config: The model's record.
        family: Name of the other architecture, for the message.
        required: Fields that must have one value.

    Raises:
        ConfigError: A field has another value; every one is named.
    """
    wrong = {name: getattr(config, name) for name, value in required.items() if getattr(config, name) != value}
    if wrong:
        raise ConfigError(
            f"{family} weights cannot express this architecture",
            got=", ".join(f"{name}={value!r}" for name, value in wrong.items()),
            allowed=", ".join(f"{name}={required[name]!r}" for name in wrong),
        )


def check_keys(found: Mapping[str, Tensor], expected: Mapping[str, torch.Size]) -> None:
    """Name every key that is missing, unknown or of another shape.

    Raises:
        CheckpointError: There is one.
    """
    check_shapes({key: tensor.shape for key, tensor in found.items()}, expected)


def check_shapes(found: Mapping[str, torch.Size], expected: Mapping[str, torch.Size]) -> None:
    """The same where only the shapes are known yet, before anything is read."""
    complaints = [f"missing {key}" for key in expected if key not in found]
    complaints += [f"unknown {key}" for key in found if key not in expected]
    complaints += [
        f"{key} is {tuple(found[key])} where {tuple(shape)} is expected"
        for key, shape in expected.items()
        if key in found and found[key] != shape
    ]
    if complaints:
        raise CheckpointError(
            f"the weights do not fit the model ({len(complaints)} keys): {'; '.join(complaints)}",
            fix="Compare n_layer, n_embd, block_size and vocab_size with the checkpoint's.",
        )


def check_tied_head(head: Tensor | None, embedding: Tensor, names: tuple[str, str], fix: str) -> None:
    """Refuse a head of its own where the model ties it to the token embedding; None = there is none.

    Raises:
        CheckpointError: The two differ.
    """
    if head is not None and head is not embedding and not torch.equal(head, embedding):
        raise CheckpointError(
            f"{names[0]} differs from {names[1]}", allowed="a head tied to the token embedding", fix=fix
        )


def fill_vocabulary(state_dict: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our state dict with rows of zeros up to ``config.padded_vocab_size``."""
    vocab_size, _ = config.data_sizes()
    missing = config.padded_vocab_size - vocab_size
    return {
        key: F.pad(tensor, (0, 0, 0, missing)) if missing and key in _VOCABULARY_KEYS else tensor
        for key, tensor in state_dict.items()
    }


def cut_vocabulary(state_dict: Mapping[str, Tensor], config: GPTConfig) -> dict[str, Tensor]:
    """Our state dict without the rows that only fill up the vocabulary; others do not have them."""
    vocab_size, _ = config.data_sizes()
    filled = config.padded_vocab_size
    return {
        key: tensor[:vocab_size] if key in _VOCABULARY_KEYS and tensor.shape[0] == filled else tensor
        for key, tensor in state_dict.items()
    }
