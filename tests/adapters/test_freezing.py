"""A part of the base is trained: which, and from when on."""

from __future__ import annotations

import pytest
import torch

from gpt_lightning.adapters.base import trained_names
from gpt_lightning.adapters.freezing import Freeze
from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.schedules.lengths import Horizon
from tests.adapters.models import GPT2, LLAMA, build_base, tokens


def test_the_upper_layers_are_trained() -> None:
    model = build_base(LLAMA)
    Freeze(layers=1).attach(model)
    names = trained_names(model)
    assert {name.split(".")[0] for name in names} == {"blocks", "final_norm", "head"}
    assert all(name.startswith(("blocks.1.", "final_norm.", "head.")) for name in names)
    tied = build_base(GPT2)
    Freeze(layers=0).attach(tied)
    assert trained_names(tied) == ["final_norm.weight", "final_norm.bias"]


def test_layers_thaw_from_above() -> None:
    model, horizon = build_base(GPT2), Horizon(total_steps=10, tokens_per_step=8)
    freeze = Freeze(layers=2, unfreeze_every="40%")
    freeze.attach(model)
    seen = []
    for step in (0, 3, 4, 9):
        torch.autograd.backward(model.logits(model(tokens())).square().sum())
        freeze.before_step(model, step, horizon)
        seen.append(
            sorted({n.split(".")[1] for n, p in model.named_parameters() if p.grad is not None and "blocks" in n})
        )
        model.zero_grad(set_to_none=True)
    assert seen == [["1"], ["1"], ["0", "1"], ["0", "1"]]


def test_when_layers_thaw_is_a_step_value() -> None:
    """A share of the run: runs of other lengths must not share these steps."""
    value = Freeze(layers=2, unfreeze_every="50%").step_values()["waiting"]
    long, short = (Horizon(total_steps=total, tokens_per_step=8) for total in (20, 10))
    assert [value.at(step, short) for step in (4, 5)] == [1, 0]
    assert [value.at(step, long) for step in (5, 9, 10)] == [1, 1, 0]


@pytest.mark.parametrize("layers", [-1, 3])
def test_layers_there_are_not_are_refused(layers: int) -> None:
    with pytest.raises(ConfigError, match="layers"):
        Freeze(layers=layers).attach(build_base(GPT2))
