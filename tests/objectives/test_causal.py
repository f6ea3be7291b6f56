"""Next-token loss against its definition."""

from __future__ import annotations

import math

import pytest
import torch

from gpt_lightning.batch import Batch
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.base import average
from tests.objectives.applying import apply

_MODEL = GPT(GPTConfig(n_layer=1, n_head=2, n_embd=8, block_size=6, vocab_size=7), torch.Generator().manual_seed(0))
_TOKENS = torch.randint(7, (2, 7), generator=torch.Generator().manual_seed(1))


def test_loss_by_its_definition() -> None:
    with torch.no_grad():
        _MODEL.token_embedding.weight.mul_(20)
        output = apply(CausalLM(), _MODEL, Batch(_TOKENS))
        logits = _MODEL.logits(_MODEL(_TOKENS[:, :-1])).double()
        _MODEL.token_embedding.weight.div_(20)
    assert output.losses is not None
    assert output.targets is not None
    for row in range(2):
        for time in range(6):
            scores = [math.exp(value) for value in logits[row, time].tolist()]
            expected = -math.log(scores[_TOKENS[row, time + 1]] / sum(scores))
            assert output.losses[row, time].item() == pytest.approx(expected, rel=1e-5)
    assert output.loss.item() == pytest.approx(output.losses.mean().item())
    assert output.weight.item() == 12.0
    assert output.targets.tolist() == _TOKENS[:, 1:].tolist()


def test_weights_make_a_weighted_mean() -> None:
    weights = torch.tensor([[1.0, 0, 0, 0, 0, 0.5], [0, 0, 2.0, 0, 0, 0]])
    output = apply(CausalLM(), _MODEL, Batch(_TOKENS, weights))
    assert output.losses is not None
    losses = output.losses
    expected = (losses[0, 0] + 0.5 * losses[0, 5] + 2 * losses[1, 2]) / 3.5
    torch.testing.assert_close(output.loss.detach(), expected)
    assert output.weight.item() == 3.5


def test_loss_of_a_bfloat16_model_is_computed_in_float32() -> None:
    model = GPT(_MODEL.config, torch.Generator().manual_seed(0)).bfloat16()
    output = apply(CausalLM(), model, Batch(_TOKENS))
    assert output.loss.dtype == torch.float32
    logits = model.logits(model(_TOKENS[:, :-1])).float()
    expected = -logits.log_softmax(-1).gather(-1, _TOKENS[:, 1:, None]).mean()
    torch.testing.assert_close(output.loss, expected, rtol=1e-6, atol=0)


def test_model_that_knows_nothing_loses_the_logarithm_of_its_vocabulary() -> None:
    assert apply(CausalLM(), _MODEL, Batch(_TOKENS)).loss.item() == pytest.approx(math.log(7), abs=0.02)


def test_average() -> None:
    losses = torch.tensor([[1.0, 3.0]])
    assert [value.item() for value in average(losses, None)] == [2.0, 2.0]
    assert [value.item() for value in average(losses, torch.tensor([[0.5, 0.0]]))] == [1.0, 0.5]
    assert [value.item() for value in average(losses, torch.zeros(1, 2))] == [0.0, 0.0]
