"""Parity with the reference implementations of Llama and Qwen3, and the table of names."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model import attention
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.positions import Rotation, rotate
from gpt_lightning.weights.llama import from_llama, to_llama
from tests.ulps import OTHER_CODE, PLANTED, distance_in_ulps

_LLAMA = GPTConfig(
    n_layer=2,
    n_head=4,
    n_embd=32,
    block_size=16,
    vocab_size=37,
    bias=False,
    n_kv_head=2,
    n_inner=40,
    norm="rms",
    norm_eps=1e-6,
    mlp="swiglu",
    rope_theta=1000.0,
    vocab_multiple=8,
)
_QWEN3 = dataclasses.replace(_LLAMA, qk_norm=True)
_CONFIGS = {
    "llama": _LLAMA,
    "llama-untied": dataclasses.replace(_LLAMA, tie_embeddings=False),
    "llama-mha": dataclasses.replace(_LLAMA, n_kv_head=None),
    "qwen3": _QWEN3,
    "qwen3-untied": dataclasses.replace(_QWEN3, tie_embeddings=False),
    "qwen3-heads": dataclasses.replace(_QWEN3, head_dim=16),
    # Wavelengths of 6, 35, 199 and 1,117 tokens: two are left, one is stretched in part, one in full.
    "llama-stretched": dataclasses.replace(_LLAMA, rope_factor=8.0, rope_context=400),
}
each_config = pytest.mark.parametrize("config", _CONFIGS.values(), ids=_CONFIGS.keys())


def _build_reference(config: GPTConfig) -> Any:
    sizes = {
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": config.key_value_heads,
        "hidden_size": 32,
        "head_dim": config.head_size,
        "intermediate_size": config.inner_size,
        "vocab_size": 37,
        "max_position_embeddings": 16,
        "rms_norm_eps": 1e-6,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0},
        "tie_word_embeddings": config.tie_embeddings,
    }
    if config.rope_factor is not None:
        sizes["rope_parameters"] = {
            "rope_type": "llama3",
            "rope_theta": 1000.0,
            "factor": 8.0,
            "low_freq_factor": 1.0,
            "high_freq_factor": 4.0,
            "original_max_position_embeddings": 400,
        }
    kind = "Qwen3" if config.qk_norm else "Llama"
    settings = getattr(transformers, f"{kind}Config")(**sizes, pad_token_id=None, bos_token_id=None, eos_token_id=None)
    model = getattr(transformers, f"{kind}ForCausalLM")(settings)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


def _build_ours(reference: Any, config: GPTConfig) -> GPT:
    model = GPT(config)
    model.load_state_dict(from_llama(reference.state_dict(), config))
    return model


def _tokens() -> Tensor:
    return torch.randint(37, (3, 16), generator=torch.Generator().manual_seed(1))


@each_config
def test_logits_and_gradients_equal_the_reference(config: GPTConfig) -> None:
    reference, tokens = _build_reference(config), _tokens()
    ours = _build_ours(reference, config)
    theirs = reference(tokens, labels=tokens)
    logits = ours.logits(ours(tokens))
    assert theirs.logits.std() > 0.5, "a reference that says nothing proves nothing"
    torch.testing.assert_close(logits, theirs.logits, rtol=0, atol=2e-5)
    theirs.loss.backward()
    torch.autograd.backward(F.cross_entropy(logits[:, :-1].flatten(0, 1), tokens[:, 1:].flatten()))
    gradients = from_llama({name: parameter.grad for name, parameter in reference.named_parameters()}, config)
    assert len(gradients) == len(list(ours.parameters()))
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, gradients[name], rtol=1e-4, atol=1e-5, msg=name)


@each_config
@torch.no_grad()
def test_logits_differ_from_the_reference_by_rounding_alone(config: GPTConfig) -> None:
    reference, tokens = _build_reference(config).eval(), _tokens()
    ours = _build_ours(reference, config).eval()
    assert distance_in_ulps(ours.logits(ours(tokens)), reference(tokens).logits) < OTHER_CODE


def _swap_gate_and_value(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, weight in model.named_parameters():
        if name.endswith("mlp.expand.weight"):
            gate, value = weight.clone().chunk(2)
            weight.copy_(torch.cat((value, gate)))


def _turn_keys_one_position_further(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = itertools.count()

    def turn(heads: Tensor, rotation: Rotation) -> Tensor:
        late = Rotation(*(table.roll(1, dims=-2) for table in rotation))
        return rotate(heads, late if next(calls) % 2 else rotation)

    monkeypatch.setattr(attention, "rotate", turn)


def _take_another_eps(model: GPT, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in model.modules():
        if "eps" in vars(module):
            vars(module)["eps"] = 1e-5


@pytest.mark.parametrize("plant", [_swap_gate_and_value, _turn_keys_one_position_further, _take_another_eps])
@each_config
@torch.no_grad()
def test_a_planted_error_is_further_away(
    config: GPTConfig, plant: Callable[[GPT, pytest.MonkeyPatch], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    reference, tokens = _build_reference(config).eval(), _tokens()
    ours = _build_ours(reference, config).eval()
    plant(ours, monkeypatch)
    assert distance_in_ulps(ours.logits(ours(tokens)), reference(tokens).logits) > PLANTED


@each_config
def test_round_trip_is_exact(config: GPTConfig) -> None:
    reference = _build_reference(config)
    ours = _build_ours(reference, config)
    written = to_llama(ours.state_dict(), config)
    assert set(written) == set(reference.state_dict())
    assert all(torch.equal(tensor, written[key]) for key, tensor in reference.state_dict().items())
    back = from_llama(written, config)
    assert all(torch.equal(tensor, back[key]) for key, tensor in ours.state_dict().items())


def test_every_wrong_key_is_named() -> None:
    written = to_llama(GPT(_QWEN3).state_dict(), _QWEN3)
    del written["model.layers.1.mlp.up_proj.weight"]
    written["model.layers.2.input_layernorm.weight"] = torch.ones(32)
    written["model.layers.0.self_attn.k_proj.weight"] = torch.ones(32, 32)
    with pytest.raises(CheckpointError) as caught:
        from_llama(written, _QWEN3)
    for part in (
        "3 keys",
        "missing model.layers.1.mlp.up_proj.weight",
        "unknown model.layers.2.input_layernorm.weight",
        "k_proj.weight is (32, 32) where (16, 32)",
    ):
        assert part in str(caught.value)


def test_a_head_of_its_own_is_refused_where_it_is_tied() -> None:
    written = to_llama(GPT(_LLAMA).state_dict(), _LLAMA)
    written["lm_head.weight"] = written["lm_head.weight"] + 1
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs.*tie_embeddings to false"):
        from_llama(written, _LLAMA)


@pytest.mark.parametrize(
    "changes",
    [
        {"bias": True},
        {"norm": "layer"},
        {"mlp": "relu2"},
        {"rope_theta": None},
        {"window": 4},
        {"logit_softcap": 3.0},
        {"value_embeddings": True},
        {"smear": True},
        {"bigram_rows": 9},
    ],
    ids=str,
)
def test_what_cannot_be_expressed_is_refused(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(_LLAMA, **changes)
    ((name, value),) = changes.items()
    with pytest.raises(ConfigError, match=f"{name}={value!r}"):
        to_llama(GPT(config).state_dict(), config)


@pytest.mark.parametrize("name", ["modern-nano", "modern-small", "modern-medium", "modern-large"])
def test_modern_presets_can_leave_as_qwen3(name: str) -> None:
    config = GPTConfig.preset(name)
    with torch.device("meta"):
        written = to_llama(GPT(config).state_dict(), config)
        settings = transformers.Qwen3Config(
            num_hidden_layers=config.n_layer,
            num_attention_heads=config.n_head,
            num_key_value_heads=config.key_value_heads,
            hidden_size=config.n_embd,
            head_dim=config.head_size,
            intermediate_size=config.inner_size,
            vocab_size=50257,
            tie_word_embeddings=True,
        )
        theirs = transformers.Qwen3ForCausalLM(settings)
    shapes = {key: tensor.shape for key, tensor in theirs.state_dict().items()}
    assert {key: tensor.shape for key, tensor in written.items()} == shapes
    assert config.num_parameters == sum(parameter.numel() for parameter in theirs.parameters())
