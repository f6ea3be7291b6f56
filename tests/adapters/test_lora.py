"""Low-rank adapters against their formulas, written out; and which layers they go to."""

from __future__ import annotations

import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from gpt_lightning.adapters.base import trained_names
from gpt_lightning.adapters.layers import AdaptedLinear, adapted_layers
from gpt_lightning.adapters.loading import check_trained
from gpt_lightning.adapters.lora import DoRA, LoRA, PiSSA, RsLoRA
from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.optimizers import AdamW, Muon
from gpt_lightning.optim.parametrization import CompleteP
from tests.adapters.models import GPT2, LLAMA, adapted, build_base

INPUTS = torch.randn(2, 5, 16, generator=torch.Generator().manual_seed(0))


def layer_of(model: GPT, name: str = "blocks.1.attention.query_key_value") -> AdaptedLinear:
    layer = model.get_submodule(name)
    assert isinstance(layer, AdaptedLinear)
    return layer


def part(layer: AdaptedLinear, word: str) -> nn.Module:
    return dict(layer.deltas_of("default"))[word]


def factors(layer: AdaptedLinear, word: str) -> tuple[Tensor, Tensor]:
    delta = part(layer, word)
    assert isinstance(delta.a, Tensor)
    assert isinstance(delta.b, Tensor)
    return delta.a, delta.b


@pytest.mark.parametrize(("kind", "scale"), [(LoRA, 6 / 2), (RsLoRA, 6 / math.sqrt(2))])
def test_lora_is_its_formula(kind: type[LoRA], scale: float) -> None:
    layer = layer_of(adapted(LLAMA, kind(r=2, alpha=6.0, targets=["query", "value"])))
    base = F.linear(INPUTS, layer.weight, layer.bias)
    wanted = [
        base[..., first:end] + (scale * INPUTS @ a.T @ b.T if word != "key" else 0)
        for word, (first, end) in layer.sections.items()
        for a, b in [factors(layer, "query" if word == "key" else word)]
    ]
    torch.testing.assert_close(layer(INPUTS), torch.cat(wanted, dim=-1), rtol=1e-6, atol=1e-6)


def test_dora_is_its_formula() -> None:
    layer = layer_of(adapted(GPT2, DoRA(r=2, alpha=4.0, targets=["contract"])), "blocks.0.mlp.contract")
    a, b = factors(layer, "contract")
    direction = layer.weight + 2 * b @ a
    magnitude = part(layer, "contract").magnitude
    assert isinstance(magnitude, Tensor)
    weight = magnitude[:, None] * direction / direction.norm(dim=1, keepdim=True)
    inputs = torch.randn(3, 64, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(layer(inputs), F.linear(inputs, weight, layer.bias), rtol=1e-5, atol=1e-5)


def test_the_norm_of_dora_is_a_constant_of_the_gradient() -> None:
    """Liu et al. 2024, section 4.3: with it, the gradient of B has no part along the direction's own change."""
    layer = layer_of(adapted(GPT2, DoRA(r=2, alpha=4.0, targets=["query"])))
    a, b = factors(layer, "query")
    torch.autograd.backward(layer(INPUTS)[..., :16].square().sum())
    direction = layer.weight[:16] + 2 * b @ a
    ratio = (part(layer, "query").magnitude / direction.norm(dim=1)).detach()
    free = b.detach().clone().requires_grad_()
    assert layer.bias is not None
    output = F.linear(INPUTS, ratio[:, None] * (layer.weight[:16] + 2 * free @ a.detach()), layer.bias[:16])
    torch.autograd.backward(output.square().sum())
    torch.testing.assert_close(b.grad, free.grad, rtol=1e-4, atol=1e-5)


def test_pissa_begins_with_the_best_approximation() -> None:
    """Eckart & Young: what is left has the norm of the singular values left."""
    model = build_base(GPT2)
    PiSSA(r=4, targets=["query"]).attach(model)
    layer = layer_of(model)
    a, b = factors(layer, "query")
    weight = layer.weight[:16]
    left = torch.linalg.matrix_norm(weight - 2 * b @ a)
    torch.testing.assert_close(left, torch.linalg.svdvals(weight)[4:].norm(), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])
