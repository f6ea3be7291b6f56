"""Every optimizer with every parametrization and with every schedule: two steps that go down."""

from __future__ import annotations

from itertools import product

import pytest
import torch
import torch.nn.functional as F

from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.groups import read_learning_rates, set_learning_rates
from gpt_lightning.optim.optimizers import AdamW, Lion, Muon, OptimizerRecipe, ScheduleFree
from gpt_lightning.optim.parametrization import CompleteP, MuP, Parametrization, Standard
from gpt_lightning.optim.schedules.lengths import Horizon
from gpt_lightning.optim.schedules.schedules import Schedule
from tests.contracts.test_schedules import EXACT
from tests.model.options import MODERN, draw_tokens, small_config

_RECIPES = [AdamW(5e-3), Muon(0.01), Lion(2e-3), ScheduleFree(5e-3)]
_PARAMETRIZATIONS: list[Parametrization] = [Standard(), MuP(base_width=8), CompleteP(base_width=8, base_layers=1)]
_KINDS: dict[str, Schedule] = {type(schedule).__name__: schedule for schedule, _, _ in EXACT}
_HORIZON = Horizon(10, 1)


def _name(value: object) -> str:
    return type(value).__name__


@pytest.mark.parametrize(("recipe", "parametrization"), list(product(_RECIPES, _PARAMETRIZATIONS)), ids=_name)
def test_two_steps_with_every_schedule(recipe: OptimizerRecipe, parametrization: Parametrization) -> None:
    """A third of the schedules with each parametrization: an optimizer meets them all."""
    tokens = draw_tokens()
    ends = set()
    for schedule in list(_KINDS.values())[_PARAMETRIZATIONS.index(parametrization) :: len(_PARAMETRIZATIONS)]:
        model = GPT(small_config(**MODERN, tie_embeddings=False), torch.Generator().manual_seed(0))
        parametrization.scale_weights(model)
        optimizer, losses = recipe.build(model, parametrization), []
        peaks = read_learning_rates(optimizer)
        for step in range(3):
            optimizer.zero_grad()
            loss = F.cross_entropy(model.logits(model(tokens[:, :-1])).flatten(0, 1), tokens[:, 1:].flatten())
            torch.autograd.backward(loss)
            losses.append(loss.item())
            if step < 2:
                set_learning_rates(optimizer, schedule.factor(step, _HORIZON))
                optimizer.step()
        factor = schedule.factor(1, _HORIZON)
        assert read_learning_rates(optimizer) == pytest.approx({name: peak * factor for name, peak in peaks.items()})
        assert set(peaks) >= {"matrix", "embedding", "head", "vector"}
        assert losses[2] < losses[1] < losses[0], _name(schedule)
        ends.add(losses[2])
    assert len(ends) > 1, "schedules make no difference"


def test_all_kinds_are_here() -> None:
    assert len(_KINDS) >= 15
