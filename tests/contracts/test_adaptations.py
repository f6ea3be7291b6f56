"""What every adaptation promises, on a decoder like GPT-2 and on one like Llama."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from gpt_lightning.adapters.adalora import AdaLoRA
from gpt_lightning.adapters.base import Adaptation, trained_names
from gpt_lightning.adapters.bottleneck import Houlsby, Pfeiffer
from gpt_lightning.adapters.layers import find_switch, merge_adapter
from gpt_lightning.adapters.loading import build_adaptation, known_adaptations, load_adapter
from gpt_lightning.adapters.lora import DoRA, LoRA, PiSSA, RsLoRA
from gpt_lightning.adapters.prefix import PrefixTuning, PromptTuning
from gpt_lightning.adapters.scaling import IA3
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from tests.adapters.models import GPT2, LLAMA, adapted, build_base, logits_of, tokens, train_a_little

KINDS: dict[str, Callable[[], Adaptation]] = {
    "LoRA": lambda: LoRA(r=3),
    "RsLoRA": lambda: RsLoRA(r=3),
    "PiSSA": lambda: PiSSA(r=3),
    "DoRA": lambda: DoRA(r=3),
    "AdaLoRA": lambda: AdaLoRA(r=2, initial_r=3),
    "IA3": IA3,
    "Houlsby": lambda: Houlsby(size=3),
    "Pfeiffer": lambda: Pfeiffer(size=3),
    "PrefixTuning": lambda: PrefixTuning(length=3),
    "PromptTuning": lambda: PromptTuning(length=3),
}
AHEAD = {"PrefixTuning", "PromptTuning"}
"""Those that let a text be read behind something, from the start."""
UNMERGED = {"Houlsby", "Pfeiffer", *AHEAD}
"""Those that are no change of weights."""

every_kind = pytest.mark.parametrize("kind", KINDS)
every_shape = pytest.mark.parametrize("config", [GPT2, LLAMA], ids=["gpt2", "llama"])


def test_every_adaptation_is_tested() -> None:
    """``Freeze`` adds nothing, ``Int8Base`` changes the base: tests/adapters/test_freezing.py and test_int8.py."""
    assert {*KINDS, "Freeze", "Int8Base"} == set(known_adaptations())


@every_kind
@every_shape
def test_it_begins_as_the_base(kind: str, config: GPTConfig) -> None:
    if kind in AHEAD:
        pytest.skip("it reads a text behind tokens: tests/adapters/test_prefix.py")
    model = build_base(config)
    base = logits_of(model)
    KINDS[kind]().attach(model, torch.Generator().manual_seed(1))
    # PiSSA takes away what it adds, in another order of sums; logits are of size 1 to 10.
    torch.testing.assert_close(logits_of(model), base, rtol=0, atol=1e-5 if kind == "PiSSA" else 0)


@every_kind
@every_shape
def test_switched_off_it_is_the_base_to_the_bit(kind: str, config: GPTConfig) -> None:
    base = logits_of(build_base(config))
    model = adapted(config, KINDS[kind]())
    assert (logits_of(model) - base).abs().max() > 1e-3  # it does something
    switch = find_switch(model)
    assert switch is not None
    switch.active = None
    assert torch.equal(logits_of(model), base)


@every_kind
@every_shape
def test_names_and_values_of_the_base_stay(kind: str, config: GPTConfig) -> None:
    before = {name: value.clone() for name, value in build_base(config).state_dict().items()}
    after = adapted(config, KINDS[kind]()).state_dict()
    assert set(before) <= set(after)
    assert all(torch.equal(after[name], value) for name, value in before.items())


@every_kind
def test_only_what_is_trained_has_a_gradient(kind: str) -> None:
    model = adapted(GPT2, KINDS[kind]())
    torch.autograd.backward(model.logits(model(tokens())).square().sum())
    with_gradient = {name for name, parameter in model.named_parameters() if parameter.grad is not None}
    parameters = {name for name, _ in model.named_parameters()}
    assert with_gradient == parameters & set(trained_names(model))
    assert all(".deltas.default." in name for name in with_gradient)


@every_kind
@every_shape
def test_merged_it_computes_the_same(kind: str, config: GPTConfig) -> None:
    model = adapted(config, KINDS[kind]())
    wanted = logits_of(model)
    if kind in UNMERGED:
        with pytest.raises(ConfigError, match="cannot be merged"):
            merge_adapter(model, "default")
        assert torch.equal(logits_of(model), wanted)
        return
    base = {name: value.clone() for name, value in build_base(config).state_dict().items()}
    merge_adapter(model, "default")
    # float32 has 7 digits, and logits here are of size 10.
    torch.testing.assert_close(logits_of(model), wanted, rtol=1e-6, atol=1e-5)
    assert set(model.state_dict()) == set(base)
    assert find_switch(model) is None


@every_kind
@every_shape
def test_its_state_is_all_that_was_trained(kind: str, config: GPTConfig) -> None:
    model = adapted(config, KINDS[kind]())
    state = model.state_dict()
    other = build_base(config)
    load_adapter(other, KINDS[kind](), {name: state[name] for name in trained_names(model)}, "here", "second")
    assert torch.equal(logits_of(other), logits_of(model))
    assert not any(parameter.requires_grad for parameter in other.parameters())


@every_kind
@every_shape
def test_each_row_goes_through_its_own_adapter(kind: str, config: GPTConfig) -> None:
    """On a CPU to the bit as alone: bits of a row depend on nobody else."""
    one, two = (adapted(config, KINDS[kind](), seed) for seed in (5, 6))
    both = build_base(config)
    for name, model in (("one", one), ("two", two)):
        state = model.state_dict()
        load_adapter(both, KINDS[kind](), {key: state[key] for key in trained_names(model)}, "here", name)
    switch = find_switch(both)
    assert switch is not None
    batch, device = tokens(4), torch.device("cpu")
    names = ["two", None, "one", "two"]
    with torch.no_grad():
        switch.select(names, device)
        together = both.logits(both(batch))
        for row, wanted in enumerate(names):
            switch.select([wanted, None, None, None], device)
            alone = both.logits(both(batch[[row, 0, 0, 0]]))
            assert torch.equal(together[row], alone[0])
    switch.select(None, device)
    for row, model in ((0, two), (1, build_base(config)), (2, one), (3, two)):
        torch.testing.assert_close(together[row], logits_of(model, batch)[row], rtol=1e-6, atol=1e-5)


@every_kind
def test_the_same_seed_gives_the_same_adapter(kind: str) -> None:
    models = [build_base(GPT2) for _ in range(2)]
    for model in models:
        torch.rand(3)  # the global generator is no part of it
        KINDS[kind]().attach(model, torch.Generator().manual_seed(1))
    one, other = (model.state_dict() for model in models)
    assert all(torch.equal(one[name], other[name]) for name in one)


@every_kind
def test_it_trains_with_recomputed_activations_as_without(kind: str) -> None:
    gradients = []
    for every in (None, 1):
        model = build_base(GPT2)
        KINDS[kind]().attach(model, torch.Generator().manual_seed(1))
        train_a_little(model)
        model.train()
        model.checkpoint_every = every
        torch.autograd.backward(model.logits(model(tokens())).square().sum())
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    assert all(torch.equal(one, other) for one, other in zip(*gradients, strict=True))


def test_settings_make_the_adaptation_again() -> None:
    made = build_adaptation({"class_path": "gpt_lightning.adapters.lora.DoRA", "init_args": {"r": 2, "targets": None}})
    assert isinstance(made, DoRA)
    assert (made.r, made.alpha) == (2, 4.0)
