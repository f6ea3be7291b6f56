"""The coordinate check: after some steps, activations are as large in wide and deep models as in small ones."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.optimizers import AdamW, Lion, Muon, OptimizerRecipe
from gpt_lightning.optim.parametrization import CompleteP, MuP, Parametrization, Standard


@pytest.fixture(autouse=True)
def _one_thread() -> Iterator[None]:
    """Products this small gain nothing from threads that wait for each other, least of all on a busy machine."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


_ADAM = AdamW(lr=4e-3, weight_decay=0.0)


def _config(width: int, layers: int) -> GPTConfig:
    return GPTConfig(n_layer=layers, n_head=width // 16, n_embd=width, block_size=16, vocab_size=32)


def _size_after_steps(
    width: int, layers: int, parametrization: Parametrization, recipe: OptimizerRecipe, steps: int
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
        optimizer.step()
    return torch.stack([stream[-1].square().mean().sqrt(), logits.detach().square().mean().sqrt()])


@pytest.mark.parametrize("recipe", [_ADAM, Lion(lr=1e-3, weight_decay=0.0), Muon()], ids=["adamw", "lion", "muon"])
@pytest.mark.parametrize("parametrization", [MuP(64), CompleteP(64, 2)], ids=["mup", "completep"])
def test_width_changes_nothing(parametrization: Parametrization, recipe: OptimizerRecipe) -> None:
    sizes = torch.stack([_size_after_steps(width, 2, parametrization, recipe, 5) for width in (64, 256)])
    assert (sizes.amax(0) / sizes.amin(0)).max() < 1.25


@pytest.mark.parametrize("steps", [1, 10])
def test_from_one_step_to_ten_and_up_to_a_width_of_512(steps: int) -> None:
    sizes = torch.stack([_size_after_steps(width, 2, MuP(64), _ADAM, steps) for width in (64, 128, 512)])
    assert (sizes.amax(0) / sizes.amin(0)).max() < 1.25


@pytest.mark.parametrize("recipe", [_ADAM, Lion(lr=1e-3, weight_decay=0.0), Muon()], ids=["adamw", "lion", "muon"])
def test_standard_grows_with_the_width(recipe: OptimizerRecipe) -> None:
    small, large = (_size_after_steps(width, 2, Standard(), recipe, 5) for width in (64, 256))
    assert (large / small).max() > 2


def test_only_complete_p_is_indifferent_to_the_depth() -> None:
    small, large = (_size_after_steps(64, layers, CompleteP(64, 2), _ADAM, 5) for layers in (2, 12))
    assert ((large / small).log().abs() < 0.25).all()
    small, large = (_size_after_steps(64, layers, MuP(64), _ADAM, 5) for layers in (2, 12))
    assert (large / small).max() > 2


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
    optimizer = AdamW(lr=1.0, weight_decay=0.5).build(model, parametrization)
    rates = {id(p): (group["lr"], group["weight_decay"]) for group in optimizer.param_groups for p in group["params"]}
    expected = {
        "token_embedding.weight": (1.0, 1.0, 0.5),
        "blocks.3.attention.query_key_value.weight": (1 / 2, 1 / 4, 2.0),
        "blocks.3.mlp.expand.weight": (1 / 2, 1 / 4, 2.0),
        # GPT-2 draws with 1 / sqrt(2 n_layer); the base's factor is sqrt(8) of it, the branch adds 1/8.
        "blocks.3.attention.output.weight": (8**0.5 / 2 / 8, 1 / 32, 16.0),
        "blocks.3.mlp.contract.weight": (8**0.5 / 2 / 8, 1 / 32, 16.0),
        "blocks.3.mlp.contract.bias": (1.0, 1 / 8, 0.0),
        "blocks.3.mlp.expand.bias": (1.0, 1.0, 0.0),
        "blocks.3.mlp_norm.weight": (1.0, 1.0, 0.0),
        "final_norm.weight": (1 / 4, 1 / 4, 0.0),
    }
    before = dict(plain.named_parameters())
    for name, parameter in model.named_parameters():
        if name in expected:
            init, lr, decay = expected[name]
            torch.testing.assert_close(parameter, before[name] * init)
            assert rates[id(parameter)] == pytest.approx((lr, decay)), name
    names = {group["name"] for group in optimizer.param_groups}
    assert names == {"embedding", "matrix", "matrix_end", "vector", "vector_end", "vector_final"}


def test_orthogonal_steps_keep_their_rate_over_widths() -> None:
    model = GPT(_config(64, 4), torch.Generator().manual_seed(0))
    groups = {group["name"]: group["lr"] for group in Muon(lr=1.0).build(model, CompleteP(16, 2)).param_groups}
    assert (groups["matrix"], groups["matrix_end"]) == (1.0, 0.5)


def test_stored_factor_is_the_same_function_as_a_factor_in_the_forward_pass() -> None:
    """Logits / 4 with the norm as it is, and the norm at a quarter of its size and rate: the same losses under Adam."""
    tokens = torch.randint(0, 32, (4, 17), generator=torch.Generator().manual_seed(1))
    losses: list[list[float]] = []
    for stored in (True, False):
        model = GPT(_config(64, 2), torch.Generator().manual_seed(0)).double()
        parametrization = MuP(16)
        parametrization.scale_weights(model)
        optimizer = AdamW(lr=1e-2, eps=1e-16).build(model, parametrization)
        if not stored:
            with torch.no_grad():
                for parameter in model.final_norm.parameters():
                    parameter.mul_(4)
            (group,) = [group for group in optimizer.param_groups if group["name"] == "vector_final"]
            group["lr"] *= 4
        losses.append([])
        for _ in range(4):
            logits = model.logits(model(tokens[:, :-1])) / (1 if stored else 4)
            loss = F.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
            losses[-1].append(loss.item())
            optimizer.zero_grad()
            torch.autograd.backward(loss)
            optimizer.step()
    assert losses[0] == pytest.approx(losses[1], rel=1e-9)
    assert losses[0][-1] < losses[0][0] - 0.1


@pytest.mark.parametrize("settings", [{"base_width": 0}, {"base_layers": -1}])
def test_base_sizes_are_counts(settings: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="is a count: got"):
        CompleteP(**settings)


def test_a_model_without_a_width_is_refused() -> None:
    with pytest.raises(ConfigError, match="no embedding"):
        MuP().scale_weights(torch.nn.Linear(2, 2))
