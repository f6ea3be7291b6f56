"""What every objective promises. A new objective adds one row to ``OBJECTIVES``."""

from __future__ import annotations

import inspect
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from gpt_lightning.batch import Batch, LossOutput
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Objective
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.contrastive import ContrastivePredictive, Regression
from gpt_lightning.objectives.corruptions.base import Corruption
from gpt_lightning.objectives.corruptions.infilling import FillInTheMiddle
from gpt_lightning.objectives.corruptions.masked import MaskedLM, NextTokenMasked
from gpt_lightning.objectives.corruptions.prefix import PrefixLM
from gpt_lightning.objectives.corruptions.spans import SpanCorruption
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.objectives.labels import Classify, Labelling, MultiLabel, Regress, TokenClassify
from gpt_lightning.objectives.mixture import UL2, Mixture, Part
from gpt_lightning.objectives.multi_token import MultiToken
from gpt_lightning.objectives.preferences import DPO, IPO, KTO, ORPO
from gpt_lightning.objectives.sft import SFT
from tests.objectives.applying import apply, build_extras, describe
from tests.selections import seldom

# Which see nothing behind what counts.
CAUSAL: list[Objective] = [
    CausalLM(),
    MultiToken(heads=2),
    MultiToken(heads=2, form="parallel"),
    ContrastivePredictive(steps=2),
    Regression(steps=2),
]
OBJECTIVES: list[Objective] = [
    *CAUSAL,
    PrefixLM(),
    MaskedLM(0.5),
    NextTokenMasked(0.5),
    FillInTheMiddle(rate=0.8, max_documents=1),
    SpanCorruption(share=0.4, max_documents=1),
    UL2(max_documents=1),
    Mixture({"fim": Part(FillInTheMiddle(max_documents=1)), "clm": Part(CausalLM()), "spans": Part(SpanCorruption())}),
    SFT(),
    # Steep, so that few tokens can tell the answers apart.
    DPO(beta=5.0, label_smoothing=0.01),
    IPO(beta=5.0),
    ORPO(),
    KTO(beta=1.0, undesirable_weight=1.5),
    Classify(class_weights={"good": 2.0}, label_smoothing=0.01),
    Classify("mean"),
    MultiLabel(class_weights={"bad": 2.0}),
    Regress(),
    TokenClassify(),
]
# Six positions and seven tokens of text; the rest is for what objectives add.
_CONFIG = GPTConfig(n_layer=1, n_head=2, n_embd=8, block_size=20, vocab_size=13)


def _name(objective: Objective) -> str:
    return type(objective).__name__


each_objective = pytest.mark.parametrize("objective", OBJECTIVES, ids=_name)
# Where a test takes many passes: the others share the loss, and differ in what they make of the batch. What is added to
# a loss has targets without a gradient and heads that are not trained there.
each_but_slowly = pytest.mark.parametrize(
    "objective",
    [CAUSAL[0], *(pytest.param(each, marks=pytest.mark.slow) for each in OBJECTIVES[len(CAUSAL) :])],
    ids=_name,
)


def _build() -> GPT:
    return GPT(_CONFIG, torch.Generator().manual_seed(0)).double()


def _batch(rows: int = 4) -> Batch:
    generator = torch.Generator().manual_seed(1)
    tokens = torch.randint(7, (rows, 7), generator=generator)
    weights = torch.rand(rows, 6, generator=generator, dtype=torch.float64).round(decimals=1)
    weights[0, 2:] = 0.0
    return Batch(tokens, weights, columns=_columns(rows))


def _columns(rows: int) -> dict[str, Tensor]:
    """All that a layout may put beside the tokens."""
    marks = (torch.arange(7) % 3 != 2).to(torch.uint8).expand(rows, 7)
    reference = -torch.linspace(3, 9, rows, dtype=torch.float64)[:, None]
    numbers = torch.arange(rows)
    return {
        "marks": marks,
        "reference": reference,
        "desirable": numbers[:, None] % 4 < 2,
        "ends": torch.where(numbers == 1, 3, 5)[:, None].int(),
        "label": (numbers % 3)[:, None].int(),
        "labels": (numbers[:, None, None] % torch.tensor([2, 3, 4]) == 0).to(torch.uint8),
        "value": numbers[:, None] / 2.0,
        "tags": torch.where(torch.arange(7) % 2 == 1, numbers[:, None] % 3, -100).int(),
    }


