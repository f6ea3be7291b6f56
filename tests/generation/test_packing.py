"""Packed weights: how near they are to the plain model, and that a row's bits do not depend on its company."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from gpt_lightning.errors import ConfigError
from gpt_lightning.generation.engine import Engine
from gpt_lightning.generation.packing import Float16Linear, Float32Linear, Int8Linear, PackedLinear, pack
from gpt_lightning.generation.requests import Request
from gpt_lightning.generation.sampling import Sampling
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT
from tests.model.options import RECIPES, build_stirred, draw_tokens

fbgemm = pytest.mark.skipif(
    "fbgemm" not in torch.backends.quantized.supported_engines, reason="needs an x86 processor with AVX2"
)


def _real(**changes: object) -> GPT:
    """Wide enough for every kernel that a large model meets."""
    sizes = {"n_layer": 2, "n_head": 4, "n_embd": 256, "block_size": 64, "vocab_size": 3000, **changes}
    return GPT(GPTConfig.from_dict(sizes), torch.Generator().manual_seed(0)).eval()


@fbgemm
@pytest.mark.parametrize(("weights", "tolerance"), [("float32", 1e-5), ("float16", 5e-3), ("bfloat16", 0.2)])
@pytest.mark.parametrize("name", ["gpt2", "everything"])
def test_logits_are_those_of_the_plain_model(name: str, weights: str, tolerance: float) -> None:
    model, tokens = build_stirred(**RECIPES[name]), draw_tokens()
    with torch.no_grad():
        expected = model.logits(model(tokens))
        packed = pack(model, weights)
        found = packed.logits(packed(tokens)).float()
    assert float((found - expected).abs().max()) < tolerance * float(expected.abs().max())


@fbgemm
def test_float16_is_the_plain_product_with_rounded_weights() -> None:
    generator = torch.Generator().manual_seed(0)
    weight, bias, rows = (torch.randn(shape, generator=generator) for shape in ((50, 40), (50,), (7, 40)))
    expected = F.linear(rows, weight.half().float(), bias)
    torch.testing.assert_close(Float16Linear(weight, bias)(rows), expected, rtol=0, atol=1e-4)
    assert float((F.linear(rows, weight, bias) - expected).abs().max()) > 1e-3


@fbgemm
def test_int8_loses_little() -> None:
    model = _real()
    tokens = torch.randint(3000, (4, 64), generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        packed = pack(model, "int8")
        losses = [
            F.cross_entropy(each.logits(each(tokens)).flatten(0, 1), tokens.flatten()) for each in (model, packed)
        ]
    assert float(losses[1]) == pytest.approx(float(losses[0]), abs=2e-3)
    layer = Int8Linear(torch.tensor([[1.0, -0.5, 0.25], [0.0, 0.0, 0.0]]), torch.tensor([0.5, 1.0]))
    assert layer(torch.tensor([1.0, 2.0, 4.0])).tolist() == pytest.approx([1.5, 1.0], abs=0.02)


@fbgemm
@pytest.mark.parametrize("kind", [Float32Linear, Float16Linear, Int8Linear])
@pytest.mark.parametrize(("inputs", "outputs"), [(256, 768), (256, 3001), (1024, 256)])
def test_bits_of_a_row_do_not_depend_on_the_number_of_rows(kind: type[PackedLinear], inputs: int, outputs: int) -> None:
    generator = torch.Generator().manual_seed(0)
    layer = kind(torch.randn(outputs, inputs, generator=generator), torch.randn(outputs, generator=generator))
    rows = torch.randn(70, inputs, generator=generator)
    whole = layer(rows)
    for count in (1, 2, 3, 5, 8, 9, 17, 64):
        assert torch.equal(layer(rows[:count]), whole[:count])
        assert torch.equal(layer(rows[-count:]), whole[-count:])


@fbgemm
@pytest.mark.parametrize(
    ("modern", "weights"),
    [
        (False, "float32"),
        (True, "int8"),
        pytest.param(True, "float32", marks=pytest.mark.slow),
        pytest.param(False, "float16", marks=pytest.mark.slow),
        pytest.param(True, "float16", marks=pytest.mark.slow),
        pytest.param(False, "int8", marks=pytest.mark.slow),
    ],
)
def test_probabilities_are_equal_bit_for_bit_alone_and_in_a_busy_batch(modern: bool, weights: str) -> None:
    changes = {"rope_theta": 1e4, "norm": "rms", "mlp": "swiglu", "n_kv_head": 2, "bias": False} if modern else {}
    model = pack(_real(**changes), weights)
    asked = [
        Request(
            list(range(3, 3 + length)),
            max_tokens=8,
            sampling=Sampling(top_p=0.9),
            seed=length,
            logprobs=2,
            draft_tokens=length % 3,
        )
        for length in (1, 9, 4, 30, 2)
    ]
    alone = [Engine(model, slots=1).generate([request])[0] for request in asked]
    assert Engine(model, slots=3).generate(asked) == alone
    assert Engine(model, slots=5).generate(asked[::-1])[::-1] == alone


def test_the_original_stays_as_it_was() -> None:
    model, tokens = build_stirred(), draw_tokens()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    with torch.no_grad():
        expected = model.logits(model(tokens))
        packed = pack(model)
        assert torch.equal(model.logits(model(tokens)), expected)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    assert packed.token_embedding.weight is model.token_embedding.weight


def test_unknown_weights_are_told() -> None:
    with pytest.raises(ConfigError, match=r"no such weights: got 'int4' \(allowed: float32, bfloat16, float16, int8\)"):
        pack(build_stirred(), "int4")
