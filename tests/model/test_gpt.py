"""The decoder itself: initial weights, causality, dropout, bounds."""

from __future__ import annotations

import math
import subprocess
import sys

import pytest
import torch
from torch import nn

from gpt_lightning.errors import DataError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

_CONFIG = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, vocab_size=11)


def _build(config: GPTConfig = _CONFIG, seed: int = 0) -> GPT:
    return GPT(config, torch.Generator().manual_seed(seed))


def test_weights_depend_on_the_generator_alone() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = _build().state_dict()
    assert torch.equal(torch.get_rng_state(), before), "the global generator was touched"
    torch.manual_seed(2)
    second, other = _build().state_dict(), _build(seed=1).state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)
    assert not torch.equal(first["token_embedding.weight"], other["token_embedding.weight"])


def test_init_weights_repeats_the_constructor() -> None:
    model, fresh = _build(), _build().state_dict()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.fill_(7.0)
    model.init_weights(torch.Generator().manual_seed(0))
    assert all(torch.equal(tensor, fresh[key]) for key, tensor in model.state_dict().items())


def test_initial_scales_are_those_of_gpt2() -> None:
    model = _build(GPTConfig(n_layer=4, n_head=4, n_embd=128, block_size=64, vocab_size=500))
    for name, parameter in model.named_parameters():
        if name.endswith("norm.weight"):
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        elif name.endswith("bias"):
            assert torch.equal(parameter, torch.zeros_like(parameter)), name
        else:
            residual = "attention.output" in name or "mlp.contract" in name
            expected = 0.02 / math.sqrt(8) if residual else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.05), name
            assert abs(parameter.mean().item()) < expected / 20, name


def test_everything_is_initialised_and_trainable() -> None:
    model = _build()
    assert all(parameter.requires_grad and not parameter.is_meta for parameter in model.parameters())
    assert not list(model.buffers())
    names = {name.split(".")[0] for name in model.state_dict()}
    assert names == {"token_embedding", "position_embedding", "blocks", "final_norm"}


def test_building_on_meta_reserves_nothing() -> None:
    with torch.device("meta"):
        model = GPT(_CONFIG)
    assert all(parameter.is_meta for parameter in model.parameters())


def test_no_position_sees_a_later_token() -> None:
    model = _build().eval()
    tokens = torch.randint(11, (1, 8), generator=torch.Generator().manual_seed(3))
    changed = tokens.clone()
    changed[0, 5] = (changed[0, 5] + 1) % 11
    before, after = model(tokens), model(changed)
    torch.testing.assert_close(before[:, :5], after[:, :5], rtol=0, atol=1e-6)
    assert (before[:, 5:] - after[:, 5:]).abs().amax(-1).min() > 1e-4


def test_dropout_acts_in_all_three_places_while_training_only() -> None:
    config = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=8, vocab_size=11, dropout=0.5)
    model, plain = _build(config), _build()
    assert sum(isinstance(module, nn.Dropout) and module.p == 0.5 for module in model.modules()) == 2
    tokens = torch.arange(8)[None]
    torch.testing.assert_close(model.eval()(tokens), model(tokens), rtol=0, atol=0)
    model.train()
    torch.manual_seed(0)
    first = model(tokens)
    torch.manual_seed(0)
    assert torch.equal(model(tokens), first)
    assert not torch.equal(model(tokens), first)
    assert torch.equal(plain.train()(tokens), plain.eval()(tokens))
    # Attention alone: with every other dropout off, training still differs from evaluation.
    attention = model.blocks[0].get_submodule("attention")
    hidden = torch.randn(1, 8, 16)
    assert not torch.equal(attention.train()(hidden), attention.eval()(hidden))


def test_a_sequence_longer_than_the_positions_is_refused() -> None:
    with pytest.raises(DataError, match=r"got 9 .*block_size=8"):
        _build()(torch.zeros(1, 9, dtype=torch.long))


def test_head_is_tied() -> None:
    model = _build()
    hidden = torch.randn(2, 3, 16)
    torch.testing.assert_close(model.logits(hidden), hidden @ model.token_embedding.weight.T)
    assert sum(parameter.shape == (11, 16) for parameter in model.parameters()) == 1


def test_without_bias_there_is_none() -> None:
    model = _build(GPTConfig(n_layer=1, n_head=1, n_embd=4, block_size=4, vocab_size=5, bias=False))
    assert not [name for name in model.state_dict() if "bias" in name]
    assert model(torch.zeros(1, 4, dtype=torch.long)).isfinite().all()


_COMPILED = """
import torch
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

model = GPT(GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, vocab_size=11), torch.Generator().manual_seed(0))
tokens = torch.randint(11, (2, 8), generator=torch.Generator().manual_seed(3))
expected = model.logits(model(tokens))
expected.square().sum().backward()
gradients = [parameter.grad for parameter in model.parameters()]
model.zero_grad()
model.compile(fullgraph=True)
result = model.logits(model(tokens))
torch.testing.assert_close(result, expected, rtol=1e-5, atol=1e-5)
result.square().sum().backward()
for parameter, gradient in zip(model.parameters(), gradients):
    torch.testing.assert_close(parameter.grad, gradient, rtol=1e-4, atol=1e-5)
"""


@pytest.mark.slow
def test_compiled_model_agrees() -> None:
    # A process of its own: the compiler cannot trace through the run-time type checks of the test session.
    finished = subprocess.run([sys.executable, "-c", _COMPILED], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
