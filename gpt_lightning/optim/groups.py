"""Parameter groups: who is decayed, who is not, and the learning rate of each under its name."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from gpt_lightning.errors import ConfigError


def build_groups(model: nn.Module, *, lr: float, weight_decay: float) -> list[dict[str, Any]]:
    """Two groups for a torch optimizer: ``decay`` (matrices, embeddings) and ``no_decay`` (biases, norms).

    Decaying a scale or a shift pulls it towards a value that means nothing, so only tensors with two or more axes
    decay. A parameter that is used twice (the tied head) is listed once; a frozen one and an empty group are left out.
    Each group carries ``name``, for logging, and ``initial_lr``, which schedules multiply.

    Raises:
        ConfigError: Every parameter is frozen.
    """
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    if not trained:
        raise ConfigError("the model has no parameter to train", allowed="at least one", fix="Unfreeze some of them.")
    members = {
        "decay": [parameter for parameter in trained if parameter.ndim >= 2],
        "no_decay": [parameter for parameter in trained if parameter.ndim < 2],
    }
    decays = {"decay": weight_decay, "no_decay": 0.0}
    return [
        {"name": name, "params": params, "lr": lr, "initial_lr": lr, "weight_decay": decays[name]}
        for name, params in members.items()
        if params
    ]


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Write ``initial_lr x factor`` into every group; before the step it is meant for."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def read_learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rate of every group now, by the group's name."""
    return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}
