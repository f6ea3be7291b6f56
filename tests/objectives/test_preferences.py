"""Losses on preferences against published and closed values."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from gpt_lightning.batch import Batch
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context, Learner
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.objectives.preferences import DPO, IPO, KTO, ORPO, Answers, Pairwise, StepMean, judge, read_answers

_CONFIG = GPTConfig(n_layer=1, n_head=2, n_embd=8, block_size=12, vocab_size=11)
# Three pairs with round numbers; the losses are those of an independent implementation.
_CHOSEN, _REJECTED = (-10.0, -12.0, -7.5), (-11.0, -9.0, -7.0)
_CHOSEN_REFERENCE, _REJECTED_REFERENCE = (-10.5, -12.5, -8.0), (-10.0, -10.0, -7.2)


def _given() -> tuple[Answers, Batch]:
    log_probabilities = torch.tensor([_CHOSEN, _REJECTED], dtype=torch.float64).T
    reference = torch.tensor([_CHOSEN_REFERENCE, _REJECTED_REFERENCE], dtype=torch.float64).T.reshape(6, 1)
    lengths = torch.tensor([[4.0, 5.0], [3.0, 3.0], [2.0, 6.0]], dtype=torch.float64)
    return Answers(log_probabilities, lengths), Batch(
        torch.zeros(6, 4, dtype=torch.long), columns={"reference": reference}
    )


def _batch(rows: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(3)
    tokens = torch.randint(11, (rows, 9), generator=generator)
    marks = (torch.arange(9) > torch.arange(rows)[:, None] % 3 + 3).to(torch.uint8)
    desirable = torch.arange(rows)[:, None] % 4 < 2
    return Batch(tokens, columns={"marks": marks, "desirable": desirable})


def _model() -> GPT:
    return GPT(_CONFIG, torch.Generator().manual_seed(0)).double()


def _with_reference(batch: Batch, model: GPT) -> Batch:
    with torch.no_grad():
        reference = read_answers(Learner(model), batch).log_probabilities.reshape(-1, 1)
    return replace(batch, columns={**batch.columns, "reference": reference})


def _as_rated(batch: Batch) -> Batch:
    """The same numbers as a store of rated answers holds them: both rows of a sample are one document."""
    both = batch.columns["reference"].view(-1, 2).repeat_interleave(2, dim=0)
    return replace(batch, columns={**batch.columns, "reference": both})


def test_losses_of_given_log_probabilities() -> None:
    answers, batch = _given()
    losses, margins = DPO(0.1).compare(answers, batch)
    assert losses.mean().item() == pytest.approx(0.672559, abs=1e-6)
    assert margins.tolist() == pytest.approx([0.15, -0.05, 0.03])
    smoothed, _ = DPO(0.1, label_smoothing=0.2).compare(answers, batch)
    by_hand = [0.8 * math.log1p(math.exp(-m)) + 0.2 * math.log1p(math.exp(m)) for m in margins.tolist()]
    assert smoothed.tolist() == pytest.approx(by_hand)
    pulled, per_token = IPO(0.5).compare(answers, batch)
    assert per_token.tolist() == pytest.approx([0.5 / 4 + 1 / 5, 0.5 / 3 - 1 / 3, 0.5 / 2 - 0.2 / 6])
    assert pulled.tolist() == pytest.approx([(m - 1) ** 2 for m in per_token.tolist()])
    rewards = torch.tensor([0.5, 0.5, 0.5, -1.0, 1.0, 0.2], dtype=torch.float64)
    liked = torch.tensor([True, True, True, False, False, False])
    assert judge(rewards, liked, torch.tensor(0.3), 0.1).mean().item() == pytest.approx(0.494590, abs=1e-6)


def test_odds_ratio_of_given_probabilities() -> None:
    chosen, rejected = math.log(0.6), math.log(0.25)  # odds 1.5 and 1 / 3: their ratio is 4.5
    answers = Answers(
        torch.tensor([[2 * chosen, 3 * rejected]], dtype=torch.float64), torch.tensor([[2.0, 3.0]], dtype=torch.float64)
    )
    losses, odds = ORPO(0.1).compare(answers, Batch(torch.zeros(2, 4, dtype=torch.long)))
    assert odds.item() == pytest.approx(math.log(4.5))
    assert losses.item() == pytest.approx(-chosen + 0.1 * math.log1p(1 / 4.5))
    known = Answers(torch.tensor([[0.0, -3.0]]), torch.ones(1, 2))  # by heart: a probability of 1
    assert torch.isfinite(ORPO().compare(known, Batch(torch.zeros(2, 4, dtype=torch.long)))[0]).all()


def test_answers_are_the_marked_tokens() -> None:
    model, batch = _model(), _batch()
    answers = read_answers(Learner(model), batch)
    logits = model.logits(model(batch.tokens[:, :-1])).log_softmax(dim=-1)
    for row in range(4):
        places = [place for place in range(9) if batch.columns["marks"][row, place]]
        expected = sum(logits[row, place - 1, batch.tokens[row, place]].item() for place in places)
        assert answers.log_probabilities[row // 2, row % 2].item() == pytest.approx(expected, rel=1e-12)
        assert answers.lengths[row // 2, row % 2] == len(places)


@pytest.mark.parametrize("objective", [DPO(0.3), KTO(0.3)], ids=lambda each: type(each).__name__)
def test_at_the_start_nothing_is_preferred(objective: DPO | KTO) -> None:
    model = _model()
    batch = _with_reference(_batch(), model)
    batch = batch if isinstance(objective, DPO) else _as_rated(batch)
    output = objective(Learner(model, objective.build_extras(_CONFIG, Context())), batch, Draws(0, torch.arange(4)))
    assert output.loss.item() == pytest.approx(math.log(2) if isinstance(objective, Pairwise) else 0.5, abs=1e-12)
    assert output.weight == 2


def test_rows_of_padding_count_nowhere() -> None:
    model = _model()
    whole = _with_reference(_batch(8), _model())
    padded = replace(whole, weights=torch.ones(8, 8, dtype=torch.float64))
    assert padded.weights is not None
    draws = Draws(0, torch.arange(8))
    padded.weights[4:] = 0.0
    for objective in (DPO(2.0), IPO(), ORPO(), KTO(2.0)):
        extras = objective.build_extras(_CONFIG, Context())
        parts = [
            objective(Learner(model, extras), _as_rated(each) if isinstance(objective, KTO) else each, draws)
            for each in (padded, whole.part(slice(0, 4)))
        ]
        assert parts[0].loss.item() == pytest.approx(parts[1].loss.item(), rel=1e-12)
        assert parts[0].weight == parts[1].weight == 2
        assert {name: value.item() for name, value in parts[0].parts.items()} == pytest.approx(
            {name: value.item() for name, value in parts[1].parts.items()}
        )


def test_distance_is_that_of_the_whole_step_before() -> None:
    """However the step was split; and evaluation leaves it alone."""
    reference, model = _model(), GPT(_CONFIG, torch.Generator().manual_seed(1)).double()
    batch = _as_rated(_with_reference(_batch(8), reference))
    found = []
    for rows in (8, 4, 2):
        objective = KTO(0.5)
        learner = Learner(model, objective.build_extras(_CONFIG, Context()).double())
        distance = learner.extras["distance"]
        assert isinstance(distance, StepMean)
        for first in range(0, 8, rows):
            objective(learner, batch.part(slice(first, first + rows)), Draws(0, torch.arange(8)))
        assert distance.value == 0
        objective.close_step(learner, lambda number: number)
        found.append(distance.value.item())
        model.eval()
        objective(learner, batch, Draws(0, torch.arange(8)))
        objective.close_step(learner, lambda number: number)
        assert distance.value.item() == found[-1]
        model.train()
    rewards = read_answers(Learner(model), batch).log_probabilities - batch.columns["reference"][::2]
    assert found == pytest.approx([rewards[:, 1].mean().item()] * 3, rel=1e-12)


def test_rows_without_a_reference_are_refused() -> None:
    with pytest.raises(ConfigError, match="DPO compares with a reference, and the rows come without"):
        DPO()(Learner(_model()), _batch(), Draws(0, torch.arange(4)))


def test_numbers_out_of_range_are_refused() -> None:
    for build in (lambda: DPO(0.0), lambda: IPO(-1.0), lambda: ORPO(0.0), lambda: KTO(0.1, 1.0, 0.0)):
        with pytest.raises(ConfigError, match="is not positive: got"):
            build()
    with pytest.raises(ConfigError, match=r"label_smoothing is a probability: got 0\.5"):
        DPO(label_smoothing=0.5)
