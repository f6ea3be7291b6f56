"""Every option of the architecture: cached decoding, gradients, counts, two steps of training in every pair."""

from __future__ import annotations

import subprocess
import sys
from itertools import combinations
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from gpt_lightning.model.cache import KeyValueCache
from gpt_lightning.model.flops import count_forward_flops, count_training_flops
from gpt_lightning.model.gpt import GPT
from tests.model.options import BLOCK, OPTIONS, RECIPES, VOCAB, build_stirred, draw_tokens, small_config
from tests.selections import seldom

each_recipe = pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES.keys())


@each_recipe
@pytest.mark.parametrize("borders", [[5, 6, 9], *seldom([1, 2, 3])], ids=str)
def test_cached_equals_uncached(changes: dict[str, Any], borders: list[int]) -> None:
    model, tokens = build_stirred(**changes), draw_tokens()
    cache = KeyValueCache(2, BLOCK)
    with torch.no_grad():
        whole = model(tokens)
        for _ in range(2):  # the second time with a cache that has been used and cleared
            parts = [model(part, cache) for part in tokens.tensor_split(borders, dim=1)]
            torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=2e-5)
            cache.clear()


@each_recipe
def test_gradient_equals_the_difference_quotient(changes: dict[str, Any]) -> None:
    model, tokens = build_stirred(**changes).double(), draw_tokens(2)
    generator = torch.Generator().manual_seed(2)
    directions = [torch.randn(p.shape, generator=generator, dtype=torch.float64) for p in model.parameters()]

    def run(step: float) -> torch.Tensor:
        with torch.no_grad():
            for parameter, direction in zip(model.parameters(), directions, strict=True):
                parameter.add_(direction, alpha=step)
        return F.cross_entropy(model.logits(model(tokens[:, :-1])).flatten(0, 1), tokens[:, 1:].flatten())

    torch.autograd.backward(run(0.0))
    gradients = [p.grad for p in model.parameters()]
    assert all(gradient is not None for gradient in gradients)
    slope = sum((g * d).sum().item() for g, d in zip(gradients, directions, strict=True) if g is not None)
    upper, lower = run(1e-5).item(), run(-2e-5).item()
    assert slope == pytest.approx((upper - lower) / 2e-5, rel=1e-5, abs=1e-7)


@each_recipe
def test_counts_agree_with_the_model(changes: dict[str, Any]) -> None:
    config = small_config(**changes)
    model = GPT(config)
    filling = (config.padded_vocab_size - VOCAB) * config.n_embd
    tables = 1 if config.tie_embeddings else 2
    assert config.num_parameters + tables * filling == sum(parameter.numel() for parameter in model.parameters())
    # Over no more than a window every layer sees the same, and torch counts every product that runs.
    time = config.window or BLOCK
    tokens = torch.zeros(2, time, dtype=torch.long)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as forward:
        loss = model.logits(model(tokens)).sum()
    with FlopCounterMode(display=False) as backward:
        torch.autograd.backward(loss)
    idle = 2 * filling  # products with the filling are carried out, but are no use to anybody
    assert forward.get_total_flops() == 2 * time * (count_forward_flops(config, time) + idle)
    total = forward.get_total_flops() + backward.get_total_flops()
    assert total == 2 * time * (count_training_flops(config, time) + 3 * idle)


