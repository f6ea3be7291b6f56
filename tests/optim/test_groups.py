"""Who is decayed, under which name, and how rates are written."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.groups import build_groups, read_learning_rates, set_learning_rates


def _model(bias: bool = True) -> GPT:
    return GPT(GPTConfig(n_layer=1, n_head=1, n_embd=4, block_size=4, vocab_size=5, bias=bias))


def test_matrices_decay_and_vectors_do_not() -> None:
    model = _model()
    groups = {group["name"]: group for group in build_groups(model, lr=0.5, weight_decay=0.1)}
    assert set(groups) == {"decay", "no_decay"}
    assert (groups["decay"]["weight_decay"], groups["no_decay"]["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    undecayed = {names[id(parameter)] for parameter in groups["no_decay"]["params"]}
    assert undecayed == {name for name in names.values() if name.endswith("bias") or "norm" in name}
    every = [id(parameter) for group in groups.values() for parameter in group["params"]]
    assert sorted(every) == sorted(names)
    assert {group["lr"] for group in groups.values()} == {group["initial_lr"] for group in groups.values()} == {0.5}


def test_tied_parameter_is_listed_once() -> None:
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    (group,) = build_groups(nn.Sequential(first, second), lr=1.0, weight_decay=0.0)
    assert len(group["params"]) == 1


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    model = nn.Linear(3, 3)
    model.bias.requires_grad_(False)
    (group,) = build_groups(model, lr=1.0, weight_decay=0.0)
    assert (group["name"], group["params"]) == ("decay", [model.weight])
    with pytest.raises(ConfigError, match="no parameter to train"):
        build_groups(model.requires_grad_(False), lr=1.0, weight_decay=0.0)


def test_rates_follow_the_factor_without_drifting() -> None:
    optimizer = torch.optim.SGD(build_groups(_model(), lr=0.5, weight_decay=0.0), lr=0.5)
    for factor in (0.5, 0.25, 1.0):
        set_learning_rates(optimizer, factor)
        assert read_learning_rates(optimizer) == {"decay": 0.5 * factor, "no_decay": 0.5 * factor}


def test_names_and_initial_rates_survive_a_checkpoint() -> None:
    model = _model()
    optimizer = torch.optim.SGD(build_groups(model, lr=0.5, weight_decay=0.0), lr=0.5)
    set_learning_rates(optimizer, 0.1)
    other = torch.optim.SGD(build_groups(model, lr=0.5, weight_decay=0.0), lr=0.5)
    other.load_state_dict(optimizer.state_dict())
    assert read_learning_rates(other) == pytest.approx({"decay": 0.05, "no_decay": 0.05})
    set_learning_rates(other, 1.0)
    assert read_learning_rates(other) == {"decay": 0.5, "no_decay": 0.5}
