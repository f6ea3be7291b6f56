"""Mixtures: who gets which objective, what is measured, and what a mixture of one is."""

from __future__ import annotations

import pytest
import torch

from gpt_lightning.batch import Batch
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.base import Context, Objective
from gpt_lightning.objectives.causal import CausalLM
from gpt_lightning.objectives.corruptions.infilling import FillInTheMiddle
from gpt_lightning.objectives.corruptions.spans import SpanCorruption
from gpt_lightning.objectives.draws import Draws
from gpt_lightning.objectives.mixture import Mixed, Mixture, Part
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.piecewise import Piecewise, Point
from gpt_lightning.optim.schedules.schedules import Constant
from gpt_lightning.training.reuse.fingerprint import RunFingerprint
from tests.objectives.applying import apply, describe
from tests.objectives.test_restore import context_of, corrupt, draw_windows

_BRANCH = 50


def late(factor: float) -> Piecewise:
    """0 until a step, then a factor."""
    return Piecewise([Point(0, 0.0), Point(_BRANCH, 0.0), Point(_BRANCH, factor)], warmup=0)


def pair(schedule: Piecewise | None = None, share: float = 1.0) -> Mixture:
    return Mixture({"clm": Part(CausalLM()), "fim": Part(FillInTheMiddle(rate=1.0), share, schedule)})


def test_every_row_is_made_by_its_part() -> None:
    objective, batch = pair(), draw_windows(4, "bytes")
    context = context_of(objective, "bytes", batch.tokens.shape[1] - 1)
    mixed = corrupt(objective, batch, 0, context)
    assert isinstance(mixed, Mixed)
    assert sorted(set(mixed.part.tolist())) == [0, 1]
    for part, alone in enumerate((CausalLM(), FillInTheMiddle(rate=1.0))):
        made, rows = corrupt(alone, batch, 0, context), mixed.part == part
        assert torch.equal(mixed.tokens[rows, : made.tokens.shape[1]], made.tokens[rows])
        assert mixed.weights is not None
        assert not mixed.weights[rows, made.tokens.shape[1] :].any()


def test_shares() -> None:
    objective = pair(share=3.0)
    batch = Batch(torch.zeros(4000, 3, dtype=torch.long))
    context = describe(objective, batch, 7)
    part = objective.corrupt(batch, Draws(0, torch.arange(4000)), context).part  # type: ignore[attr-defined]
    assert abs(part.double().mean().item() - 0.75) < 4 * (0.75 * 0.25 / 4000) ** 0.5
    none = Context(special_ids=context.special_ids, values={"share.clm": 1.0, "share.fim": 0.0})
    assert not objective.corrupt(batch, Draws(0, torch.arange(4000)), none).part.any()  # type: ignore[attr-defined]


def test_loss_of_every_part() -> None:
    model = GPT(
        GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=40, vocab_size=13), torch.Generator().manual_seed(0)
    )
    output = apply(pair(), model, Batch(torch.randint(7, (16, 9), generator=torch.Generator().manual_seed(1))))
    weights = torch.stack([output.part_weights[name] for name in ("clm", "fim")])
    losses = torch.stack([output.parts[name] for name in ("clm", "fim")])
    assert weights.min() > 0
    assert weights.sum() == output.weight
    torch.testing.assert_close((losses * weights).sum() / weights.sum(), output.loss.detach())


def test_runs_share_the_steps_before_their_shares_part() -> None:
    def keys(objective: Objective) -> dict[int, str]:
        run = RunFingerprint({}, {"matrix": 1.0}, Constant(), Horizon(100, 8), objective.step_values())
        return run.keys(range(1, 101))

    one, other = keys(pair(late(0.5))), keys(pair(late(0.25)))
    assert [step for step in one if one[step] == other[step]] == list(range(1, _BRANCH + 1))
    # A fixed share is a schedule that stays.
    assert keys(pair(Piecewise([Point(0, 1.0)], warmup=0))) == keys(pair())


def weights_after(objective: Objective, steps: int = 20) -> dict[str, torch.Tensor]:
    """Of a tiny decoder on windows of a few documents."""
    model = GPT(GPTConfig(n_layer=1, n_head=1, n_embd=8, block_size=9, vocab_size=9), torch.Generator().manual_seed(0))
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    generator = torch.Generator().manual_seed(1)
    for step in range(steps):
        tokens = torch.randint(7, (2, 10), generator=generator)
        documents = (torch.arange(10) > step % 8).int().expand(2, -1) if step % 2 else None
        apply(objective, model, Batch(tokens, documents=documents, position=2 * step)).loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        optimizer.zero_grad()
    return model.state_dict()


@pytest.mark.parametrize(
    "objective",
    [FillInTheMiddle(rate=0.0), SpanCorruption(share=0.0), Mixture({"clm": Part(CausalLM())})],
    ids=["fim 0", "spans 0", "mixture of one"],
)
def test_without_effect_it_is_next_token_prediction_to_the_bit(objective: Objective) -> None:
    ours, theirs = weights_after(objective), weights_after(CausalLM())
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_shares_that_cannot_be() -> None:
    with pytest.raises(ConfigError, match="no shares"):
        Mixture({"clm": Part(CausalLM(), share=0.0)})
    with pytest.raises(ConfigError, match="name"):
        Mixture({"a.b": Part(CausalLM())})
    objective = Mixture({"clm": Part(CausalLM()), "fim": Part(FillInTheMiddle())})
    with pytest.raises(ConfigError, match="All shares"):
        objective.corrupt(
            Batch(torch.zeros(1, 4, dtype=torch.long)),
            Draws(0, torch.arange(1)),
            Context(
                special_ids=context_of(objective, "bytes", 3).special_ids, values={"share.clm": 0.0, "share.fim": 0.0}
            ),
        )
