"""Schedule-free AdamW against the paper's three lines, in float64 with x kept as it stands."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.optimizers import ScheduleFree
from gpt_lightning.optim.schedule_free import ScheduleFreeOptimizer


def test_steps_along_the_formula() -> None:
    model = nn.Linear(3, 2)
    optimizer = ScheduleFree(0.1, betas=(0.8, 0.9), eps=1e-6, weight_decay=0.3).build(model)
    assert isinstance(optimizer, ScheduleFreeOptimizer)
    x = {name: value.detach().double().clone() for name, value in model.named_parameters()}
    z, v = {name: value.clone() for name, value in x.items()}, {name: torch.zeros_like(x[name]) for name in x}
    generator, weights = torch.Generator().manual_seed(0), [0.0]
    for step, factor in enumerate([0.25, 1.0, 1.0, 0.5, 0.75], start=1):
        for group in optimizer.param_groups:
            group["lr"] = 0.1 * factor
        weights.append((0.1 * (0.25 if step == 1 else 1.0)) ** 2)  # of the largest rate so far
        for name, parameter in model.named_parameters():
            y = 0.2 * z[name] + 0.8 * x[name]
            torch.testing.assert_close(parameter.detach().double(), y, rtol=1e-5, atol=1e-6)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            gradient = parameter.grad.double()
            v[name] = 0.9 * v[name] + 0.1 * gradient**2
            update = gradient / ((v[name] / (1 - 0.9**step)).sqrt() + 1e-6)
            z[name] = z[name] - 0.1 * factor * (update + (0.3 if name == "weight" else 0.0) * y)
            share = weights[-1] / sum(weights)
            x[name] = (1 - share) * x[name] + share * z[name]
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(optimizer.average(parameter).double(), x[name], rtol=1e-5, atol=1e-6)


def test_noisy_quadratic_ends_nearer_with_the_mean() -> None:
    """At a constant rate the weights rattle around the minimum, and their mean does not."""
    generator = torch.Generator().manual_seed(1)
    weight = nn.Parameter(torch.full((50,), 3.0))
    optimizer = ScheduleFreeOptimizer([{"params": [weight], "lr": 0.05}], betas=(0.9, 0.99), eps=1e-8)
    for _ in range(500):
        weight.grad = weight.detach() + torch.randn(50, generator=generator)
        optimizer.step()
    base = optimizer.state[weight]["base"]
    assert optimizer.average(weight).square().mean() < base.square().mean() / 3


def test_rate_zero_and_missing_gradients_change_nothing() -> None:
    model = nn.Linear(2, 2)
    optimizer = ScheduleFree(0.1).build(model)
    before = [value.detach().clone() for value in model.parameters()]
    optimizer.step()
    assert all(group["steps"] == 0 for group in optimizer.param_groups)
    for group in optimizer.param_groups:
        group["lr"] = 0.0
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    optimizer.step()
    assert all(torch.equal(one, other) for one, other in zip(before, model.parameters(), strict=True))


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="betas leave no way to the mean"):
        ScheduleFree(betas=(0.0, 0.9))
