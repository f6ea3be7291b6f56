"""The coordinate check: after some steps, activations are as large in wide and deep models as in small ones.

And the published form, with its factors in the forward pass: what is stored trains the same function, clipped or not.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.clipping import clip_gradients
from gpt_lightning.optim.groups import scale_gradients
from gpt_lightning.optim.optimizers import AdamW, Lion, Muon, OptimizerRecipe, ScheduleFree
from gpt_lightning.optim.parametrization import CompleteP, MuP, Parametrization, Standard


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Products this small gain nothing from threads that wait for each other, least of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


_ADAM = AdamW(lr=4e-3, weight_decay=0.0)
_RECIPES: dict[str, OptimizerRecipe] = {
    "adamw": _ADAM,
    "lion": Lion(lr=1e-3, weight_decay=0.0),
    "muon": Muon(),
    "muon-as-adam": Muon(lr=2e-2, match_adam=True),
    "schedule-free": ScheduleFree(lr=4e-3, weight_decay=0.0),
}


_EVERY_KIND = [
    pytest.param(parametrization, recipe, max_norm, id=f"{name}-{kind}-{clip}", marks=marks)
    for name, parametrization in (("mup", MuP(32)), ("completep", CompleteP(32, 2)))
    for kind, recipe in _RECIPES.items()
    for clip, max_norm in (("whole", None), ("clipped", 0.2))
    # By default muP as it is and CompleteP clipped, which scales its gradients as muP does.
    for marks in ([] if (name, clip) in (("mup", "whole"), ("completep", "clipped")) else [pytest.mark.slow],)
]


def _config(width: int, layers: int) -> GPTConfig:
    return GPTConfig(n_layer=layers, n_head=width // 16, n_embd=width, block_size=16, vocab_size=32)


def _size_after_steps(
    width: int,
    layers: int,
    parametrization: Parametrization,
    recipe: OptimizerRecipe,
    steps: int,
    max_norm: float | None = None,
) -> Tensor:
    """Root mean square of the stream behind the last block and of the logits, after ``steps`` steps."""
    model = GPT(_config(width, layers), torch.Generator().manual_seed(0))
    parametrization.scale_weights(model)
    optimizer = recipe.build(model, parametrization)
    tokens = torch.randint(0, 32, (4, 17), generator=torch.Generator().manual_seed(1))
    stream: list[Tensor] = []
    model.blocks[-1].register_forward_hook(lambda _, __, output: stream.append(output.detach()))
    for _ in range(steps + 1):
        logits = model.logits(model(tokens[:, :-1]))
        optimizer.zero_grad()
        torch.autograd.backward(F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten()))
        scale_gradients(optimizer)
        clip_gradients(model.parameters(), max_norm)
        optimizer.step()
    return torch.stack([stream[-1].square().mean().sqrt(), logits.detach().square().mean().sqrt()])


@pytest.mark.parametrize(("parametrization", "recipe", "max_norm"), _EVERY_KIND)
def test_width_changes_nothing(
    parametrization: Parametrization, recipe: OptimizerRecipe, max_norm: float | None
) -> None:
    """Small widths are cheap, and up to a third apart at the start, where chance decides about the logits."""
    sizes = torch.stack([_size_after_steps(width, 2, parametrization, recipe, 4, max_norm) for width in (32, 128)])
    assert (sizes.amax(0) / sizes.amin(0)).max() < 1.45


@pytest.mark.parametrize("steps", [1, pytest.param(10, marks=pytest.mark.slow)])
def test_from_one_step_to_ten_and_up_to_a_width_of_512(steps: int) -> None:
    sizes = torch.stack([_size_after_steps(width, 2, MuP(64), _ADAM, steps) for width in (64, 128, 512)])
    assert (sizes.amax(0) / sizes.amin(0)).max() < 1.25


@pytest.mark.parametrize("recipe", _RECIPES.values(), ids=list(_RECIPES))
def test_standard_grows_with_the_width(recipe: OptimizerRecipe) -> None:
    small, large = (_size_after_steps(width, 2, Standard(), recipe, 4) for width in (32, 128))
    assert (large / small).max() > 2.5


@pytest.mark.parametrize("max_norm", [0.2, pytest.param(None, marks=pytest.mark.slow)], ids=["clipped", "whole"])
@pytest.mark.parametrize("recipe", _RECIPES.values(), ids=list(_RECIPES))
def test_only_complete_p_is_indifferent_to_the_depth(recipe: OptimizerRecipe, max_norm: float | None) -> None:
    small, large = (_size_after_steps(32, layers, CompleteP(32, 2), recipe, 4, max_norm) for layers in (2, 8))
    assert ((large / small).log().abs() < 0.1).all()
    small, large = (_size_after_steps(32, layers, MuP(32), recipe, 4, max_norm) for layers in (2, 8))
    assert (large / small).max() > 1.5


@pytest.mark.parametrize("parametrization", [Standard(), MuP(32), CompleteP(32, 2)])
def test_base_model_is_the_ordinary_one(parametrization: Parametrization) -> None:
    model, plain = (GPT(_config(32, 2), torch.Generator().manual_seed(0)) for _ in range(2))
    parametrization.scale_weights(model)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), plain.parameters(), strict=True))
    groups = _ADAM.build(model, parametrization).param_groups
    assert {(group["lr"], group["weight_decay"]) for group in groups} == {(4e-3, 0.0)}


def test_factors_of_the_table() -> None:
    """m = 4, k = 8: every row of the table in the module's docstring."""
    model, plain = (GPT(_config(64, 16), torch.Generator().manual_seed(0)) for _ in range(2))
    parametrization = CompleteP(16, 2)
    parametrization.scale_weights(model)
    optimizer = AdamW(lr=1.0, weight_decay=0.5, eps=1.0).build(model, parametrization)
    groups = {id(parameter): group for group in optimizer.param_groups for parameter in group["params"]}
    expected = {
        "token_embedding.weight": (1.0, 1.0, 0.5, 1 / 4),
        "blocks.3.attention.query_key_value.weight": (1 / 2, 1 / 4, 2.0, 1 / 32),
        "blocks.3.mlp.expand.weight": (1 / 2, 1 / 4, 2.0, 1 / 32),
        # GPT-2 draws with 1 / sqrt(2 n_layer); the base's factor is sqrt(8) of it, the branch adds 1/8.
        "blocks.3.attention.output.weight": (8**0.5 / 2 / 8, 1 / 32, 16.0, 1 / 32),
        "blocks.3.mlp.contract.weight": (8**0.5 / 2 / 8, 1 / 32, 16.0, 1 / 32),
        "blocks.3.mlp.contract.bias": (1.0, 1 / 8, 0.0, 1 / 32),
        "blocks.3.mlp.expand.bias": (1.0, 1.0, 0.0, 1 / 32),
        "blocks.3.mlp_norm.weight": (1.0, 1.0, 0.0, 1 / 32),
        "final_norm.weight": (1 / 4, 1 / 4, 0.0, 1 / 4),
    }
    before = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        if name in expected:
            group, init = groups[id(parameter)], expected[name][0]
            torch.testing.assert_close(parameter, before[name] * init)
            found = (init, *(group[key] for key in ("lr", "weight_decay", "eps")))
            assert found == pytest.approx(expected[name]), name
    names = {group["name"] for group in optimizer.param_groups}
    assert names == {"embedding", "matrix", "matrix_end", "vector", "vector_end", "vector_final"}


