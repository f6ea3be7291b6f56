"""Objectives that look further ahead: further tokens, vectors of tokens, states."""

from __future__ import annotations

import math

import pytest
import torch
from torch import nn

from gpt_lightning.batch import Batch
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context, Objective
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.contrastive import ContrastivePredictive, Regression, info_nce
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.objectives.multi_token import MultiToken, move_up, number_documents
from tests.objectives.applying import apply, build_extras
from tests.objectives.test_mixture import weights_after

_CONFIG = GPTConfig(n_layer=1, n_head=2, n_embd=16, block_size=12, vocab_size=7, rope_theta=10000.0)
_NOTHING: list[Objective] = [
    MultiToken(heads=0),
    ContrastivePredictive(steps=0),
    Regression(steps=0),
    MultiToken(heads=2, weight=0.0),
]


def train(objective: Objective, batches: list[Batch], steps: int, lr: float = 0.01) -> tuple[GPT, nn.ModuleDict]:
    """Decoder and extras after some steps."""
    model = GPT(_CONFIG, torch.Generator().manual_seed(0))
    extras = build_extras(objective, model)
    optimizer = torch.optim.AdamW([*model.parameters(), *extras.parameters()], lr=lr, weight_decay=0.0)
    for step in range(steps):
        optimizer.zero_grad()
        torch.autograd.backward(apply(objective, model, batches[step % len(batches)], extras=extras).loss)
        optimizer.step()
    return model, extras


@pytest.mark.slow
@pytest.mark.parametrize("form", ["sequential", pytest.param("parallel", marks=pytest.mark.slow)])
def test_heads_learn_a_cycle(form: str) -> None:
    # Of period 6: every token says all that follow.
    tokens = 1 + (torch.arange(6)[:, None] + torch.arange(13)) % 6
    objective, batch = MultiToken(heads=2, form=form, weight=2.0), Batch(tokens)  # type: ignore[arg-type]
    model, extras = train(objective, [batch], 120)
    output = apply(objective, model, batch, extras=extras)
    assert output.parts.keys() == {"ahead_2", "ahead_3"}
    assert max(output.parts.values()) < 0.01


@pytest.mark.parametrize("with_documents", [True, False])
def test_no_target_lies_in_another_document(with_documents: bool) -> None:
    """Every document begins with end-of-text (0) and a token that nothing else is; nobody further ahead predicts it."""
    tokens = torch.tensor([[0, 5, 1, 1, 0, 6, 2, 2, 0, 4, 3, 3, 0]])
    documents = torch.tensor([[0] * 4 + [1] * 4 + [2] * 4 + [3]])
    weights = torch.ones(1, 12)  # the last token of a document predicts its end
    corrupted = CausalLM().corrupt(
        Batch(tokens, weights, documents if with_documents else None), Draws(0, torch.arange(1)), Context()
    )
    numbers = number_documents(corrupted, Context(eot_id=0))
    found = {
        level: corrupted.targets.roll(-level, 1)[
            (move_up(weights, level) * (move_up(numbers, level, -1) == numbers)) > 0
        ]
        for level in (1, 2)
    }
    assert found[1].tolist() == [1, 1, 0, 2, 2, 0, 3, 3, 0]
    assert found[2].tolist() == [1, 0, 2, 0, 3, 0]


@pytest.mark.parametrize(
    "objective", [MultiToken(heads=2), MultiToken(heads=2, form="parallel"), ContrastivePredictive()]
)
def test_documents_side_by_side_are_documents_alone(objective: MultiToken) -> None:
    model = GPT(_CONFIG, torch.Generator().manual_seed(0)).double()
    rows = [torch.tensor([[0, 1, 2, 3, 4, 5]]), torch.tensor([[0, 6, 5, 4, 3, 2]])]
    documents = torch.tensor([[0] * 6 + [1] * 6])
    together = apply(objective, model, Batch(torch.cat(rows, dim=1), documents=documents))
    alone = [apply(objective, model, Batch(row)) for row in rows]
    for name in together.parts:
        if name.startswith("ahead"):
            mean = torch.stack([each.parts[name] for each in alone]).mean()
            torch.testing.assert_close(together.parts[name], mean)
        assert together.part_weights[name] == sum(each.part_weights[name] for each in alone)


@pytest.mark.parametrize("objective", _NOTHING, ids=["no heads", "no contrast", "no regression", "weight 0"])
def test_with_nothing_added_it_is_next_token_prediction_to_the_bit(objective: Objective) -> None:
    ours, theirs = weights_after(objective, 6), weights_after(CausalLM(), 6)
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_constant_vectors_are_told_apart_by_chance() -> None:
    tokens = torch.tensor([[3, 1, 4, 1, 5, 9]])
    same = torch.ones(1, 6, 4, dtype=torch.float64)
    losses, hits = info_nce(same, same, tokens, torch.tensor([[1, 1, 1, 1, 1, 0]]))
    # The right one against the others that are allowed; the two 1 count once.
    wanted = [math.log(5), math.log(4), math.log(5), math.log(4), math.log(5), math.log(6)]
    assert losses[0].tolist() == pytest.approx(wanted, abs=1e-12)
    assert not hits.any()


@pytest.mark.slow
def test_contrast_on_a_markov_chain() -> None:
    """A chain of order 2; the best guess is right as often as the likeliest token of each state is."""
    generator = torch.Generator().manual_seed(0)
    likeliest = torch.randint(1, 7, (7, 7), generator=generator)
    rows = torch.randint(1, 7, (256, 13), generator=generator)
    for place in range(2, 13):
        follows = torch.rand(256, generator=generator) < 0.9
        rows[:, place] = torch.where(follows, likeliest[rows[:, place - 2], rows[:, place - 1]], rows[:, place])
    objective = ContrastivePredictive(steps=1, weight=1.0)
    batches = [Batch(rows[start : start + 64]) for start in range(0, 256, 64)]
    model, extras = train(objective, batches, 160, lr=0.02)
    with torch.no_grad():
        hidden, targets = model(rows[:, :-1]), rows[:, 1:]
        predictor = extras.get_submodule("contrastive.0")
        _, hits = info_nce(predictor(hidden), model.token_embedding(targets), targets, torch.ones(targets.shape))
    # 0.9, and by chance once in six otherwise; what the row does not hold cannot be taken for it.
    optimum = 0.9 + 0.1 / 6
    assert hits[:, 2:].mean().item() >= 0.9 * optimum


def test_states_ahead_are_learned() -> None:
    tokens = 1 + (torch.arange(6)[:, None] + torch.arange(13)) % 6
    objective, batch = Regression(weight=1.0), Batch(tokens)
    before = apply(objective, GPT(_CONFIG, torch.Generator().manual_seed(0)), batch)
    model, extras = train(objective, [batch], 60)
    after = apply(objective, model, batch, extras=extras)
    assert after.parts["regression_1"] < 0.2 * before.parts["regression_1"]


def test_settings_out_of_range() -> None:
    with pytest.raises(ConfigError, match="heads"):
        MultiToken(heads=-1)
    with pytest.raises(ConfigError, match="weight"):
        MultiToken(weight=-0.5)
    with pytest.raises(ConfigError, match="steps"):
        ContrastivePredictive(steps=-1)
