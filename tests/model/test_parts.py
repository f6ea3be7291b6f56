"""MLPs, norms and embeddings against their formulas."""

from __future__ import annotations

import math
from collections.abc import Callable

import pytest
import torch

from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.embeddings import BigramEmbedding, Smear
from gpt_lightning.model.mlp import MLPS
from gpt_lightning.model.norm import NORMS, build_norm
from tests.model.options import build_stirred, small_config


def _gelu(value: float) -> float:
    return 0.5 * value * (1 + math.tanh(math.sqrt(2 / math.pi) * (value + 0.044715 * value**3)))


_ACTIVATIONS: dict[str, Callable[[list[float]], list[float]]] = {
    "gelu": lambda expanded: [_gelu(value) for value in expanded],
    "relu2": lambda expanded: [max(value, 0.0) ** 2 for value in expanded],
    "swiglu": lambda expanded: [g / (1 + math.exp(-g)) * v for g, v in zip(expanded[:4], expanded[4:], strict=True)],
}


def test_every_word_has_a_class() -> None:
    for norm in NORMS:
        for mlp in MLPS:
            assert GPTConfig.from_dict({"norm": norm, "mlp": mlp}).mlp == mlp


@pytest.mark.parametrize("mlp", MLPS)
@pytest.mark.parametrize("bias", [True, False])
def test_mlp_by_its_formula(mlp: str, bias: bool) -> None:
    generator = torch.Generator().manual_seed(0)
    part = MLPS[mlp](GPTConfig.from_dict({"n_head": 1, "n_embd": 3, "n_inner": 4, "mlp": mlp, "bias": bias}))
    with torch.no_grad():
        for parameter in part.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator))
    hidden = torch.randn(1, 1, 3, generator=generator)
    expanded = (part.expand.weight @ hidden[0, 0] + (part.expand.bias if bias else 0.0)).tolist()
    inner = _ACTIVATIONS[mlp](expanded)
    assert len(inner) == 4
    contracted = part.contract.weight @ torch.tensor(inner)
    torch.testing.assert_close(part(hidden)[0, 0], contracted + (part.contract.bias if bias else 0.0))


def test_norms_by_their_formulas() -> None:
    values = torch.tensor([1.0, -2.0, 4.0, 3.0])
    mean, square = 1.5, 30 / 4
    sizes = {"n_head": 1, "n_embd": 4, "norm_eps": 0.25}
    layer = build_norm(GPTConfig.from_dict({**sizes, "norm": "layer"}))
    rms = build_norm(GPTConfig.from_dict({**sizes, "norm": "rms"}))
    torch.testing.assert_close(layer(values), (values - mean) / math.sqrt(square - mean**2 + 0.25))
    torch.testing.assert_close(rms(values), values / math.sqrt(square + 0.25))
    assert [name for name, _ in rms.named_parameters()] == ["weight"]


def test_query_and_key_norms_work_on_heads() -> None:
    attention = build_stirred(qk_norm=True).get_submodule("blocks.0.attention")
    hidden = torch.randn(1, 5, 16, generator=torch.Generator().manual_seed(0))
    expected = attention(hidden)
    with torch.no_grad():
        # Queries and keys of any length: only the eps notices.
        attention.get_submodule("query_key_value").get_parameter("weight")[:32] *= 50
        attention.get_submodule("query_key_value").get_parameter("bias")[:32] *= 50
    torch.testing.assert_close(attention(hidden), expected, rtol=0, atol=1e-3)


def test_smear_by_its_formula() -> None:
    smear = Smear(2)
    with torch.no_grad():
        smear.scale.copy_(torch.tensor([2.0, -1.0]))
    embedded = torch.tensor([[[1.0, 1.0], [10.0, 20.0], [100.0, 200.0]]])
    assert smear(embedded).tolist() == [[[1, 1], [12, 19], [120, 180]]]
    assert smear(embedded, before=torch.tensor([[5.0, 7.0]]))[0, 0].tolist() == [11, -6]
    assert smear(embedded, begins=torch.tensor([[True, False, True]])).tolist() == [[[1, 1], [12, 19], [100, 200]]]


def test_bigram_rows_are_those_of_the_pairs() -> None:
    bigram = BigramEmbedding(rows=10, width=1, vocab_size=3)
    with torch.no_grad():
        bigram.table.weight.copy_(torch.arange(10.0)[:, None])
    tokens = torch.tensor([[2, 0, 1, 1]])
    assert bigram(tokens).flatten().tolist() == [0, 1 + 6, 1 + 1, 1 + 4]
    assert bigram(tokens, before=torch.tensor([1])).flatten().tolist() == [1 + 3 + 2, 7, 2, 5]
    assert bigram(tokens, begins=torch.tensor([[True, False, True, False]])).flatten().tolist() == [0, 7, 0, 5]
    pairs = torch.cartesian_prod(torch.arange(3), torch.arange(3)).T[:, None]
    assert sorted(bigram.locate(pairs[0], pairs[1]).flatten().tolist()) == list(range(1, 10))


def test_hashed_pairs_spread_over_the_table() -> None:
    bigram = BigramEmbedding(rows=1025, width=1, vocab_size=50257)
    draws = torch.randint(50257, (2, 1, 64 * 1024), generator=torch.Generator().manual_seed(0))
    rows = bigram.locate(draws[0], draws[1]).flatten()
    counts = rows.bincount(minlength=1025)
    assert counts[0] == 0
    assert len(counts) == 1025
    # Poisson(64): a fair hash stays within six deviations.
    assert 16 < counts[1:].min() <= counts[1:].max() < 112


def test_value_embeddings_sit_in_every_second_layer_from_the_last() -> None:
    config = small_config(n_layer=5, value_embeddings=True)
    assert [config.has_value_embedding(layer) for layer in range(5)] == [True, False, True, False, True]
    model = build_stirred(value_embeddings=True, n_kv_head=2)
    assert {name: tuple(p.shape) for name, p in model.value_embeddings.named_parameters()} == {"1.weight": (11, 8)}


def test_value_embeddings_are_added_to_the_values() -> None:
    attention = build_stirred(n_kv_head=2).get_submodule("blocks.0.attention")
    hidden = torch.randn(1, 1, 16, generator=torch.Generator().manual_seed(0))
    added = torch.randn(1, 1, 8, generator=torch.Generator().manual_seed(1))
    # One position sees only itself, so its attention is its value; query heads 0 and 1 share the first group.
    spread = added.view(1, 1, 2, 1, 4).expand(1, 1, 2, 2, 4).reshape(1, 1, 16)
    expected = attention(hidden) + spread @ attention.get_submodule("output").get_parameter("weight").T
    torch.testing.assert_close(attention(hidden, added_values=added), expected)