@pytest.mark.parametrize(("match_adam", "rate"), [(False, 1.0), (True, 0.5)])
def test_orthogonal_steps_follow_the_width_where_their_singular_values_grow_with_it(
    match_adam: bool, rate: float
) -> None:
    model = GPT(_config(64, 4), torch.Generator().manual_seed(0))
    optimizer = Muon(lr=1.0, match_adam=match_adam, weight_decay=0.5).build(model, CompleteP(16, 2))
    groups = {group["name"]: (group["lr"], group["weight_decay"]) for group in optimizer.param_groups}
    assert (groups["matrix"], groups["matrix_end"]) == ((rate, 0.5 / rate), (rate / 2, 1 / rate))


def _published(depth: bool) -> tuple[GPT, torch.optim.Optimizer]:
    """muP or CompleteP as printed, m = 4 and k = 2: factors on activations, AdamW's settings by hand."""
    m, k, lr, decay, eps = 4, 2 if depth else 1, 1e-2, 0.1, 1e-3
    model = GPT(_config(64, 4), torch.Generator().manual_seed(0)).double()
    groups: list[dict[str, Any]] = []
    for name, parameter in model.named_parameters():
        hidden, ends = "blocks" in name and parameter.ndim == 2, "attention.output" in name or "contract" in name
        if hidden:
            parameter.data /= m**0.5
            parameter.data *= k**0.5 if ends else 1.0
        groups.append(
            {
                "params": [parameter],
                "lr": lr / m if hidden else lr,
                "weight_decay": 0.0 if parameter.ndim < 2 else decay * m if hidden else decay,
                "eps": eps / (m * k if "blocks" in name else m) if depth else eps,
            }
        )

    def divide(layer: torch.nn.Module, by: float) -> None:
        layer.register_forward_hook(lambda _, __, output: output / by)

    divide(model.final_norm, m)
    for layer in range(4):
        divide(model.get_submodule(f"blocks.{layer}.attention.output"), k)
        divide(model.get_submodule(f"blocks.{layer}.mlp.contract"), k)
    return model, torch.optim.AdamW(groups, betas=(0.9, 0.95))


