"""A base in 8 bits: how far it is from what it was, and that everything else is exact on it."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from gpt_lightning.adapters.base import trained_names
from gpt_lightning.adapters.bottleneck import Pfeiffer
from gpt_lightning.adapters.freezing import Freeze
from gpt_lightning.adapters.int8 import Int8Base
from gpt_lightning.adapters.layers import adapted_layers, merge_adapter
from gpt_lightning.adapters.loading import build_adaptation, load_adapter
from gpt_lightning.adapters.lora import DoRA, LoRA
from gpt_lightning.adapters.rounding import multiply_rows, round_rows, widen_rows
from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.packing import pack
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from tests.adapters.models import GPT2, LLAMA, adapted, build_base, logits_of, tokens, train_a_little

every_shape = pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])


def test_a_rounded_product_is_that_of_the_rounded_matrix() -> None:
    generator = torch.Generator().manual_seed(0)
    weight = torch.randn(6, 10, generator=generator) * torch.logspace(-3, 2, 6)[:, None]
    weight[2] = 0
    numbers, scales = round_rows(weight)
    whole = widen_rows(numbers, scales, torch.float32)
    assert numbers.dtype == torch.int8
    assert bool(((whole - weight).abs() <= scales / 2 * 1.0001).all())
    assert torch.equal(whole[2], weight[2])
    inputs, plain = (torch.randn(3, 4, 10, generator=torch.Generator().manual_seed(1)) for _ in range(2))
    found, wanted = multiply_rows(inputs.requires_grad_(), numbers, scales), plain.requires_grad_() @ whole.T
    torch.testing.assert_close(found, wanted, rtol=1e-6, atol=1e-5)
    for each in (found, wanted):
        torch.autograd.backward(each.square().sum())
    torch.testing.assert_close(inputs.grad, plain.grad, rtol=1e-5, atol=1e-3)  # of size 1000


def _rounded(config: GPTConfig) -> GPT:
    """The base with every linear layer of its blocks rounded, as plain numbers."""
    model = build_base(config)
    with torch.no_grad():
        for layer in model.blocks.modules():
            if isinstance(layer, nn.Linear):
                layer.weight.copy_(widen_rows(*round_rows(layer.weight), torch.float32))
    return model


@every_shape
@pytest.mark.parametrize("adapter", [LoRA(r=2, targets=["query", "contract"]), DoRA(r=2)], ids=["lora", "dora"])
def test_it_is_the_adapter_on_the_rounded_base(adapter: LoRA, config: GPTConfig) -> None:
    model, plain = build_base(config), _rounded(config)
    Int8Base(adapter).attach(model, torch.Generator().manual_seed(1))
    adapter.attach(plain, torch.Generator().manual_seed(1))
    assert trained_names(model) == trained_names(plain)
    for each in (model, plain):
        train_a_little(each)
        torch.autograd.backward(each.logits(each(tokens())).square().sum())
    torch.testing.assert_close(logits_of(model), logits_of(plain), rtol=1e-5, atol=1e-4)
    grown, wanted = ([p.grad for p in each.parameters() if p.grad is not None] for each in (model, plain))
    torch.testing.assert_close(grown, wanted, rtol=1e-3, atol=1e-2)  # of size 100
    base = logits_of(build_base(config))
    assert 1e-4 < float((logits_of(_rounded(config)) - base).abs().max() / base.abs().max()) < 0.1
    merged = copy.deepcopy(model)
    merge_adapter(merged, "default")
    assert all(parameter.dtype == torch.float32 for parameter in merged.parameters())
    torch.testing.assert_close(logits_of(merged), logits_of(model), rtol=1e-5, atol=1e-4)


@every_shape
def test_the_blocks_take_a_quarter(config: GPTConfig) -> None:
    model = build_base(config)
    before = sum(p.nbytes for p in model.blocks.parameters() if p.ndim > 1)
    Int8Base(LoRA(r=2)).attach(model)
    rounded = sum(layer.weight.nbytes for _, layer in adapted_layers(model))
    scales = sum(layer.scales.nbytes for _, layer in adapted_layers(model) if layer.scales is not None)
    assert rounded == before // 4
    assert scales == 4 * sum(len(layer.weight) for _, layer in adapted_layers(model))


def test_what_is_no_change_of_weights_is_decoded_on_the_rounded_base() -> None:
    model = adapted(LLAMA, Int8Base(Pfeiffer(size=2)))
    torch.testing.assert_close(logits_of(pack(model)), logits_of(model), rtol=1e-5, atol=1e-4)


def test_settings_make_it_again() -> None:
    inner = {"class_path": "gpt_lightning.adapters.lora.LoRA", "init_args": {"r": 3}}
    made = build_adaptation({"class_path": "gpt_lightning.adapters.int8.Int8Base", "init_args": {"adapter": inner}})
    assert isinstance(made, Int8Base)
    assert isinstance(made.on_whole_weights, LoRA)
    assert made.on_whole_weights.r == 3
    model = adapted(GPT2, made)
    state = model.state_dict()
    again = build_base(GPT2)
    load_adapter(again, made, {name: state[name] for name in trained_names(model)}, "here")
    assert torch.equal(logits_of(again), logits_of(model))
    with pytest.raises(ConfigError, match=r"trains weights of the base.*Freeze"):
        Int8Base(Freeze(layers=1))
