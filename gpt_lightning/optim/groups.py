"""Parameter groups: which role a parameter plays, whether it decays, and its learning rate under its name.

    matrix      weights of the layers: all tensors with two or more axes that are not one of the next
    embedding   tables (token, position, ...); a tied head is the token table
    head        an untied head
    vector      biases, norm scales and shifts, other scales
    adapter     whatever lies below ``deltas``: added to a trained model (``gpt_lightning.adapters``); of any shape

Decaying a scale or a shift pulls it towards a value that means nothing, so vectors do not decay, those of adapters
neither. No parametrization changes an adapter: its own rule says how its steps follow rank and width.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Literal

import torch
from torch import nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.dtensor import local_part
from gpt_lightning.optim.parametrization import Multipliers, Parametrization, Standard, count_layers, layer_of

_SETTINGS = ("initial_lr", "weight_decay", "betas", "eps", "momentum", "nesterov", "size", "pieces")
"""What a recipe says of a group; the rest is its state, or follows."""

Role = Literal["matrix", "embedding", "head", "vector", "adapter"]
_ROLE, _EXTRAS = "role", "extras."


def build_groups(
    model: nn.Module,
    *,
    rates: Mapping[Role, float],
    weight_decay: float,
    parametrization: Parametrization = Standard(),  # noqa: B008 (no state)
    layer_decay: float = 1.0,
    eps: float | None = None,
    reach: float = 1.0,
) -> list[dict[str, Any]]:
    """Groups for a torch optimizer, one for each role and whatever else sets parameters apart.

    A parameter that is used twice (the tied head) is listed once; a frozen one and an empty group are left out. Each
    group carries ``name``, for logging, ``role``, ``initial_lr``, which schedules multiply, and ``size``, for
    ``scale_gradients``.

    Args:
        model: Its names decide: ``head.``, ``blocks.N.``, and tables are ``nn.Embedding``.
        rates: Learning rate of each role.
        weight_decay: Share of a weight, times its learning rate, that each step takes away.
        parametrization: How both follow the size of the model.
        layer_decay: What multiplies the learning rate for every layer further from the head; above 0, at most 1
            (Clark et al. 2020, ELECTRA). The embeddings lie below the first block.
        eps: What an Adam adds to the root of the running square; None = it has none.
        reach: How a step of one learning rate grows with the width of a matrix, in what it changes: as its power 1
            where every number moves alike (Adam, Lion), 1/2 for an orthogonal step of Adam's root mean square, 0 for
            one of constant singular values. The learning rate falls as it grows.

    Raises:
        ConfigError: Every parameter is frozen, or ``layer_decay`` is out of range.
    """
    if not 0 < layer_decay <= 1:
        raise ConfigError("optimizer.layer_decay is out of range", got=layer_decay, allowed="above 0, at most 1")
    layers = count_layers(model)
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter, role in _roles(model):
        factors = Multipliers() if role == "adapter" else parametrization.multipliers(name, parameter, model)
        decays = role != "vector" and not (role == "adapter" and parameter.ndim < 2)
        scale = factors.size * (factors.lr**reach if role == "matrix" else factors.lr)
        depth = _depth(name, role, layers)
        ending = factors.label if decays or role == "vector" else "vector"
        label = "_".join(filter(None, [role, ending, f"layer{depth}" if layer_decay < 1 else ""]))
        lr = rates[role] * scale * layer_decay ** (layers + 1 - depth)
        decay = weight_decay / scale if decays else 0.0
        settings: dict[str, float] = {"lr": lr, "initial_lr": lr, "weight_decay": decay, "size": factors.size}
        if eps is not None:
            settings["eps"] = eps * factors.eps
        group = groups.setdefault(label, {"name": label, "role": role, "params": [], **settings})
        assert settings.items() <= group.items(), f"parameters of the group {label} differ in their settings"
        group["params"].append(parameter)
    if not groups:
        raise ConfigError("the model has no parameter to train", allowed="at least one", fix="Unfreeze some of them.")
    return list(groups.values())


def join_extras(model: nn.Module, extras: nn.ModuleDict, roles: Mapping[str, Role]) -> nn.Module:
    """A decoder and what an objective trains beside it as one module, for an optimizer.

    Args:
        model: Keeps its names.
        extras: Its names get ``extras.`` in front.
        roles: Of its parameters, by the beginning of their names there; others are found by their shape.
    """
    for name, parameter in extras.named_parameters():
        for beginning, role in roles.items():
            if name.startswith(beginning):
                setattr(parameter, _ROLE, role)
    whole = nn.Module()
    for name, child in (*model.named_children(), ("extras", extras)):
        whole.add_module(name, child)
    return whole


def _roles(model: nn.Module) -> Iterator[tuple[str, nn.Parameter, Role]]:
    """Every parameter that is trained, with its first name and its role."""
    tables = {id(module.weight) for module in model.modules() if isinstance(module, nn.Embedding)}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        own: Role | None = getattr(parameter, _ROLE, None)
        if own is not None:
            yield name, parameter, own
        elif "deltas" in name.split("."):
            yield name, parameter, "adapter"
        elif id(parameter) in tables:
            yield name, parameter, "embedding"
        elif parameter.ndim < 2:
            yield name, parameter, "vector"
        else:
            yield name, parameter, "head" if name.startswith("head.") else "matrix"


def _depth(name: str, role: Role, layers: int) -> int:
    """0 for what lies below the blocks, 1 .. ``layers`` for the blocks, one more for what lies above them."""
    layer = layer_of(name)
    if layer is not None and not name.startswith(_EXTRAS):
        return layer + 1
    return 0 if role == "embedding" or name.startswith("smear.") else layers + 1


def keep_settings(optimizer: torch.optim.Optimizer) -> None:
    """Let the settings of every group stay those it was built with when a saved state is loaded.

    torch loads them with the state, so that a run that goes on with another learning rate would train with the old one.
    """
    built = [{key: group[key] for key in _SETTINGS if key in group} for group in optimizer.param_groups]

    def restore(loaded: torch.optim.Optimizer) -> None:
        for group, settings in zip(loaded.param_groups, built, strict=True):
            group.update(settings)

    optimizer.register_load_state_dict_post_hook(restore)


@torch.no_grad()
def scale_gradients(optimizer: torch.optim.Optimizer) -> None:
    """Make the gradients those of the method's own weights, in place; before they are clipped, once a step.

    A weight stored as s times its own has a gradient 1 / s times as large: s^2 times too little in Adam's eps against
    the square, and counted 1 / s times in a norm over all of them.
    """
    for group in optimizer.param_groups:
        gradients = [local_part(parameter.grad) for parameter in group["params"] if parameter.grad is not None]
        size = group.get("size", 1.0)
        if gradients and size != 1.0:
            torch._foreach_mul_(gradients, size)


def set_learning_rates(optimizer: torch.optim.Optimizer, factor: float) -> None:
    """Write ``initial_lr x factor`` into every group; before the step it is meant for."""
    for group in optimizer.param_groups:
        group["lr"] = group["initial_lr"] * factor


def read_learning_rates(optimizer: torch.optim.Optimizer) -> dict[str, float]:
    """The learning rate of every group now, by the group's name."""
    return {group["name"]: float(group["lr"]) for group in optimizer.param_groups}