def _train(model: GPT, optimizer: torch.optim.Optimizer, clip: Callable[[], Tensor]) -> list[float]:
    """Losses and norms of five steps."""
    tokens = torch.randint(0, 32, (4, 17), generator=torch.Generator().manual_seed(1))
    numbers: list[float] = []
    for _ in range(5):
        optimizer.zero_grad()
        loss = F.cross_entropy(model.logits(model(tokens[:, :-1])).flatten(0, 1), tokens[:, 1:].flatten())
        torch.autograd.backward(loss)
        numbers += [loss.item(), clip().item()]
        optimizer.step()
    return numbers


@pytest.mark.parametrize("max_norm", [0.1, 1e9])
@pytest.mark.parametrize("parametrization", [MuP(16), CompleteP(16, 2)], ids=["mup", "completep"])
def test_stored_factors_train_the_published_function(parametrization: Parametrization, max_norm: float) -> None:
    """With clipping at work and an eps that counts; without ``scale_gradients`` neither is right."""
    model, optimizer = _published(isinstance(parametrization, CompleteP))
    expected = _train(model, optimizer, lambda: torch.nn.utils.clip_grad_norm_(model.parameters(), max_norm))
    runs: list[list[float]] = []
    for scaled in (True, False):
        stored = GPT(_config(64, 4), torch.Generator().manual_seed(0)).double()
        parametrization.scale_weights(stored)
        steps = AdamW(lr=1e-2, eps=1e-3).build(stored, parametrization)

        def clip(stored: GPT = stored, steps: torch.optim.Optimizer = steps, scaled: bool = scaled) -> Tensor:
            if scaled:
                scale_gradients(steps)
            return clip_gradients(stored.parameters(), max_norm)

        runs.append(_train(stored, steps, clip))
    assert runs[0] == pytest.approx(expected, rel=1e-9)
    assert runs[0][-2] < runs[0][0] - 0.05
    assert max(expected[1::2]) > 0.1
    assert runs[1][1] != pytest.approx(expected[1], rel=5e-4)
    assert runs[1][-2] != pytest.approx(expected[-2], rel=1e-4)


@pytest.mark.parametrize(("width", "layers"), [(256, 2), (64, 12)])
def test_eps_of_complete_p_follows_width_and_depth(width: int, layers: int) -> None:
    """An eps as large as the gradients."""
    recipe = AdamW(lr=4e-3, weight_decay=0.0, eps=1e-3)
    sizes = [_size_after_steps(*size, CompleteP(64, 2), recipe, 5) for size in ((64, 2), (width, layers))]
    assert ((sizes[1] / sizes[0]).log().abs() < 0.25).all()


@pytest.mark.parametrize("settings", [{"base_width": 0}, {"base_layers": -1}])
def test_base_sizes_are_counts(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="is a count: got"):
        CompleteP(**settings)


def test_a_model_without_a_width_is_refused() -> None:
    with pytest.raises(ConfigError, match="no embedding"):
        MuP().scale_weights(torch.nn.Linear(2, 2))
