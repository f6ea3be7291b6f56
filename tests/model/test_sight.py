"""Who sees whom, against loops over pairs; all masks give the same attention."""

from __future__ import annotations

import math
import warnings

import pytest
import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention

from gpt_lightning.model.attention_mask import (
    BlockMask,
    CausalMask,
    DenseMask,
    FullMask,
    _attend_short,
    build_block_mask,
    build_dense_mask,
    build_mask,
)

_CPU = torch.device("cpu")
_DOCUMENTS = torch.tensor([[5, 5, 5, 2, 2, 2, 2, 9, 9], [1, 1, 1, 1, 1, 1, 1, 1, 7]])
_PREFIXES = torch.tensor([[1, 1, 0, 1, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0, 0, 0]]).bool()
"""Open positions; in the second row they do not begin with the document."""


def _heads(groups: int, time: int, context: int) -> tuple[Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(2, 4, time, 8), (2, groups, context, 8), (2, groups, context, 8)]
    queries, keys, values = (torch.randn(shape, generator=generator, requires_grad=True) for shape in shapes)
    return queries, keys, values


def _attend(
    heads: tuple[Tensor, Tensor, Tensor], window: int | None, documents: Tensor | None, opens: Tensor | bool = False
) -> Tensor:
    """Attention by definition, one query after the other."""
    queries, keys, values = heads
    time, context, share = queries.shape[2], keys.shape[2], queries.shape[1] // keys.shape[1]
    mixed = torch.empty(queries.shape)
    for row in range(2):
        for head in range(4):
            for query in range(time):
                own = context - time + query
                seen = [
                    key
                    for key in range(context)
                    if (key <= own or (opens if isinstance(opens, bool) else bool(opens[row, key])))
                    and (window is None or abs(own - key) < window)
                    and (documents is None or documents[row, own] == documents[row, key])
                ]
                scores = keys[row, head // share, seen] @ queries[row, head, query] / math.sqrt(8)
                mixed[row, head, query] = scores.softmax(0) @ values[row, head // share, seen]
    return mixed


@pytest.mark.parametrize("groups", [4, 2, 1])
@pytest.mark.parametrize("given", [None, _DOCUMENTS], ids=["one", "documents"])
@pytest.mark.parametrize("window", [None, 1, 3, 9, 50])
@pytest.mark.parametrize("time", [9, 4, 1])
def test_attention_by_definition(time: int, window: int | None, given: Tensor | None, groups: int) -> None:
    heads = _heads(groups, time, 9)
    mask = build_mask(time, 9, device=_CPU, window=window, documents=given)
    with torch.no_grad():
        torch.testing.assert_close(mask.attend(*heads), _attend(heads, window, given), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("opens", [_PREFIXES, True], ids=["prefixes", "all"])
@pytest.mark.parametrize("given", [None, _DOCUMENTS], ids=["one", "documents"])
@pytest.mark.parametrize("window", [None, 3, 50])
@pytest.mark.parametrize("time", [9, 4])
def test_open_positions_by_definition(
    time: int, window: int | None, given: Tensor | None, opens: Tensor | bool
) -> None:
    heads = _heads(2, time, 9)
    mask = build_mask(time, 9, device=_CPU, window=window, documents=given, opens=opens)
    with torch.no_grad():
        found, wanted = mask.attend(*heads), _attend(heads, window, given, opens)
        torch.testing.assert_close(found, wanted, rtol=1e-5, atol=1e-5)
        shifted = opens.roll(1, dims=1) if isinstance(opens, Tensor) else False
        others = build_mask(time, 9, device=_CPU, window=window, documents=given, opens=shifted).attend(*heads)
        assert not torch.allclose(others, wanted, rtol=1e-5, atol=1e-5)  # the tolerance sees a prefix one too long


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("time", [2, 128])
@pytest.mark.parametrize("groups", [4, 2, 1])
def test_written_out_for_a_compiler(groups: int, time: int, dtype: torch.dtype) -> None:
    queries, keys, values = heads = tuple(
        part.detach().to(dtype).requires_grad_() for part in _heads(groups, time, time)
    )
    found, expected = _attend_short(queries, keys, values), CausalMask().attend(queries, keys, values)
    assert found.dtype == dtype
    tolerance = 3e-2 if dtype == torch.bfloat16 else 1e-5
    torch.testing.assert_close(found, expected, rtol=tolerance, atol=tolerance)
    gradients = [torch.autograd.grad(mixed.square().sum(), heads) for mixed in (found, expected)]
    torch.testing.assert_close(*gradients, rtol=5 * tolerance, atol=5 * tolerance)


@pytest.mark.parametrize("groups", [2, pytest.param(4, marks=pytest.mark.slow)])
@pytest.mark.parametrize("given", [None, _DOCUMENTS], ids=["one", "documents"])
@pytest.mark.parametrize("window", [3, pytest.param(None, marks=pytest.mark.slow)])
@pytest.mark.parametrize("opens", [False, True, _PREFIXES], ids=["causal", "all", "prefixes"])
def test_sparse_equals_masked(window: int | None, given: Tensor | None, groups: int, opens: Tensor | bool) -> None:
    queries, keys, values = (part.detach() for part in _heads(groups, 9, 9))  # no backward pass on a CPU
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*flex_attention called without torch.compile.*")
        sparse = build_block_mask(9, device=_CPU, window=window, documents=given, opens=opens, kernel=flex_attention)
        masked = build_dense_mask(9, 9, device=_CPU, window=window, documents=given, opens=opens)
        torch.testing.assert_close(
            sparse.attend(queries, keys, values), masked.attend(queries, keys, values), rtol=1e-5, atol=1e-5
        )


@pytest.mark.gpu
@pytest.mark.parametrize("opens", [False, True])
@pytest.mark.parametrize("window", [None, 100])
def test_sparse_equals_masked_on_a_gpu_with_gradients(window: int | None, opens: bool) -> None:
    device = torch.device("cuda")
    generator = torch.Generator(device).manual_seed(0)
    shapes = [(2, 4, 256, 64), (2, 2, 256, 64), (2, 2, 256, 64)]
    queries, keys, values = (
        torch.randn(shape, generator=generator, device=device, requires_grad=True) for shape in shapes
    )
    heads = queries, keys, values
    documents = torch.arange(256, device=device).div(50, rounding_mode="floor").expand(2, -1)
    mask = build_mask(256, 256, device=device, window=window, documents=documents, opens=opens)
    assert isinstance(mask, BlockMask)
    sparse = mask.attend(*heads)
    masked = build_dense_mask(256, 256, device=device, window=window, documents=documents, opens=opens).attend(*heads)
    torch.testing.assert_close(sparse, masked, rtol=1e-2, atol=1e-2)
    expected = torch.autograd.grad(masked.square().sum(), heads)
    for gradient, wanted in zip(torch.autograd.grad(sparse.square().sum(), heads), expected, strict=True):
        torch.testing.assert_close(gradient, wanted, rtol=1e-2, atol=1e-2)


def test_the_cheapest_sight_is_chosen() -> None:
    assert isinstance(build_mask(9, 9, device=_CPU), CausalMask)
    assert isinstance(build_mask(1, 9, device=_CPU), CausalMask)
    assert isinstance(build_mask(9, 9, device=_CPU, window=9), CausalMask)
    assert isinstance(build_mask(4, 9, device=_CPU), DenseMask)
    assert isinstance(build_mask(9, 9, device=_CPU, window=8), DenseMask)
    assert isinstance(build_mask(1, 9, device=_CPU, documents=_DOCUMENTS), DenseMask)
    assert isinstance(build_mask(9, 9, device=_CPU, opens=True), FullMask)
    assert isinstance(build_mask(9, 9, device=_CPU, opens=True, window=3), DenseMask)
    assert isinstance(build_mask(9, 9, device=_CPU, opens=_PREFIXES), DenseMask)


def test_dropout_reaches_the_kernels() -> None:
    heads = _heads(4, 9, 9)
    for mask in (CausalMask(), build_dense_mask(9, 9, device=_CPU)):
        torch.manual_seed(0)
        assert not torch.equal(mask.attend(*heads, dropout=0.5), mask.attend(*heads))
