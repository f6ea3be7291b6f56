"""Which role a parameter plays, whether it decays, and how rates are written."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.groups import Role, build_groups, read_learning_rates, set_learning_rates

_RATES: dict[Role, float] = {"matrix": 0.5, "embedding": 0.25, "head": 0.125, "vector": 1.0}


def _model(**settings: Any) -> GPT:
    return GPT(GPTConfig(**{"n_layer": 2, "n_head": 1, "n_embd": 4, "block_size": 4, "vocab_size": 5} | settings))


def _members(model: nn.Module, layer_decay: float = 1.0) -> dict[str, tuple[float, float, set[str]]]:
    """Rate, decay and parameters of every group."""
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    groups = build_groups(model, rates=_RATES, weight_decay=0.1, layer_decay=layer_decay)
    every = [id(parameter) for group in groups for parameter in group["params"]]
    assert sorted(every) == sorted(names)
    assert all(group["lr"] == group["initial_lr"] for group in groups)
    return {
        group["name"]: (group["lr"], group["weight_decay"], {names[id(parameter)] for parameter in group["params"]})
        for group in groups
    }


def test_every_parameter_has_its_role() -> None:
    groups = _members(_model(tie_embeddings=False, smear=True, bigram_rows=7, qk_norm=True))
    assert set(groups) == {"matrix", "embedding", "head", "vector"}
    assert {name: group[:2] for name, group in groups.items()} == {
        "matrix": (0.5, 0.1),
        "embedding": (0.25, 0.1),
        "head": (0.125, 0.1),
        "vector": (1.0, 0.0),
    }
    inner = ("attention.query_key_value", "attention.output", "mlp.expand", "mlp.contract")
    assert groups["matrix"][2] == {f"blocks.{layer}.{name}.weight" for layer in range(2) for name in inner}
    assert groups["embedding"][2] == {
        "token_embedding.weight",
        "position_embedding.weight",
        "bigram_embedding.table.weight",
    }
    assert groups["head"][2] == {"head.weight"}
    assert "smear.scale" in groups["vector"][2]


def test_tied_head_is_an_embedding_and_listed_once() -> None:
    groups = _members(_model())
    assert set(groups) == {"matrix", "embedding", "vector"}
    first, second = nn.Linear(3, 3, bias=False), nn.Linear(3, 3, bias=False)
    second.weight = first.weight
    (group,) = build_groups(nn.Sequential(first, second), rates=_RATES, weight_decay=0.0)
    assert len(group["params"]) == 1


def test_frozen_parameters_and_empty_groups_are_left_out() -> None:
    model = nn.Linear(3, 3)
    model.bias.requires_grad_(False)
    (group,) = build_groups(model, rates=_RATES, weight_decay=0.0)
    assert (group["name"], group["params"]) == ("matrix", [model.weight])
    with pytest.raises(ConfigError, match="no parameter to train"):
        build_groups(model.requires_grad_(False), rates=_RATES, weight_decay=0.0)


def test_layer_decay_counts_from_the_head() -> None:
    groups = _members(_model(bias=False, tie_embeddings=False, smear=True), layer_decay=0.5)
    assert {name: group[0] for name, group in groups.items()} == {
        "embedding_layer0": 0.25 / 8,
        "vector_layer0": 1.0 / 8,
        "matrix_layer1": 0.5 / 4,
        "vector_layer1": 1.0 / 4,
        "matrix_layer2": 0.5 / 2,
        "vector_layer2": 1.0 / 2,
        "vector_layer3": 1.0,
        "head_layer3": 0.125,
    }
    assert groups["vector_layer3"][2] == {"final_norm.weight"}
    assert groups["vector_layer0"][2] == {"smear.scale"}
    with pytest.raises(ConfigError, match=r"layer_decay.*got 1\.5"):
        _members(_model(), layer_decay=1.5)


def test_rates_follow_the_factor_without_drifting() -> None:
    optimizer = torch.optim.SGD(build_groups(_model(), rates=_RATES, weight_decay=0.0), lr=0.5)
    for factor in (0.5, 0.25, 1.0):
        set_learning_rates(optimizer, factor)
        assert read_learning_rates(optimizer) == {
            "matrix": 0.5 * factor,
            "embedding": 0.25 * factor,
            "vector": factor,
        }


def test_names_and_initial_rates_survive_a_checkpoint() -> None:
    model = _model()
    optimizer = torch.optim.SGD(build_groups(model, rates=_RATES, weight_decay=0.0), lr=0.5)
    set_learning_rates(optimizer, 0.1)
    other = torch.optim.SGD(build_groups(model, rates=_RATES, weight_decay=0.0), lr=0.5)
    other.load_state_dict(optimizer.state_dict())
    assert read_learning_rates(other) == pytest.approx({"matrix": 0.05, "embedding": 0.025, "vector": 0.1})
    set_learning_rates(other, 1.0)
    assert read_learning_rates(other) == {"matrix": 0.5, "embedding": 0.25, "vector": 1.0}
