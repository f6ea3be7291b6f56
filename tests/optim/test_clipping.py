"""The global norm and what is left after clipping."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.clipping import clip_gradients
from gpt_lightning.optim.optimizers import AdamW


def _parameters(dtype: torch.dtype = torch.float32) -> list[Tensor]:
    parameters: list[Tensor] = [nn.Parameter(torch.zeros(2, dtype=dtype)), nn.Parameter(torch.zeros(1, 1, dtype=dtype))]
    parameters[0].grad = torch.tensor([1.0, 2.0], dtype=dtype)
    parameters[1].grad = torch.tensor([[-2.0]], dtype=dtype)
    return [*parameters, nn.Parameter(torch.zeros(3, dtype=dtype))]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize(("max_norm", "scale"), [(1.5, 0.5), (30.0, 1.0), (None, 1.0)])
def test_norm_is_measured_and_gradients_are_scaled(dtype: torch.dtype, max_norm: float | None, scale: float) -> None:
    parameters = _parameters(dtype)
    norm = clip_gradients(iter(parameters), max_norm)
    assert norm.item() == pytest.approx(3.0)
    first, second = parameters[0].grad, parameters[1].grad
    assert first is not None
    assert second is not None
    assert first.tolist() == pytest.approx([scale, 2 * scale], rel=1e-2 if dtype == torch.bfloat16 else 1e-5)
    assert second.tolist() == [pytest.approx([-2 * scale], rel=1e-2 if dtype == torch.bfloat16 else 1e-5)]
    assert parameters[2].grad is None


def test_norm_of_bfloat16_gradients_is_not_rounded_to_bfloat16() -> None:
    parameter = nn.Parameter(torch.zeros(1000, dtype=torch.bfloat16))
    parameter.grad = torch.ones(1000, dtype=torch.bfloat16)
    norm = clip_gradients([parameter], None)
    assert norm.dtype == torch.float32
    assert norm.item() == pytest.approx(math.sqrt(1000), rel=1e-6)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_non_finite_gradient_is_seen_in_the_norm(bad: float) -> None:
    parameters = _parameters()
    parameters[0].grad = torch.tensor([1.0, bad])
    assert not clip_gradients(parameters, 1.0).isfinite()


def test_nothing_to_clip() -> None:
    assert clip_gradients([nn.Parameter(torch.zeros(2))], 1.0).item() == 0.0


@pytest.mark.parametrize("max_norm", [0.0, -1.0, math.nan])
def test_norm_must_be_positive(max_norm: float) -> None:
    with pytest.raises(ConfigError, match="not positive"):
        clip_gradients(_parameters(), max_norm)


def test_works_before_a_fused_step() -> None:
    model = nn.Linear(2, 2, dtype=torch.bfloat16)
    optimizer = AdamW(fused=True).build(model)
    torch.autograd.backward(model(torch.ones(1, 2, dtype=torch.bfloat16)).sum())
    assert clip_gradients(model.parameters(), 0.1) > 0.1
    optimizer.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
