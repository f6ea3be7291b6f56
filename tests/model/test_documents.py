"""A row of several documents gives what each of them gives in a row of its own, whatever the architecture."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.cache import KeyValueCache
from tests.model.options import BLOCK, RECIPES, build_stirred, draw_tokens

_MODELS = {name: build_stirred(**changes) for name, changes in RECIPES.items()}
_NUMBERS = (7, 0, 3, 12, 5, 1, 9, 2, 8, 4, 10, 6)  # in no order


def _number(borders: list[int]) -> Tensor:
    lengths = torch.tensor([0, *borders, BLOCK]).diff()
    return torch.tensor(_NUMBERS[: len(lengths)]).repeat_interleave(lengths).expand(3, -1)


def _check_alone(name: str, borders: list[int]) -> None:
    model, tokens = _MODELS[name], draw_tokens()
    with torch.no_grad():
        together = model(tokens, documents=_number(borders))
        alone = [model(part) for part in tokens.tensor_split(borders, dim=1)]
    torch.testing.assert_close(together, torch.cat(alone, 1), rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_documents_do_not_know_each_other(name: str) -> None:
    _check_alone(name, [1, 2, 6])


@settings(max_examples=15, deadline=None)
@given(borders=st.lists(st.integers(1, BLOCK - 1), unique=True, max_size=5).map(sorted))
def test_any_borders(borders: list[int]) -> None:
    _check_alone("everything", borders)


@pytest.mark.parametrize("name", ["gpt2", "everything"])
def test_rows_may_be_cut_differently(name: str) -> None:
    model, tokens = _MODELS[name], draw_tokens()
    rows = [_number(borders)[:1] for borders in ([3], [5, 6], [])]
    with torch.no_grad():
        together = model(tokens, documents=torch.cat(rows))
        alone = [model(tokens[row : row + 1], documents=rows[row]) for row in range(3)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=0, atol=5e-5)


@pytest.mark.parametrize("name", RECIPES)
def test_cached_documents(name: str) -> None:
    model, tokens, documents, cuts = _MODELS[name], draw_tokens(), _number([3, 7]), [2, 3, 5, 7, 8]
    cache = KeyValueCache(2, BLOCK)
    pieces = zip(tokens.tensor_split(cuts, dim=1), documents.tensor_split(cuts, dim=1), strict=True)
    with torch.no_grad():
        parts = [model(part, cache, numbers) for part, numbers in pieces]
        torch.testing.assert_close(torch.cat(parts, 1), model(tokens, documents=documents), rtol=0, atol=5e-5)


@pytest.mark.parametrize("first", [True, False])
def test_documents_for_a_part_of_the_cache_are_refused(first: bool) -> None:
    model, tokens, documents, cache = _MODELS["gpt2"], draw_tokens(), _number([3]), KeyValueCache(2, BLOCK)
    with torch.no_grad():
        model(tokens[:, :4], cache, documents[:, :4] if first else None)
        with pytest.raises(ConfigError, match="only a part of the cached positions"):
            model(tokens[:, 4:], cache, None if first else documents[:, 4:])


@pytest.mark.parametrize("changes", [RECIPES["gpt2"], RECIPES["modern"]], ids=["gpt2", "modern"])
def test_no_gradient_crosses_a_border(changes: dict[str, Any]) -> None:
    model, tokens = build_stirred(**changes, tie_embeddings=False), torch.arange(8)[None]
    documents = torch.tensor([[0, 0, 0, 1, 1, 1, 1, 1]])
    torch.autograd.backward(model(tokens, documents=documents)[:, 3:].square().sum())
    gradient = model.token_embedding.weight.grad
    assert gradient is not None
    assert gradient[:8].any(dim=1).tolist() == [False] * 3 + [True] * 5