def _run(objective: Objective, model: GPT, batch: Batch, extras: nn.ModuleDict | None = None) -> LossOutput:
    width = objective.needs(_CONFIG).reference
    if width:  # a number for each row of a sample, in the row of its own or in all of them
        columns = {**batch.columns, "reference": batch.columns["reference"].expand(-1, width)}
        batch = replace(batch, columns=columns)
    return apply(objective, model, batch, extras=extras)


def _gradients(objective: Objective, batch: Batch) -> dict[str, Tensor]:
    model = _build()
    torch.autograd.backward(_run(objective, model, batch).loss)
    return {name: parameter.grad for name, parameter in model.named_parameters() if parameter.grad is not None}


def test_every_objective_is_in_the_list() -> None:
    found, waiting = set(), [Objective]
    while waiting:
        kind = waiting.pop()
        waiting += kind.__subclasses__()
        ours = kind.__module__.startswith("gpt_lightning.") and not inspect.isabstract(kind)
        found |= {kind} if ours else set()
    assert {type(objective) for objective in OBJECTIVES} == found


@pytest.mark.parametrize("objective", CAUSAL, ids=_name)
def test_ignored_positions_contribute_nothing(objective: Objective) -> None:
    batch = _batch()
    changed = batch.tokens.clone()
    # Row 0 counts up to the prediction of token 2, so what follows may be anything.
    changed[0, 3:] = (changed[0, 3:] + 1) % 7
    other = replace(batch, tokens=changed)
    assert torch.equal(_run(objective, _build(), batch).loss, _run(objective, _build(), other).loss)
    ours, theirs = _gradients(objective, batch), _gradients(objective, other)
    assert all(torch.allclose(gradient, theirs[name], rtol=0, atol=1e-15) for name, gradient in ours.items())


@each_objective
def test_batch_of_ignored_positions_is_harmless(objective: Objective) -> None:
    batch = _batch()
    output = _run(objective, _build(), replace(batch, weights=torch.zeros(4, 6, dtype=torch.float64)))
    assert (output.loss.item(), output.weight.item()) == (0.0, 0.0)
    empty = replace(batch, weights=torch.zeros(4, 6, dtype=torch.float64))
    assert all(gradient.count_nonzero() == 0 for gradient in _gradients(objective, empty).values())


@each_objective
def test_no_weights_means_all_one(objective: Objective) -> None:
    batch = _batch()
    ones = _run(objective, _build(), replace(batch, weights=torch.ones(4, 6, dtype=torch.float64)))
    none = _run(objective, _build(), replace(batch, weights=None))
    torch.testing.assert_close(none.loss, ones.loss, rtol=1e-14, atol=0)
    assert none.weight == ones.weight


@each_objective
def test_nothing_comes_from_the_global_generator(objective: Objective) -> None:
    torch.manual_seed(1)
    first = _run(objective, _build(), _batch()).loss
    torch.manual_seed(2)
    assert torch.equal(_run(objective, _build(), _batch()).loss, first)


@each_objective
def test_narrow_token_types_are_taken(objective: Objective) -> None:
    batch = _batch()
    narrow = replace(batch, tokens=batch.tokens.to(torch.int16))
    assert torch.equal(_run(objective, _build(), narrow).loss, _run(objective, _build(), batch).loss)


@pytest.mark.parametrize("rows", [2, *seldom(1, 4, 8)])
@pytest.mark.parametrize("objective", [each for each in OBJECTIVES if isinstance(each, Corruption)], ids=_name)
def test_a_sample_is_corrupted_alike_in_every_micro_batch(objective: Corruption, rows: int) -> None:
    """Bit for bit, whatever the split of the global batch; and each sample and each seed differently."""
    batch = replace(_batch(8), samples=torch.arange(40, 48), documents=(torch.arange(7) > 3).int().expand(8, 7))
    whole = _corrupt(objective, batch)
    parts = [_corrupt(objective, batch.part(slice(first, first + rows))) for first in range(0, 8, rows)]
    for name, value in whole.items():
        assert torch.equal(torch.cat([part[name] for part in parts]), value), name
    if not isinstance(objective, CausalLM | SFT | SpanCorruption):  # a window this short can hold its span in one way
        others = [_corrupt(objective, replace(batch, samples=torch.arange(8))), _corrupt(objective, batch, seed=1)]
        assert all(any(not torch.equal(other[name], value) for name, value in whole.items()) for other in others)


