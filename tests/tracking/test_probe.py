"""Attention weights beside those computed by hand, and that looking changes nothing."""

from __future__ import annotations

import pytest
import torch

from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.positions import build_rotation, rotate
from gpt_lightning.tracking.probe import observe


def build(**options: object) -> GPT:
    config = GPTConfig(n_layer=2, n_head=4, n_embd=32, block_size=16, vocab_size=20, dropout=0.5, **options)  # type: ignore[arg-type]
    model = GPT(config, torch.Generator().manual_seed(1))
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(20)  # far from uniform attention
    return model


@pytest.mark.parametrize("options", [{}, {"rope_theta": 100.0, "n_kv_head": 2}], ids=["plain", "rope and groups"])
def test_weights_are_softmax_of_scores(options: dict[str, object]) -> None:
    model, tokens = build(**options), torch.arange(11) % 7
    found = observe(model, tokens)
    assert found.attention.shape == (2, 4, 11, 11)
    model.eval()
    with torch.no_grad():
        first = model.blocks[0]
        hidden = model.token_embedding(tokens[None])
        if not options:
            hidden = hidden + model.position_embedding.weight[:11]
        attention = first.attention
        queries, keys, _ = attention.query_key_value(first.attention_norm(hidden)).split(attention.widths, dim=-1)  # type: ignore[operator, union-attr]
        queries, keys = (part.view(11, -1, 8).transpose(0, 1) for part in (queries[0], keys[0]))
        if options:
            angles = build_rotation(0, 11, 8, 100.0, torch.device("cpu"))
            queries, keys = (rotate(part[None], angles)[0] for part in (queries, keys))
            keys = keys.repeat_interleave(2, dim=0)
        scores = queries @ keys.transpose(1, 2) / 8**0.5
        wanted = scores.masked_fill(torch.ones(11, 11).triu(1).bool(), -torch.inf).softmax(-1)
    assert torch.allclose(found.attention[0], wanted, atol=1e-6)
    assert found.attention[0].max() > 0.9, "weights should not be uniform, or little is shown"


def test_local_layers_see_their_window_only() -> None:
    model = build(window=4, global_every=2)
    weights = observe(model, torch.arange(12) % 5).attention
    local = next(layer for layer in range(2) if model.config.window_of(layer) == 4)
    assert weights[local].triu(1).abs().max() == 0
    assert weights[local].tril(-4).abs().max() == 0
    assert torch.allclose(weights.sum(-1), torch.ones(2, 4, 12), atol=1e-5)


def test_streams_are_those_behind_the_blocks() -> None:
    model, tokens = build(), torch.arange(9)
    found = observe(model, tokens)
    model.eval()
    with torch.no_grad():
        wanted = model(tokens[None])
        assert torch.allclose(model.final_norm(found.streams[-1]), wanted[0], atol=1e-5)
    assert found.scales()[1] == pytest.approx(float(found.streams[1].square().mean().sqrt()))


@pytest.mark.parametrize("training", [True, False])
def test_looking_changes_nothing(training: bool) -> None:
    model = build().train(training)
    torch.manual_seed(5)
    before = torch.get_rng_state()
    observe(model, torch.arange(9))
    assert torch.equal(before, torch.get_rng_state())
    assert model.training is training
    assert not any(module._forward_hooks or module._forward_pre_hooks for module in model.modules())
