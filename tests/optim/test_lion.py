"""Lion against its formula."""

from __future__ import annotations

import torch
from torch import nn

from gpt_lightning.optim.optimizers import Lion


def test_three_steps_along_the_formula() -> None:
    model = nn.Linear(3, 2)
    optimizer = Lion(0.1, betas=(0.8, 0.9), weight_decay=0.3).build(model)
    generator = torch.Generator().manual_seed(0)
    expected = {"weight": (model.weight.detach().double(), 0.3), "bias": (model.bias.detach().double(), 0.0)}
    momenta = {name: torch.zeros_like(value) for name, (value, _) in expected.items()}
    for _ in range(3):
        for name, parameter in model.named_parameters():
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            gradient, (value, decay) = parameter.grad.double(), expected[name]
            sign = torch.sign(0.8 * momenta[name] + 0.2 * gradient)
            expected[name] = (value - 0.1 * (sign + decay * value), decay)
            momenta[name] = 0.9 * momenta[name] + 0.1 * gradient
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), expected[name][0], rtol=1e-5, atol=1e-6)


def test_continues_bit_for_bit_from_its_state_and_spares_what_has_no_gradient() -> None:
    model, resumed = nn.Linear(2, 2), nn.Linear(2, 2)
    optimizer, other = Lion(0.1).build(model), Lion(0.1).build(resumed)
    model.weight.grad = torch.ones(2, 2)
    bias = model.bias.detach().clone()
    optimizer.step()
    assert torch.equal(model.bias, bias)
    resumed.load_state_dict(model.state_dict())
    other.load_state_dict(optimizer.state_dict())
    for one, stepper in ((model, optimizer), (resumed, other)):
        one.weight.grad = torch.tensor([[-2.0, 0.1], [0.3, -4.0]])
        stepper.step()
    assert torch.equal(model.weight, resumed.weight)