def _corrupt(objective: Corruption, batch: Batch, seed: int = 0) -> dict[str, Tensor]:
    samples = batch.samples
    assert samples is not None
    found = vars(objective.corrupt(batch, Draws(seed, samples), describe(objective, batch, 7)))
    return {name: value for name, value in found.items() if isinstance(value, Tensor)}


@each_objective
@pytest.mark.parametrize("rows_first", [1, *seldom(2, 3)])
def test_split_batch_gives_the_loss_of_the_whole(objective: Objective, rows_first: int) -> None:
    rows_per_sample = objective.needs(_CONFIG).rows_per_sample
    rows_first *= rows_per_sample
    batch, model = _batch(4 * rows_per_sample), _build()
    parts = [_run(objective, model, batch.part(rows)) for rows in (slice(rows_first), slice(rows_first, None))]
    weight = torch.stack([part.weight for part in parts])
    joint = (torch.stack([part.loss for part in parts]) * weight).sum() / weight.sum()
    whole = _run(objective, model, batch)
    torch.testing.assert_close(joint, whole.loss, rtol=1e-12, atol=0)
    torch.testing.assert_close(weight.sum(), whole.weight, rtol=1e-12, atol=0)


@each_but_slowly
def test_gradient_equals_the_difference_quotient(objective: Objective) -> None:
    model, batch = _build(), _batch(2)
    torch.autograd.backward(_run(objective, model, batch).loss)
    step = 1e-6
    for parameter in (model.token_embedding.weight, model.position_embedding.weight, model.final_norm.bias):
        assert parameter.grad is not None
        flat = parameter.data.view(-1)
        for index in range(0, flat.numel(), 7):
            value = flat[index].item()
            losses = []
            for shifted in (value + step, value - step):
                flat[index] = shifted
                losses.append(_run(objective, model, batch).loss.item())
            flat[index] = value
            quotient = (losses[0] - losses[1]) / (2 * step)
            assert parameter.grad.view(-1)[index].item() == pytest.approx(quotient, abs=1e-8, rel=1e-5)


@each_but_slowly
def test_one_batch_can_be_learned_by_heart(objective: Objective) -> None:
    # float32 and without weights, as in training; every row begins differently, so that it can be told apart.
    tokens = (torch.arange(4)[:, None] + torch.tensor([0, 3, 1, 4, 1, 5, 2])) % 7
    model, batch = _build().float(), Batch(tokens, columns=_columns(4))
    extras = build_extras(objective, model) if isinstance(objective, Labelling) else None
    trained = [*model.parameters(), *(extras.parameters() if extras is not None else ())]
    optimizer = torch.optim.Adam(trained, lr=0.03)
    before = _run(objective, model, batch, extras).loss.item()
    for _ in range(80):
        optimizer.zero_grad()
        torch.autograd.backward(_run(objective, model, batch, extras).loss)
        optimizer.step()
    assert _run(objective, model, batch, extras).loss.item() < 0.1 * before


@each_objective
def test_what_is_reported_is_detached(objective: Objective) -> None:
    output = _run(objective, _build(), _batch())
    assert output.loss.requires_grad
    reported = [output.weight, output.losses, output.weights, output.targets, *output.parts.values()]
    assert not any(tensor.requires_grad for tensor in reported if tensor is not None)


@each_objective
def test_sights_say_whether_anything_opens(objective: Objective) -> None:
    if not isinstance(objective, Corruption):
        assert objective.sights() == {"causal"}
        return
    batch = replace(_batch(8), weights=None)
    opens = objective.corrupt(batch, Draws(0, torch.arange(8)), describe(objective, batch, 7)).opens
    assert ("open" in objective.sights()) == bool(torch.as_tensor(opens).any())
    assert objective.sights() <= {"causal", "open"}
    assert objective.sights()


def test_sights_of_what_is_made_of_others() -> None:
    mixture = Mixture({"clm": Part(CausalLM()), "masked": Part(MaskedLM()), "never": Part(PrefixLM(), share=0.0)})
    assert mixture.sights() == {"causal", "open"}
    assert MultiToken(base=PrefixLM()).sights() == {"open"}
    assert Mixture({"clm": Part(CausalLM()), "never": Part(PrefixLM(), share=0.0)}).sights() == {"causal"}
