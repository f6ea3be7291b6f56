"""Closed-form operation counts, against a count of the products that really run."""

from __future__ import annotations

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.flops import count_forward_flops, count_matmul_weights, count_training_flops
from gpt_lightning.model.gpt import GPT


def test_counts_agree_with_the_products_torch_runs() -> None:
    config = GPTConfig(n_layer=3, n_head=2, n_embd=16, block_size=8, vocab_size=11)
    model = GPT(config)
    tokens = torch.zeros(2, 8, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        loss = model.logits(model(tokens)).sum()
    with FlopCounterMode(display=False) as backward:
        torch.autograd.backward(loss)
    assert forward.get_total_flops() == 16 * count_forward_flops(config)
    assert forward.get_total_flops() + backward.get_total_flops() == 16 * count_training_flops(config)


@pytest.mark.parametrize(("name", "giga"), [("gpt2", 0.854), ("gpt2-medium", 2.42), ("gpt2-xl", 10.28)])
def test_published_sizes(name: str, giga: float) -> None:
    assert count_training_flops(GPTConfig.preset(name)) / 1e9 == pytest.approx(giga, rel=2e-3)


def test_formula_by_hand() -> None:
    config = GPTConfig(n_layer=2, n_head=1, n_embd=3, block_size=100, vocab_size=5)
    assert count_matmul_weights(config) == 12 * 2 * 9 + 15
    assert count_training_flops(config, context=10) == 6 * (12 * 2 * 9 + 15) + 12 * 2 * 3 * 10


def test_local_layers_cost_their_window() -> None:
    config = GPTConfig(n_layer=3, n_head=1, n_embd=2, block_size=100, vocab_size=5, window=8, global_every=3)
    attention = count_forward_flops(config) - 2 * count_matmul_weights(config)
    assert attention == 4 * 2 * (8 + 8 + 100)
    assert count_forward_flops(config, context=4) - 2 * count_matmul_weights(config) == 4 * 2 * 12
