"""Continuations scored together equal those scored alone, one forward pass each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from gpt_lightning.errors import DataError
from gpt_lightning.evaluation.scoring import continuations
from gpt_lightning.evaluation.scoring.continuations import Pair, Prefix, Scored, score_continuations
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

_GPT2 = GPTConfig(n_layer=2, n_head=2, n_embd=8, block_size=64, vocab_size=50)
SHAPES = {
    "gpt2": _GPT2,
    "modern": replace(_GPT2, n_kv_head=1, rope_theta=1e4, norm="rms", mlp="swiglu", qk_norm=True, tie_embeddings=False),
    "mixing": replace(_GPT2, n_layer=3, rope_theta=1e4, smear=True, bigram_rows=32, window=8, global_every=3),
}


def build(shape: str) -> GPT:
    model = GPT(SHAPES[shape], torch.Generator().manual_seed(0)).eval().double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.3 * torch.randn(parameter.shape, generator=generator, dtype=parameter.dtype))
    return model


def alone(model: GPT, pair: Pair) -> Scored:
    tokens = [*pair[0], *pair[1]][-(model.block_size + 1) :]
    targets = torch.tensor(tokens[-len(pair[1]) :])
    opens = (torch.arange(len(tokens) - 1) < len(tokens) - len(targets))[None] & ("causal" not in model.sights)
    with torch.no_grad():
        scores = model.logits(model(torch.tensor([tokens[:-1]]), opens=opens)[0, -len(targets) :]).log_softmax(-1)
    return Scored(
        -float(scores.gather(1, targets[:, None]).sum()), len(targets), bool((scores.argmax(-1) == targets).all())
    )


def numbers(count: int, seed: int) -> list[int]:
    return torch.randint(50, (count,), generator=torch.Generator().manual_seed(seed)).tolist()


def questions() -> list[Pair]:
    shots = numbers(12, 0)
    pairs: list[Pair] = []
    for question in range(4):
        context = [*shots, *numbers(5 + 6 * question, question + 1)]
        # One-token answers, an answer that begins another, equal ones, long ones.
        answers = [[3], [4], [3, 4], [3, 4, 5], numbers(9, 90 + question), [4]]
        pairs += [(context, answer) for answer in answers]
    return pairs


def check(model: GPT, pairs: list[Pair], max_tokens: int = 4096) -> None:
    for pair, found in zip(pairs, score_continuations(model, pairs, max_tokens=max_tokens), strict=True):
        expected = alone(model, pair)
        assert found.nats == pytest.approx(expected.nats, rel=1e-9)
        assert (found.num_tokens, found.is_greedy) == (expected.num_tokens, expected.is_greedy)


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("max_tokens", [1, 40, 4096])
def test_together_is_alone(shape: str, max_tokens: int) -> None:
    check(build(shape), questions(), max_tokens)


@pytest.mark.parametrize("shape", SHAPES)
def test_contexts_of_a_prefix_lm_open(shape: str) -> None:
    model = build(shape)
    causal = score_continuations(model, questions())
    model.sights = frozenset({"open"})
    check(model, questions(), 60)
    assert score_continuations(model, questions()) != pytest.approx(causal)


def test_without_anything_in_common() -> None:
    check(build("gpt2"), [(numbers(1 + n, n), numbers(1 + n % 3, 50 + n)) for n in range(10)])


def test_the_beginning_of_what_is_too_long_is_cut_off() -> None:
    pairs: list[Pair] = [(numbers(80, 1), numbers(6, 2)), (numbers(80, 1), numbers(64, 3)), ([1], [2])]
    check(build("gpt2"), pairs)


def test_a_continuation_beyond_the_positions_is_refused() -> None:
    with pytest.raises(DataError, match=r"got 65 \(allowed: at most block_size=64 tokens\)"):
        score_continuations(build("gpt2"), [([1], numbers(65, 0))])


def test_the_likeliest_continuation_is_known_as_such() -> None:
    model, context = build("gpt2"), numbers(5, 7)
    answer: list[int] = []
    for _ in range(3):
        with torch.no_grad():
            answer.append(int(model.logits(model(torch.tensor([[*context, *answer]]))[0, -1]).argmax()))
    found = score_continuations(model, [(context, answer), (context, [*answer[:2], (answer[2] + 1) % 50])])
    assert [each.is_greedy for each in found] == [True, False]


def test_shared_beginnings_are_encoded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    model, seen = build("gpt2"), 0
    forward = model.forward

    def count(tokens: torch.Tensor, *args: Any, **options: Any) -> torch.Tensor:
        nonlocal seen
        seen += tokens.numel()
        return forward(tokens, *args, **options)

    monkeypatch.setattr(model, "forward", count)
    shots, context = numbers(12, 0), numbers(40, 1)
    pairs: list[Pair] = [([*shots, *context], numbers(4, n)) for n in range(8)]
    score_continuations(model, [*pairs, ([*shots, 1], [2])])
    assert seen <= 12 + 40 + 8 * 5 + 2 * 2 < 8 * (12 + 40 + 4) / 3


def test_a_prefix_serves_many_batches() -> None:
    model, tokens = build("mixing"), numbers(20, 3)
    prefix = Prefix(model, tokens[12:], Prefix(model, tokens[:12]))
    with torch.inference_mode():
        for seed in (4, 5):
            rows = torch.tensor([numbers(6, seed), numbers(6, seed + 10)])
            whole = model(torch.cat((torch.tensor([tokens, tokens]), rows), dim=1))[:, 20:]
            assert torch.allclose(model(rows, prefix), whole, rtol=1e-9)


def test_nothing_is_scored_as_nothing() -> None:
    assert continuations.score_continuations(build("gpt2"), []) == []
