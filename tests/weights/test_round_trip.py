"""``import(export(x)) == x`` to the last bit, through the files, over random architectures of all three families."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import torch
from hypothesis import strategies as st

from gpt_lightning.data.tokenizers.kinds import ByteTokenizer
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.exporting import prepare_export, write_export
from gpt_lightning.weights.families import FAMILIES, choose_family
from gpt_lightning.weights.loading import LoadedModel, load_model

_TOKENIZER = ByteTokenizer()


# Choices only: the type checks of the test session draw random numbers, which hypothesis forbids inside a strategy.
_CHOICES = {
    "family": st.sampled_from(sorted(FAMILIES)),
    "n_layer": st.integers(1, 3),
    "n_head": st.integers(1, 4),
    "head_size": st.sampled_from([2, 4, 6, 8]),
    "block_size": st.integers(1, 40),
    "n_inner": st.none() | st.integers(1, 20),
    "norm_eps": st.sampled_from([1e-5, 1e-6]),
    "flags": st.tuples(*[st.booleans()] * 4),
    "vocab_multiple": st.sampled_from([1, 8, 64]),
    "groups": st.integers(0, 3),
    "rope_theta": st.floats(10, 1e7),
    "head_dim": st.none() | st.sampled_from([2, 4, 10]),
    "stretch": st.none() | st.tuples(st.floats(1, 64), st.floats(0.5, 2), st.floats(2.5, 8), st.integers(1, 9999)),
}


def _build(choices: Mapping[str, Any]) -> GPTConfig:
    """Anything that a family can express, and what only our own record says about it."""
    one, two, tied, zero = choices["flags"]
    heads = choices["n_head"]
    values = {name: choices[name] for name in ("n_layer", "block_size", "n_inner", "norm_eps", "vocab_multiple")}
    values |= {"n_head": heads, "n_embd": heads * choices["head_size"], "vocab_size": _TOKENIZER.vocab_size}
    values |= {"tie_embeddings": tied, "zero_init": zero}
    if choices["family"] == "gpt2":
        return GPTConfig(**values, bias=one, dropout=0.1 if two else 0.0)
    divisors = [None, *(number for number in range(1, heads + 1) if heads % number == 0)]
    values |= {"bias": False, "norm": "rms", "mlp": "swiglu", "qk_norm": choices["family"] == "qwen3"}
    values |= {"n_kv_head": divisors[choices["groups"] % len(divisors)], "head_dim": choices["head_dim"]}
    if choices["stretch"] is not None:
        names = ("rope_factor", "rope_low_factor", "rope_high_factor", "rope_context")
        values |= dict(zip(names, choices["stretch"], strict=True))
    return GPTConfig(**values, rope_theta=choices["rope_theta"])


def _random_bits(model: GPT) -> None:
    """Every bit pattern that is a number: zeros with a sign and the smallest numbers among them."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            bits = torch.randint(-(2**31), 2**31, parameter.shape, generator=generator).to(torch.int32)
            parameter.copy_(bits.view(torch.float32).nan_to_num(nan=-0.0))


def _comes_back(config: GPTConfig, shard: str) -> None:
    model = GPT(config)
    _random_bits(model)
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        loaded = LoadedModel(model, _TOKENIZER, {}, folder)
        write_export(prepare_export(loaded), folder, max_shard_size=shard)
        back = load_model(folder)
    assert back.model.config == config
    assert back.tokenizer.fingerprint == _TOKENIZER.fingerprint
    expected, found = model.state_dict(), back.model.state_dict()
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        rows = _TOKENIZER.vocab_size if name in ("token_embedding.weight", "head.weight") else None
        pairs = (each[:rows].contiguous().view(torch.int32) for each in (tensor, found[name]))
        assert torch.equal(*pairs), name


_any_model = hypothesis.given(st.fixed_dictionaries(_CHOICES), st.sampled_from(["1KB", "20KB", "5GB"]))


@hypothesis.settings(max_examples=8, deadline=None, derandomize=True)
@_any_model
def test_export_and_import_return_every_bit(choices: dict[str, Any], shard: str) -> None:
    _comes_back(_build(choices), shard)


@pytest.mark.slow
@hypothesis.settings(max_examples=400, deadline=None)
@_any_model
def test_export_and_import_return_every_bit_of_many_models(choices: dict[str, Any], shard: str) -> None:
    _comes_back(_build(choices), shard)


def test_the_family_is_that_of_the_options() -> None:
    """The property above would hold as well if everything left as Llama."""
    base = GPTConfig(n_layer=1, n_head=1, n_embd=4, block_size=4, vocab_size=5)
    modern: dict[str, Any] = {"bias": False, "norm": "rms", "mlp": "swiglu", "rope_theta": 10.0, "head_dim": 6}
    values = base.to_dict()
    assert choose_family(base).model_type == "gpt2"
    assert choose_family(GPTConfig.from_dict({**values, **modern})).model_type == "llama"
    assert choose_family(GPTConfig.from_dict({**values, **modern, "qk_norm": True})).model_type == "qwen3"
