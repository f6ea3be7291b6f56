"""Muon: orthogonal steps against the singular value decomposition, its literal formula, and torch's own class."""

from __future__ import annotations

import copy
import math
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.groups import keep_settings, read_learning_rates, set_learning_rates
from gpt_lightning.optim.muon import orthogonalize
from gpt_lightning.optim.optimizers import AdamW, Muon
from gpt_lightning.optim.parametrization import Standard


def _random(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("shape", [(3, 16, 16), (2, 8, 32), (2, 32, 8), (1, 1, 5)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_singular_values_come_near_one_and_vectors_stay(shape: tuple[int, ...], scale: float) -> None:
    matrices = _random(*shape) * scale
    result = orthogonalize(matrices)
    left, values, right = torch.linalg.svd(matrices.double(), full_matrices=False)
    found = left.mT @ result.double() @ right.mT
    diagonal = found.diagonal(dim1=-2, dim2=-1)
    torch.testing.assert_close(found, torch.diag_embed(diagonal), rtol=0, atol=1e-4)
    # Directions a thousand times weaker than the strongest need more than five iterations.
    strong = values > 0.02 * values[:, :1]
    assert diagonal[strong].min() > 0.6
    assert diagonal.max() < 1.25


def test_singular_values_go_through_the_polynomial() -> None:
    """The range that the docstring tells: 0.68 to 1.21 from 0.002 of the norm on, 0.68 to 1.14 from 0.01 on."""
    values = torch.cat((torch.logspace(-4, -1, 199, dtype=torch.float64), torch.ones(1, dtype=torch.float64)))
    left, right = (torch.linalg.qr(_random(200, 200, seed=seed).double()).Q for seed in (1, 2))
    found = (left.mT @ orthogonalize((left * values @ right.mT)[None])[0] @ right).diagonal()
    expected = shares = values / values.norm()
    for _ in range(5):
        expected = 3.4445 * expected - 4.7750 * expected**3 + 2.0315 * expected**5
    torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9)
    for least, high in ((0.002, 1.21), (0.01, 1.14)):
        within = expected[shares >= least]
        assert 0.68 < within.min() < 0.75
        assert 1.05 < within.max() < high
    torch.testing.assert_close(expected[:20], 3.4445**5 * shares[:20], rtol=1e-2, atol=0.0)


def test_zero_stays_zero() -> None:
    assert torch.equal(orthogonalize(torch.zeros(2, 3, 4)), torch.zeros(2, 3, 4))


def test_many_at_once_are_each_alone() -> None:
    matrices = _random(4, 6, 9)
    alone = torch.cat([orthogonalize(matrix[None]) for matrix in matrices])
    torch.testing.assert_close(orthogonalize(matrices), alone, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.float64])
def test_type_is_kept(dtype: torch.dtype) -> None:
    assert orthogonalize(_random(1, 3, 4).to(dtype)).dtype == dtype


def _literal(matrix: Tensor) -> Tensor:
    x: Tensor = matrix / matrix.norm()
    for _ in range(5):
        gram = x @ x.T
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return x


@pytest.mark.parametrize("nesterov", [True, False])
@pytest.mark.parametrize("match_adam", [True, False])
def test_three_steps_along_the_formula(nesterov: bool, match_adam: bool) -> None:
    model = nn.Sequential(nn.Linear(4, 6, bias=False), nn.Linear(6, 4, bias=False))
    optimizer = Muon(0.1, momentum=0.8, nesterov=nesterov, match_adam=match_adam, weight_decay=0.3).build(model)
    expected = {name: parameter.detach().double() for name, parameter in model.named_parameters()}
    means = {name: torch.zeros_like(value) for name, value in expected.items()}
    for step in range(3):
        for number, (name, parameter) in enumerate(model.named_parameters()):
            gradient = _random(*parameter.shape, seed=10 * step + number)
            parameter.grad = gradient.clone()
            means[name] = 0.8 * means[name] + 0.2 * gradient.double()
            update = 0.2 * gradient.double() + 0.8 * means[name] if nesterov else means[name]
            rows, cols = gradient.shape
            size = 0.2 * math.sqrt(max(rows, cols)) if match_adam else math.sqrt(max(1.0, rows / cols))
            expected[name] = expected[name] * (1 - 0.1 * 0.3) - 0.1 * size * _literal(update)
        optimizer.step()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(parameter.detach().double(), expected[name], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("match_adam", "adjust"), [(False, "original"), (True, "match_rms_adamw")])
def test_as_torch_own_muon(match_adam: bool, adjust: str) -> None:
    theirs = torch.optim.Muon
    ours_model = nn.Sequential(nn.Linear(8, 24, bias=False), nn.Linear(24, 8, bias=False))
    their_model = copy.deepcopy(ours_model)
    ours = Muon(0.05, momentum=0.9, match_adam=match_adam, weight_decay=0.1).build(ours_model)
    other = theirs(their_model.parameters(), lr=0.05, momentum=0.9, weight_decay=0.1, adjust_lr_fn=adjust)
    start = [parameter.detach().clone() for parameter in ours_model.parameters()]
    for step in range(3):
        for mine, yours in zip(ours_model.parameters(), their_model.parameters(), strict=True):
            mine.grad = _random(*mine.shape, seed=step)
            yours.grad = mine.grad.clone()
        ours.step()
        other.step()  # type: ignore[no-untyped-call]
    for mine, yours, before in zip(ours_model.parameters(), their_model.parameters(), start, strict=True):
        # Theirs computes in bfloat16, which keeps under three digits of the update.
        distance = (mine - yours).norm() / (yours - before).norm()
        assert distance < 0.02


def test_everything_else_is_adam() -> None:
    settings: dict[str, Any] = {"embedding_lr": 0.02, "head_lr": 0.03, "vector_lr": 0.04, "weight_decay": 0.2}
    config = GPTConfig(n_layer=1, n_head=1, n_embd=4, block_size=4, vocab_size=5, tie_embeddings=False)
    ours, theirs = GPT(config, torch.Generator().manual_seed(0)), GPT(config, torch.Generator().manual_seed(0))
    muon, adam = Muon(**settings).build(ours), AdamW(lr=0.0, **settings).build(theirs)
    for step in range(3):
        for mine, yours in zip(ours.parameters(), theirs.parameters(), strict=True):
            mine.grad = _random(*mine.shape, seed=step)
            yours.grad = mine.grad.clone()
        muon.step()
        adam.step()
    for (name, mine), yours in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        is_matrix = mine.ndim == 2 and name.startswith("blocks.")
        assert torch.equal(mine, yours) is not is_matrix, name


_SHAPES: dict[str, dict[str, Any]] = {
    "gpt2": {},
    "grouped": {"n_kv_head": 2, "mlp": "swiglu"},
    # 8 + 2 + 2 heads of 2: as many rows as three times the columns, and no three equal parts.
    "grouped-as-three": {"n_embd": 8, "n_head": 8, "n_kv_head": 2, "head_dim": 2},
}


@pytest.mark.parametrize("match_adam", [False, True])
@pytest.mark.parametrize("split", [True, False])
@pytest.mark.parametrize("options", _SHAPES.values(), ids=list(_SHAPES))
def test_matrices_that_lie_in_one_are_made_orthogonal_apart(
    options: dict[str, Any], split: bool, match_adam: bool
) -> None:
    """What the layers themselves cut: queries, keys and values; gate and values."""
    shape: dict[str, Any] = {"n_layer": 1, "n_head": 4, "n_embd": 8, "block_size": 4, "vocab_size": 5, **options}
    config = GPTConfig(**shape)
    model = GPT(config, torch.Generator().manual_seed(0))
    optimizer = Muon(lr=1.0, momentum=0.0, match_adam=match_adam, split_qkv=split).build(model)
    keys = config.key_value_heads * config.head_size
    parts = {
        "attention.query_key_value": [config.query_size, keys, keys],
        "attention.output": [8],
        "mlp.expand": [config.inner_size] * (2 if config.is_gated else 1),
        "mlp.contract": [8],
    }
    weights = {name: model.get_parameter(f"blocks.0.{name}.weight") for name in parts}
    before = {name: weight.detach().clone() for name, weight in weights.items()}
    gradients = {name: _random(*weight.shape, seed=number) for number, (name, weight) in enumerate(weights.items())}
    for name, weight in weights.items():
        weight.grad = gradients[name].clone()
    optimizer.step()
    for name, rows in parts.items():
        steps = []
        for part in gradients[name].split_with_sizes(rows if split else [sum(rows)]):
            height, width = part.shape
            size = 0.2 * math.sqrt(max(height, width)) if match_adam else math.sqrt(max(1.0, height / width))
            steps.append(size * _literal(part))
        torch.testing.assert_close(weights[name].detach(), before[name] - torch.cat(steps), rtol=1e-4, atol=1e-4)


def test_a_state_that_counted_pieces_goes_on() -> None:
    """Checkpoints of before hold numbers of pieces where the rows of each are now."""
    config = GPTConfig(n_layer=1, n_head=2, n_embd=8, block_size=4, vocab_size=5, mlp="swiglu")
    model = GPT(config, torch.Generator().manual_seed(0))
    optimizer = Muon().build(model)
    keep_settings(optimizer)
    _step(model, optimizer, 0)
    state = copy.deepcopy(optimizer.state_dict())
    for group in state["param_groups"]:
        group["pieces"] = [3 if len(rows) == 3 else 1 for rows in group["pieces"]]
        del group["size"]
    optimizer.load_state_dict(state)
    _step(model, optimizer, 1)
    assert all(parameter.isfinite().all() for parameter in model.parameters())


def test_each_group_has_its_own_rate() -> None:
    config = GPTConfig(n_layer=1, n_head=1, n_embd=4, block_size=4, vocab_size=5, tie_embeddings=False)
    optimizer = Muon(0.1, 0.2, 0.3, 0.4).build(GPT(config), Standard())
    set_learning_rates(optimizer, 0.5)
    assert read_learning_rates(optimizer) == {"matrix": 0.05, "embedding": 0.1, "head": 0.15, "vector": 0.2}


def _step(model: nn.Module, optimizer: torch.optim.Optimizer, seed: int) -> None:
    for parameter in model.parameters():
        parameter.grad = _random(*parameter.shape, seed=seed)
    optimizer.step()


def test_continues_bit_for_bit_from_its_state(tmp_path: Path) -> None:
    config = GPTConfig(n_layer=2, n_head=1, n_embd=8, block_size=4, vocab_size=5)
    model = GPT(config, torch.Generator().manual_seed(0))
    optimizer = Muon().build(model)
    _step(model, optimizer, 0)
    torch.save({"model": model.state_dict(), "optimizer": optimizer.state_dict()}, tmp_path / "state.pt")
    state = torch.load(tmp_path / "state.pt", weights_only=True)
    resumed = GPT(config)
    resumed.load_state_dict(state["model"])
    other = Muon().build(resumed)
    other.load_state_dict(state["optimizer"])
    for seed in (1, 2):
        _step(model, optimizer, seed)
        _step(resumed, other, seed)
    assert all(torch.equal(a, b) for a, b in zip(model.parameters(), resumed.parameters(), strict=True))


def test_parameters_without_a_gradient_stay() -> None:
    first, second = nn.Linear(3, 3), nn.Linear(3, 3)
    model = nn.Sequential(first, second)
    optimizer = Muon(weight_decay=0.5).build(model)
    before = copy.deepcopy(model.state_dict())
    optimizer.step()
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert not optimizer.state
    first.weight.grad = torch.ones(3, 3)
    optimizer.step()
    assert not torch.equal(first.weight, before["0.weight"])
    assert torch.equal(second.weight, before["1.weight"])