def test_the_number_of_what_is_trained_is_its_formula(config: object) -> None:
    assert config in (GPT2, LLAMA)
    chosen = GPT2 if config is GPT2 else LLAMA
    model = build_base(chosen)
    LoRA(r=3).attach(model)
    kv, inner = chosen.key_value_heads * chosen.head_size, chosen.inner_size
    shapes = [(16, 16), (16, kv), (16, kv), (16, 16), (16, inner), (inner, 16)] + [(16, inner)] * chosen.is_gated
    wanted = chosen.n_layer * sum(3 * (inputs + rows) for inputs, rows in shapes)
    assert sum(p.numel() for p in model.parameters() if p.requires_grad) == wanted


def test_targets_are_layers_of_this_architecture() -> None:
    model = build_base(LLAMA)
    LoRA(r=2, targets=["gate", "head"]).attach(model)
    assert [name for name, _ in adapted_layers(model)] == ["blocks.0.mlp.expand", "blocks.1.mlp.expand", "head"]
    with pytest.raises(ConfigError, match=r"'gate'.*allowed: query, key, value, output, expand, contract\)"):
        LoRA(targets=["gate"]).attach(build_base(GPT2))
    with pytest.raises(ConfigError, match=r"allowed: query, key"):
        LoRA(targets=[]).attach(build_base(GPT2))


def test_a_tied_head_is_refused_with_both_ways_out() -> None:
    with pytest.raises(ConfigError, match=r"Leave head out of targets, or .* tie_embeddings false"):
        LoRA(targets=["query", "head"]).attach(build_base(GPT2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [({"r": 0}, "a rank"), ({"alpha": 0.0}, "alpha"), ({"alpha": math.inf}, "alpha"), ({"dropout": 1.0}, "dropout")],
)
def test_values_out_of_range_are_refused(settings: dict[str, float], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        LoRA(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match="rank of a weight"):
        PiSSA(r=17, targets=["query"]).attach(build_base(GPT2))


def test_dropout_drops_inputs_of_the_change_only() -> None:
    layer = layer_of(adapted(GPT2, LoRA(r=2, dropout=0.5, targets=["query"])))
    inputs = INPUTS[0, :1].expand(4000, -1)
    exact = layer(inputs)
    layer.train()
    torch.manual_seed(0)
    dropped = layer(inputs)
    change = (exact - F.linear(inputs, layer.weight, layer.bias)).abs().max()
    assert 0 < (dropped.mean(dim=0) - exact[0]).abs().max() < 0.1 * change  # 5 sigma of 4,000 draws
    assert torch.equal(dropped[:, 16:], exact[:, 16:])


def test_adapters_have_a_role_of_their_own() -> None:
    """Muon does not make them orthogonal, and no parametrization multiplies their rate."""
    model = adapted(GPT2, DoRA(r=2, targets=["query", "contract"]))
    groups = Muon(adapter_lr=0.01).build(model, CompleteP(base_width=4, base_layers=1)).param_groups
    assert {group["name"] for group in groups} == {"adapter", "adapter_vector"}
    assert {group["initial_lr"] for group in groups} == {0.01}
    assert not any(group["orthogonal"] for group in groups)
    decays = {group["name"]: group["weight_decay"] for group in AdamW(weight_decay=0.1).build(model).param_groups}
    assert decays == {"adapter": 0.1, "adapter_vector": 0.0}


def test_a_state_of_another_adapter_names_what_differs() -> None:
    model = adapted(GPT2, LoRA(r=2, targets=["query"]))
    state = {name: model.state_dict()[name] for name in trained_names(model)}
    other = adapted(GPT2, LoRA(r=3, targets=["query"]))
    with pytest.raises(CheckpointError, match=r"\(2, 16\), needed \(3, 16\)"):
        check_trained(state, other, "it")
    with pytest.raises(CheckpointError, match="is missing"):
        check_trained({}, other, "it")
