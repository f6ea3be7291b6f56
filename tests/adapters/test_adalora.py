"""AdaLoRA against its formulas: importance, choice, budget."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from gpt_lightning.adapters.adalora import AdaLoRA, SingularValues, choose
from gpt_lightning.adapters.layers import adapted_layers
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.schedules.lengths import Horizon
from tests.adapters.models import GPT2, build_base, tokens

SETTINGS: dict[str, Any] = {
    "r": 2,
    "initial_r": 4,
    "targets": ["query", "contract"],
    "warmup": 3,
    "final": 4,
    "every": 2,
}


def deltas_of(model: GPT) -> list[SingularValues]:
    found = [delta for _, layer in adapted_layers(model) for _, delta in layer.deltas_of("default")]
    return [delta for delta in found if isinstance(delta, SingularValues)]


def train(adaptation: AdaLoRA, steps: int, model: GPT | None = None) -> tuple[GPT, list[int]]:
    """Numbers of E that are not 0 after every step."""
    if model is None:
        model = build_base(GPT2)
        adaptation.attach(model, torch.Generator().manual_seed(1))
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2)
    horizon, counts = Horizon(total_steps=steps, tokens_per_step=8), []
    for step in range(steps):
        optimizer.zero_grad()
        penalty = adaptation.penalty(model)
        assert penalty is not None
        torch.autograd.backward(model.logits(model(tokens())).square().mean() + penalty)
        optimizer.step()
        adaptation.after_step(model, step, horizon)
        counts.append(sum(int(delta.e.count_nonzero()) for delta in deltas_of(model)))
    return model, counts


def test_the_budget_falls_as_planned_and_is_met_exactly() -> None:
    model, counts = train(AdaLoRA(**SETTINGS), 12)
    # 4 matrices, 4 -> 2 each; between choices the optimizer brings numbers back.

    def extra(done: int) -> int:
        return int(8 * (1 - (done - 3) / (12 - 4 - 3)) ** 3)

    assert counts[:3] == [16, 16, 16]
    assert [counts[3], counts[5], counts[7]] == [8 + extra(4), 8 + extra(6), 8]
    assert counts[7:] == [8] * 5
    assert sum(int(delta.kept.sum()) for delta in deltas_of(model)) == 8


def test_equal_importance_breaks_no_budget() -> None:
    model = build_base(GPT2)
    AdaLoRA(**SETTINGS).attach(model)
    deltas = deltas_of(model)
    for delta in deltas:
        delta.e.data.fill_(1.0)
    choose(deltas, 5)  # nothing was watched yet: all are equally unimportant
    assert [int(delta.e.count_nonzero()) for delta in deltas] == [4, 1, 0, 0]


def test_importance_is_its_formula() -> None:
    """Zhang et al. 2023, equations 9 to 11, written out."""
    model = build_base(GPT2)
    AdaLoRA(**SETTINGS).attach(model, torch.Generator().manual_seed(1))
    delta = deltas_of(model)[0]
    generator = torch.Generator().manual_seed(4)
    means = {name: (torch.zeros(()), torch.zeros(())) for name in "aeb"}
    for _ in range(3):
        for name in "aeb":
            parameter = getattr(delta, name)
            parameter.data = torch.randn(parameter.shape, generator=generator)
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            now = (parameter * parameter.grad).abs().detach()
            mean = 0.8 * means[name][0] + 0.2 * now
            means[name] = mean, 0.9 * means[name][1] + 0.1 * (now - mean).abs()
        delta.watch(0.8, 0.9)
    a, e, b = (mean * deviation for mean, deviation in means.values())
    torch.testing.assert_close(delta.scores(), e.flatten() + a.mean(dim=1) + b.mean(dim=0))


def test_the_penalty_is_zero_for_orthogonal_factors() -> None:
    model = build_base(GPT2)
    adaptation = AdaLoRA(**SETTINGS, orthogonality=2.0)
    adaptation.attach(model)
    for delta in deltas_of(model):
        delta.a.data = torch.linalg.qr(torch.randn(16 if delta.a.shape[1] == 16 else 64, 4))[0].T
        delta.b.data = torch.linalg.qr(torch.randn(len(delta.b), 4))[0]
    penalty = adaptation.penalty(model)
    assert penalty is not None
    assert penalty.item() < 1e-5
    delta.a.data *= 3**0.5
    # One of eight factors now has A A^T = 3 I, so |A A^T - I| = 2 sqrt(4).
    penalty = adaptation.penalty(model)
    assert penalty is not None
    assert penalty.item() == pytest.approx(2.0 * 4 / 8, rel=1e-4)


def test_a_step_without_gradients_is_not_watched() -> None:
    model = build_base(GPT2)
    AdaLoRA(**SETTINGS).attach(model)
    AdaLoRA(**SETTINGS).after_step(model, 0, Horizon(total_steps=12, tokens_per_step=8))
    assert all(not delta.a_importance.any() for delta in deltas_of(model))  # type: ignore[operator]


def test_the_plan_is_a_step_value() -> None:
    """Twin: without it, runs of two lengths would share steps after which their ranks differ."""
    value = AdaLoRA(**SETTINGS).step_values()["budget"]
    long, short = (Horizon(total_steps=total, tokens_per_step=8) for total in (24, 12))
    assert [value.at(step, short) for step in range(3)] == [value.at(step, long) for step in range(3)] == [1.0] * 3
    assert all(value.at(step, short) != value.at(step, long) for step in range(3, 12))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"r": 4}, "below initial_r"),
        ({"every": 0}, "counts steps"),
        ({"beta1": 1.0}, "beta1"),
        ({"alpha": 0.0}, "alpha"),
        ({"warmup": "20M"}, "warmup"),
    ],
)
def test_values_out_of_range_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        AdaLoRA(**{**SETTINGS, **settings})


def test_a_run_without_a_step_to_choose_in_is_refused() -> None:
    with pytest.raises(ConfigError, match="leave no step"):
        AdaLoRA(**SETTINGS).plan.at(0, Horizon(total_steps=7, tokens_per_step=8))
