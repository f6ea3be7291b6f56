"""Parity with the reference implementation, and the table of names."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
import torch
import torch.nn.functional as F
import transformers
from torch import Tensor

from gpt_lightning.errors import CheckpointError, ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.weights.gpt2 import from_gpt2, to_gpt2

_CONFIG = GPTConfig(n_layer=3, n_head=4, n_embd=32, block_size=16, vocab_size=37)


@pytest.fixture(scope="module")
def reference() -> Any:
    """A GPT2LMHeadModel with random weights, biases and norms included, large enough to tell errors apart."""
    model = transformers.GPT2LMHeadModel(
        transformers.GPT2Config(
            n_layer=3,
            n_head=4,
            n_embd=32,
            n_positions=16,
            vocab_size=37,
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
        )
    )
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.2)
    return model


@pytest.fixture
def ours(reference: Any) -> GPT:
    model = GPT(_CONFIG)
    model.load_state_dict(from_gpt2(reference.state_dict(), _CONFIG))
    return model


def _tokens() -> Tensor:
    return torch.randint(37, (3, 16), generator=torch.Generator().manual_seed(1))


def test_logits_equal_the_reference(reference: Any, ours: GPT) -> None:
    with torch.no_grad():
        expected = reference(_tokens()).logits
        difference = (ours.logits(ours(_tokens())) - expected).abs().max().item()
    assert expected.std() > 0.5, "a reference that says nothing proves nothing"
    assert difference <= 1e-5


def test_gradients_of_every_parameter_equal_the_reference(reference: Any, ours: GPT) -> None:
    tokens = _tokens()
    reference.zero_grad()
    reference(tokens, labels=tokens).loss.backward()
    logits = ours.logits(ours(tokens[:, :-1]))
    torch.autograd.backward(F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))
    theirs = from_gpt2({name: parameter.grad for name, parameter in reference.named_parameters()}, _CONFIG)
    assert len(theirs) == len(list(ours.parameters()))
    for name, parameter in ours.named_parameters():
        assert parameter.grad is not None, name
        torch.testing.assert_close(parameter.grad, theirs[name], rtol=1e-4, atol=1e-5, msg=name)


def test_reference_loads_what_we_write(reference: Any, ours: GPT) -> None:
    written = to_gpt2(ours.state_dict(), _CONFIG)
    assert set(written) == set(reference.state_dict())
    assert all(torch.equal(tensor, written[key]) for key, tensor in reference.state_dict().items())
    back = from_gpt2(written, _CONFIG)
    assert all(torch.equal(tensor, back[key]) for key, tensor in ours.state_dict().items())


def test_released_layout_without_prefix_and_with_buffers() -> None:
    model = GPT(_CONFIG)
    written = to_gpt2(model.state_dict(), _CONFIG)
    released = {key.removeprefix("transformer."): tensor for key, tensor in written.items() if key != "lm_head.weight"}
    released["h.0.attn.bias"] = torch.ones(1, 1, 16, 16)
    released["h.0.attn.masked_bias"] = torch.tensor(-1e4)
    back = from_gpt2(released, _CONFIG)
    assert all(torch.equal(tensor, back[key]) for key, tensor in model.state_dict().items())


def test_every_wrong_key_is_named() -> None:
    written = to_gpt2(GPT(_CONFIG).state_dict(), _CONFIG)
    del written["transformer.h.1.mlp.c_fc.bias"]
    written["transformer.h.3.ln_1.weight"] = torch.ones(32)
    written["transformer.h.0.attn.c_attn.weight"] = torch.ones(96, 32)
    with pytest.raises(CheckpointError) as caught:
        from_gpt2(written, _CONFIG)
    message = str(caught.value)
    assert "\n" not in message
    for part in (
        "3 keys",
        "missing h.1.mlp.c_fc.bias",
        "unknown h.3.ln_1.weight",
        "h.0.attn.c_attn.weight is (96, 32) where (32, 96)",
    ):
        assert part in message


def test_our_wrong_keys_are_named_too() -> None:
    state = GPT(_CONFIG).state_dict()
    del state["final_norm.bias"]
    with pytest.raises(CheckpointError, match=r"missing final_norm\.bias"):
        to_gpt2(state, _CONFIG)


def test_a_head_of_its_own_is_refused_where_it_is_tied() -> None:
    written = to_gpt2(GPT(_CONFIG).state_dict(), _CONFIG)
    written["lm_head.weight"] = written["lm_head.weight"] + 1
    with pytest.raises(CheckpointError, match=r"lm_head\.weight differs.*tie_embeddings to false"):
        from_gpt2(written, _CONFIG)


def test_untied_head_comes_and_goes(reference: Any) -> None:
    config = dataclasses.replace(_CONFIG, tie_embeddings=False, vocab_multiple=8)
    theirs = {**reference.state_dict(), "lm_head.weight": torch.randn(37, 32, generator=torch.Generator())}
    ours = from_gpt2(theirs, config)
    assert ours["head.weight"].shape == (40, 32)
    written = to_gpt2(ours, config)
    assert set(written) == set(theirs)
    assert all(torch.equal(tensor, written[key]) for key, tensor in theirs.items())


def test_model_without_biases_leaves_with_zeros_and_comes_back_without(reference: Any) -> None:
    config = dataclasses.replace(_CONFIG, bias=False)
    model = GPT(config)
    written = to_gpt2(model.state_dict(), config)
    assert {key: tensor.shape for key, tensor in written.items()} == {
        key: tensor.shape for key, tensor in reference.state_dict().items()
    }
    back = from_gpt2(written, config)
    assert set(back) == set(model.state_dict())
    assert all(torch.equal(tensor, back[key]) for key, tensor in model.state_dict().items())
    with pytest.raises(CheckpointError, match=r"biases are not zero.*Set bias to true"):
        from_gpt2(reference.state_dict(), config)


@pytest.mark.parametrize(
    "changes",
    [{"norm": "rms"}, {"mlp": "relu2"}, {"rope_theta": 100.0}, {"n_kv_head": 1}, {"smear": True}, {"head_dim": 4}],
    ids=str,
)
def test_other_architectures_cannot_be_expressed(changes: dict[str, Any]) -> None:
    config = dataclasses.replace(_CONFIG, **changes)
    with pytest.raises(ConfigError, match="GPT-2's weights cannot express"):
        to_gpt2(GPT(config).state_dict(), config)


def test_filling_of_the_vocabulary_stays_at_home(reference: Any) -> None:
    config = dataclasses.replace(_CONFIG, vocab_multiple=8)
    model = GPT(config)
    model.load_state_dict(from_gpt2(reference.state_dict(), config))
    assert model.token_embedding.weight.shape[0] == 40
    torch.testing.assert_close(model.logits(model(_tokens())), reference(_tokens()).logits, rtol=0, atol=1e-5)
    written = to_gpt2(model.state_dict(), config)
    assert all(torch.equal(tensor, written[key]) for key, tensor in reference.state_dict().items())
