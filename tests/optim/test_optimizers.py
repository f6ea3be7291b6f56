"""AdamW against its formula, and the settings of all recipes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.optimizers import AdamW, Lion, Muon, OptimizerRecipe, ScheduleFree


@pytest.mark.parametrize("fused", [None, True, False])
def test_three_steps_along_the_formula(fused: bool | None) -> None:
    lr, beta1, beta2, eps, decay = 0.01, 0.8, 0.9, 1e-6, 0.3
    model = nn.Linear(2, 2)
    optimizer = AdamW(lr, (beta1, beta2), eps, decay, fused).build(model)
    weight, bias = model.weight.detach().double(), model.bias.detach().double()
    generator = torch.Generator().manual_seed(0)
    expected: dict[str, tuple[torch.Tensor, float]] = {"weight": (weight, decay), "bias": (bias, 0.0)}
    moments = {name: (torch.zeros_like(value), torch.zeros_like(value)) for name, (value, _) in expected.items()}
    for step in range(1, 4):
        for name, parameter in model.named_parameters():
            gradient = torch.randn(parameter.shape, generator=generator)
            parameter.grad = gradient.clone()
            mean, square = moments[name]
            mean = beta1 * mean + (1 - beta1) * gradient.double()
            square = beta2 * square + (1 - beta2) * gradient.double() ** 2
            moments[name] = (mean, square)
            value, share = expected[name]
            update = (mean / (1 - beta1**step)) / ((square / (1 - beta2**step)).sqrt() + eps)
            expected[name] = (value * (1 - lr * share) - lr * update, share)
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), expected[name][0], rtol=1e-5, atol=1e-6)


def test_fused_where_torch_has_the_kernel() -> None:
    assert AdamW().build(nn.Linear(2, 2)).defaults["fused"] is True
    with torch.device("meta"):
        model = nn.Linear(2, 2)
    assert AdamW().build(model).defaults["fused"] is False
    assert AdamW(fused=False).build(nn.Linear(2, 2)).defaults["fused"] is False


def test_groups_are_named() -> None:
    assert [group["name"] for group in AdamW().build(nn.Linear(2, 2)).param_groups] == ["matrix", "vector"]


@pytest.mark.parametrize("recipe", [AdamW, Lion, Muon, ScheduleFree])
@pytest.mark.parametrize(
    ("settings", "part"),
    [
        ({"lr": -1e-3}, "optimizer.lr is negative or not finite: got -0.001"),
        ({"lr": float("nan")}, "optimizer.lr"),
        ({"lr": float("inf")}, "optimizer.lr"),
        ({"embedding_lr": -1.0}, "optimizer.embedding_lr"),
        ({"head_lr": -1.0}, "optimizer.head_lr"),
        ({"vector_lr": -1.0}, "optimizer.vector_lr"),
        ({"weight_decay": -0.1}, "optimizer.weight_decay"),
        ({"layer_decay": 0.0}, "optimizer.layer_decay is out of range: got 0.0"),
        ({"betas": (0.9, 1.0)}, "optimizer.betas are out of range: got (0.9, 1.0)"),
        ({"betas": (-0.1, 0.9)}, "optimizer.betas"),
        ({"betas": (float("nan"), 0.9)}, "optimizer.betas"),
    ],
)
def test_settings_out_of_range(recipe: Callable[..., OptimizerRecipe], settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(**settings)
    assert part in str(caught.value)


@pytest.mark.parametrize(
    ("recipe", "settings", "part"),
    [
        (AdamW, {"eps": -1.0}, "optimizer.eps"),
        (Muon, {"eps": -1.0}, "optimizer.eps"),
        (Muon, {"momentum": 1.0}, "optimizer.momentum is out of range: got 1.0"),
        (Muon, {"num_iterations": 0}, "optimizer.num_iterations is a count: got 0"),
    ],
)
def test_own_settings_out_of_range(recipe: Callable[..., OptimizerRecipe], settings: dict[str, Any], part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        recipe(**settings)
    assert part in str(caught.value)


@pytest.mark.parametrize("recipe", [AdamW, Lion])
def test_roles_share_the_rate_unless_they_have_their_own(recipe: Callable[..., OptimizerRecipe]) -> None:
    rates = recipe(lr=0.5, head_lr=0.1).rates
    assert rates == {"matrix": 0.5, "embedding": 0.5, "head": 0.1, "vector": 0.5, "adapter": 0.5}
