"""What an adaptation changes in a training: the loss, what is in a checkpoint, and what a checkpoint may go with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from gpt_lightning.adapters.base import Adaptation, trained_names
from gpt_lightning.adapters.loading import check_trained
from gpt_lightning.batch import LossOutput
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.adapted import check_base, names_base


def refuse_baseless(adaptation: str) -> ConfigError:
    """The error for an adaptation, by name, of nothing."""
    return ConfigError(
        "model.adaptation changes a model that is trained already, and there is none to begin with",
        got=adaptation,
        fix="Name it with --init_from RUN, or leave model.adaptation out.",
    )


def attach(adaptation: Adaptation, model: GPT, weights: Mapping[str, Tensor] | None, seed: int) -> None:
    """Let an adaptation change a model that has its weights.

    Raises:
        ConfigError: There are none to begin with.
    """
    if weights is None:
        raise refuse_baseless(type(adaptation).__name__)
    adaptation.attach(model, torch.Generator().manual_seed(seed))


def widen_trained(model: nn.Module) -> None:
    """Give adapters float32 numbers in a model of fewer bits, where their small steps would be lost."""
    for name, parameter in model.named_parameters():
        if parameter.requires_grad and "deltas" in name.split("."):
            parameter.data = parameter.data.to(torch.promote_types(parameter.dtype, torch.float32))


def add_penalty(adaptation: Adaptation | None, model: GPT, output: LossOutput) -> LossOutput:
    """The loss with what the adaptation adds to it, which is also logged on its own."""
    penalty = None if adaptation is None else adaptation.penalty(model)
    if penalty is None:
        return output
    return replace(output, loss=output.loss + penalty, parts={**output.parts, "penalty": penalty.detach()})


def keep_trained(module: nn.Module, checkpoint: dict[str, Any], base: Mapping[str, str] | None) -> None:
    """Leave in a checkpoint what is trained, and the name of its base."""
    state = checkpoint["state_dict"]
    checkpoint["state_dict"] = {name: state[name] for name in trained_names(module)}
    if base is not None:
        checkpoint["gpt_lightning"]["base"] = dict(base)


def check_adapted(module: nn.Module, checkpoint: Mapping[str, Any], base: Mapping[str, str] | None) -> None:
    """Refuse a checkpoint of another adaptation or another base.

    Raises:
        CheckpointError: It is.
    """
    card = checkpoint.get("gpt_lightning", {})
    if not names_base(card):
        raise CheckpointError(
            "The checkpoint holds a whole model, and the run trains an adapter",
            fix="Start from it with --init_from, or leave model.adaptation out.",
        )
    if base is not None:
        check_base(base["sha256"], card, base["path"], "The checkpoint")
    check_trained(checkpoint["state_dict"], module, "The checkpoint")