@pytest.mark.parametrize(
    "names",
    [
        pytest.param(names, id="+".join(names), marks=[pytest.mark.slow] if number % 2 else [])
        for number, names in enumerate(combinations(OPTIONS, 2))
    ],
)
def test_every_pair_trains(names: tuple[str, str]) -> None:
    first, second = (OPTIONS[name] for name in names)
    if any(first[key] != second[key] for key in first.keys() & second.keys()):
        return  # two values of one option
    model = GPT(small_config(**{**first, **second}), torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    tokens, losses = draw_tokens(), []
    # Two steps, and a third look: with zeros at the start the gradient needs two steps to reach every weight.
    for step in range(3):
        optimizer.zero_grad()
        loss = F.cross_entropy(model.logits(model(tokens[:, :-1])).flatten(0, 1), tokens[:, 1:].flatten())
        torch.autograd.backward(loss)
        losses.append(loss.item())
        if step < 2:
            optimizer.step()
    assert losses[2] < losses[1] < losses[0]
    dead = [name for name, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert not dead


@pytest.mark.parametrize("name", ["smear", "bigram", "bigram-hashed", "values", "padded"])
def test_additions_begin_as_nothing(name: str) -> None:
    tokens = draw_tokens()
    generators = [torch.Generator().manual_seed(3) for _ in range(2)]
    plain, changed = GPT(small_config(), generators[0]), GPT(small_config(**OPTIONS[name]), generators[1])
    if name == "padded":
        with torch.no_grad():
            changed.load_state_dict(
                {
                    **changed.state_dict(),
                    **plain.state_dict(),
                    "token_embedding.weight": F.pad(plain.token_embedding.weight, (0, 0, 0, 5)),
                }
            )
    # A wider product may be summed in another order, so the filling changes the last digit.
    tolerance = 1e-6 if name == "padded" else 0.0
    torch.testing.assert_close(changed.logits(changed(tokens)), plain.logits(plain(tokens)), rtol=0.0, atol=tolerance)


def test_zero_init_begins_with_equal_chances() -> None:
    model = GPT(small_config(zero_init=True, tie_embeddings=False))
    assert torch.equal(model.logits(model(draw_tokens())), torch.zeros(3, BLOCK, VOCAB))
    stream = model.token_embedding(draw_tokens()) + model.position_embedding.weight
    assert torch.equal(model(draw_tokens()), model.final_norm(stream)), "a block is not the identity"


def test_filling_of_the_vocabulary_is_neither_seen_nor_learned() -> None:
    model, tokens = build_stirred(vocab_multiple=8, tie_embeddings=False), draw_tokens()
    with torch.no_grad():
        model.token_embedding.weight[VOCAB:] = 1e9
        assert model.head is not None
        model.head.weight[VOCAB:] = 1e9
    logits = model.logits(model(tokens))
    assert logits.shape == (3, BLOCK, VOCAB)
    torch.autograd.backward(F.cross_entropy(logits.flatten(0, 1), tokens.flatten()))
    for table in (model.token_embedding, model.head):
        assert table.weight.shape == (16, 16)
        assert table.weight.grad is not None
        assert not table.weight.grad[VOCAB:].any()


@pytest.mark.parametrize(
    ("changes", "reach"), [({}, 11), ({"window": 3}, 4), ({"window": 3, "global_every": 2}, 11), ({"window": 1}, 0)]
)
def test_how_far_back_the_last_position_reaches(changes: dict[str, int], reach: int) -> None:
    model = build_stirred(**changes, rope_theta=100.0)
    tokens = torch.arange(BLOCK)[None] % VOCAB
    with torch.no_grad():
        before = model(tokens)[0, -1]
        seen = []
        for position in range(BLOCK - 1):
            changed = tokens.clone()
            changed[0, position] = (tokens[0, position] + 5) % VOCAB
            if not torch.equal(model(changed)[0, -1], before):
                seen.append(BLOCK - 1 - position)
    assert max(seen, default=0) == reach
    assert len(seen) == reach


def test_softcap_by_its_formula() -> None:
    plain, capped = build_stirred(), build_stirred(logit_softcap=2.0)
    hidden = torch.randn(3, 4, 16, generator=torch.Generator().manual_seed(0)) * 10
    expected = plain.logits(hidden)
    assert expected.abs().max() > 4
    torch.testing.assert_close(capped.logits(hidden), 2 * torch.tanh(expected / 2))
    half = capped.bfloat16()
    assert half.logits(hidden.bfloat16()).dtype == torch.float32


@pytest.mark.parametrize("changes", [RECIPES["modern"], RECIPES["everything"]], ids=["modern", "everything"])
def test_low_precision_stays_close(changes: dict[str, Any]) -> None:
    model, tokens = build_stirred(**changes), draw_tokens()
    with torch.no_grad():
        expected = model(tokens)
        with torch.autocast("cpu", torch.bfloat16):
            mixed, cache = model(tokens), KeyValueCache(2, BLOCK)
            cached = torch.cat([model(part, cache) for part in tokens.tensor_split([5, 6], dim=1)], dim=1)
        low = model.bfloat16()(tokens)
    for result in (mixed, cached, low):
        assert ((result.float() - expected).norm() / expected.norm()).item() < 0.05


_COMPILED = """
import sys
import torch
sys.path.insert(0, {root!r})
from tests.model.options import RECIPES, build_stirred, draw_tokens

documents = torch.tensor([[0] * 12, [0] * 5 + [1] * 7, [4] + [2] * 11])
for name in ("gpt2", "modern", "everything"):
    changes = RECIPES[name]
    for given in (None, documents):
        model, tokens = build_stirred(**changes), draw_tokens()
        expected = model.logits(model(tokens, documents=given))
        torch.autograd.backward(expected.square().mean())
        gradients = [parameter.grad for parameter in model.parameters()]
        model.zero_grad()
        model.compile(fullgraph=True)
        result = model.logits(model(tokens, documents=given))
        torch.testing.assert_close(result, expected, rtol=1e-4, atol=1e-4, msg=lambda text: name + text)
        torch.autograd.backward(result.square().mean())
        for parameter, gradient in zip(model.parameters(), gradients):
            torch.testing.assert_close(parameter.grad, gradient, rtol=1e-3, atol=1e-4, msg=lambda text: name + text)
"""


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_compiled_agrees(request: pytest.FixtureRequest) -> None:
    # A process of its own: the compiler cannot trace through the run-time type checks of the test session.
    program = _COMPILED.format(root=str(request.config.rootpath))
    finished = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
