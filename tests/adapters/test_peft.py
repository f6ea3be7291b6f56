"""Ten steps beside peft's own layers, from equal weights: the same formulas, gradients and allocation of ranks."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpt_lightning.adapters.adalora import AdaLoRA, SingularValues
from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.adapters.layers import adapted_layers
from gpt_lightning.adapters.lora import DoRA, LoRA, RsLoRA
from gpt_lightning.adapters.scaling import IA3
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.schedules.lengths import Horizon
from tests.adapters.models import GPT2, build_base, logits_of

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
peft = pytest.importorskip("peft")

STEPS = 10
WORDS = ["output", "expand", "contract"]
"""Layers that peft can wrap one by one: ours wrap queries, keys and values apart."""
COMMON: dict[str, Any] = {"target_modules": WORDS, "lora_dropout": 0.0}


def batch(step: int) -> Tensor:
    return torch.randint(0, 40, (4, 12), generator=torch.Generator().manual_seed(step))


def loss_of(model: GPT, step: int) -> Tensor:
    tokens = batch(step)
    logits = model.logits(model(tokens[:, :-1]))
    return nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())


def optimizer_of(model: nn.Module) -> torch.optim.Optimizer:
    # Adam divides by the root of a square: an eps of the gradients' size keeps rounding from being blown up.
    return torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-2, eps=1e-3)


def train_both(model: GPT, theirs: GPT) -> None:
    """Ten steps each, with equal losses."""
    pairs = [(each, optimizer_of(each)) for each in (model, theirs)]
    for step in range(STEPS):
        losses = []
        for each, optimizer in pairs:
            optimizer.zero_grad()
            loss = loss_of(each, step)
            torch.autograd.backward(loss)
            optimizer.step()
            losses.append(loss.item())
        assert losses[0] == pytest.approx(losses[1], abs=1e-5)


def ours(adaptation: Adaptation) -> GPT:
    model = build_base(GPT2)
    adaptation.attach(model, torch.Generator().manual_seed(1))
    return model.train()


@pytest.mark.parametrize(
    ("adaptation", "config"),
    [
        (LoRA(r=3, targets=WORDS), {"r": 3, "lora_alpha": 6}),
        (RsLoRA(r=3, targets=WORDS), {"r": 3, "lora_alpha": 6, "use_rslora": True}),
        (DoRA(r=3, targets=WORDS), {"r": 3, "lora_alpha": 6, "use_dora": True}),
    ],
    ids=["lora", "rslora", "dora"],
)
def test_low_rank_steps_are_those_of_peft(adaptation: Adaptation, config: dict[str, Any]) -> None:
    model, theirs = ours(adaptation), build_base(GPT2).train()
    theirs = peft.inject_adapter_in_model(peft.LoraConfig(**COMMON, **config), theirs)
    with torch.no_grad():
        for name, layer in adapted_layers(model):
            wrapped = theirs.get_submodule(name)
            ((_, delta),) = layer.deltas_of("default")
            wrapped.lora_A["default"].weight.copy_(delta.a)
            wrapped.lora_B["default"].weight.copy_(delta.b)
    train_both(model, theirs)
    assert_followed(model, theirs)


def assert_followed(model: GPT, theirs: GPT) -> None:
    """Logits of size 1 agree to 1e-5; and something was learned, by a thousand times more than that."""
    base = logits_of(build_base(GPT2))
    found, wanted = logits_of(model.eval()), logits_of(theirs.eval())
    torch.testing.assert_close(found, wanted, rtol=0, atol=1e-5)
    assert (wanted - base).abs().max() > 0.01


def test_ia3_steps_are_those_of_peft() -> None:
    model, theirs = ours(IA3(["output", "contract"])), build_base(GPT2).train()
    config = peft.IA3Config(target_modules=["output", "contract"], feedforward_modules=["contract"])
    theirs = peft.inject_adapter_in_model(config, theirs)
    train_both(model, theirs)
    assert_followed(model, theirs)


def test_adalora_steps_are_those_of_peft() -> None:
    """Their allocator is called by hand behind every step, and their penalty added: it is left to the user."""
    settings = {"r": 2, "initial_r": 4, "alpha": 8.0, "warmup": 2, "final": 3, "every": 2, "orthogonality": 0.5}
    adaptation = AdaLoRA(**settings, targets=WORDS)  # type: ignore[arg-type]
    model = ours(adaptation)
    config = peft.AdaLoraConfig(
        **COMMON, init_r=4, target_r=2, lora_alpha=8, tinit=2, tfinal=3, deltaT=2, total_step=STEPS, orth_reg_weight=0.5
    )
    theirs = build_base(GPT2).train()
    tuner = peft.AdaLoraModel(theirs, {"default": config}, "default")
    with torch.no_grad():
        for name, layer in adapted_layers(model):
            wrapped = theirs.get_submodule(name)
            ((_, delta),) = layer.deltas_of("default")
            for own, other in (("a", "lora_A"), ("e", "lora_E"), ("b", "lora_B")):
                getattr(wrapped, other)["default"].copy_(getattr(delta, own))
    mine, their_optimizer = optimizer_of(model), optimizer_of(theirs)
    horizon = Horizon(total_steps=STEPS, tokens_per_step=1)
    for step in range(STEPS):
        penalty = adaptation.penalty(model)
        assert penalty is not None
        torch.autograd.backward(loss_of(model, step) + penalty)
        mine.step()
        adaptation.after_step(model, step, horizon)
        mine.zero_grad()
        strains = [
            torch.norm((p @ p.T if "lora_A" in name else p.T @ p) - torch.eye(4))
            for name, p in theirs.named_parameters()
            if "lora_A" in name or "lora_B" in name
        ]
        torch.autograd.backward(loss_of(theirs, step) + 0.5 * torch.stack(strains).mean())
        their_optimizer.step()
        tuner.update_and_allocate(step + 1)
        their_optimizer.zero_grad()
        for name, layer in adapted_layers(model):
            ((_, delta),) = layer.deltas_of("default")
            wanted = theirs.get_parameter(f"{name}.lora_E.default")
            assert isinstance(delta, SingularValues)
            assert torch.equal(delta.e != 0, wanted != 0), (step, name)
            torch.testing.assert_close(delta.e, wanted, rtol=0, atol=1e-5)
    assert_followed(model, theirs)
    deltas = [delta for _, layer in adapted_layers(model) for _, delta in layer.deltas_of("default")]
    kept = [int((delta.e != 0).sum()) for delta in deltas if isinstance(delta, SingularValues)]
    assert sum(kept) == 2 * len(kept)
