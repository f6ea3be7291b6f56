"""Decoding against a plain loop without a cache."""

from __future__ import annotations

from itertools import islice
from typing import Any

import pytest
import torch
from torch import Tensor

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.generation.decode import draw_seed, generate
from gpt_lightning.generation.sampling import Sampling, choose_tokens, draw_uniform
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

_GREEDY = Sampling(temperature=0.0)


def _build(block_size: int = 8) -> GPT:
    model = GPT(
        GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=block_size, vocab_size=31),
        torch.Generator().manual_seed(0),
    )
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():  # large enough that the text does not fall into a cycle of one token
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.add_(torch.randn(parameter.shape, generator=generator))
    return model.eval()


def _decode_plainly(model: GPT, prompt: list[int], max_tokens: int, sampling: Sampling) -> list[int]:
    """The same rule without a cache: the window grows to block_size, then falls back to its last half."""
    seed = draw_seed(torch.Generator().manual_seed(7))
    block, window = model.block_size, prompt[-model.block_size :]
    tokens: list[int] = []
    for _ in range(max_tokens):
        if len(window) > block:
            window = window[-max(1, block // 2) :]
        with torch.no_grad():
            logits: Tensor = model.logits(model(torch.tensor([window])))[:, -1]
        tokens += choose_tokens(logits, sampling, [draw_uniform(seed, 0, len(tokens))])
        window = [*window, tokens[-1]]
    return tokens


@pytest.mark.parametrize("sampling", [_GREEDY, Sampling(temperature=0.8, top_k=20, top_p=0.9)])
@pytest.mark.parametrize(
    "prompt",
    [
        [3],
        pytest.param([1, 2, 3, 4], marks=pytest.mark.slow),
        pytest.param(list(range(8)), marks=pytest.mark.slow),
        list(range(20)),
    ],
)
@pytest.mark.parametrize("block_size", [1, 7, pytest.param(8, marks=pytest.mark.slow)])
def test_equals_a_loop_without_cache(block_size: int, prompt: list[int], sampling: Sampling) -> None:
    model = _build(block_size)
    expected = _decode_plainly(model, prompt, 18, sampling)
    generator = torch.Generator().manual_seed(7)
    assert list(generate(model, prompt, max_tokens=18, sampling=sampling, generator=generator)) == expected


def test_the_text_is_not_trivial() -> None:
    assert len(set(generate(_build(), [3], max_tokens=25, sampling=_GREEDY))) > 5


def test_greedy_equals_the_argmax_within_the_positions() -> None:
    model, context = _build(), [3, 1]
    for token in generate(model, context, max_tokens=6, sampling=_GREEDY):
        with torch.no_grad():
            assert token == int(model.logits(model(torch.tensor([context])))[0, -1].argmax())
        context = [*context, token]
    assert len(context) == 8


def test_stop_token_ends_and_is_not_part_of_the_text() -> None:
    model = _build()
    tokens = list(generate(model, [3], max_tokens=25, sampling=_GREEDY))
    stop = tokens[4]
    assert list(generate(model, [3], max_tokens=25, sampling=_GREEDY, stop_ids=[stop])) == tokens[: tokens.index(stop)]


@pytest.mark.parametrize("max_tokens", [0, 1, 3])
def test_never_more_than_asked(max_tokens: int) -> None:
    assert len(list(generate(_build(), [3], max_tokens=max_tokens, sampling=_GREEDY))) == max_tokens


def _is_training(model: GPT) -> bool:
    return model.training


def test_model_returns_to_its_mode() -> None:
    model = _build().train()
    tokens = generate(model, [3], max_tokens=5, sampling=_GREEDY)
    next(tokens)
    assert not _is_training(model)
    list(tokens)
    assert _is_training(model)
    abandoned = generate(model, [3], max_tokens=5, sampling=_GREEDY)
    list(islice(abandoned, 2))
    del abandoned
    assert _is_training(model)


def test_weights_can_be_trained_afterwards() -> None:
    model = _build()
    list(generate(model, [3], max_tokens=3, sampling=_GREEDY))
    torch.autograd.backward(model(torch.tensor([[1, 2]])).sum())
    assert model.token_embedding.weight.grad is not None


@pytest.mark.parametrize(
    ("prompt", "changes", "error", "part"),
    [
        ([], {}, DataError, "the prompt has no token"),
        ([3, 31], {}, DataError, "got 31 (allowed: ids 0 to 30)"),
        ([3, -1], {}, DataError, "got -1"),
        ([3], {"max_tokens": -1}, ConfigError, "max_tokens is negative: got -1"),
    ],
)
def test_mistakes_are_told_before_decoding(
    prompt: list[int], changes: dict[str, Any], error: type[Exception], part: str
) -> None:
    with pytest.raises(error) as caught:
        generate(_build(), prompt, **{"max_tokens": 5, "sampling": _GREEDY, **changes})
    assert part in str(caught.value)
