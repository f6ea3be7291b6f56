"""Cached decoding equals decoding without a cache."""

from __future__ import annotations

from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.errors import ConfigError, DataError
from gpt_lightning.model.cache import KeyValueCache, LayerCache
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.gpt import GPT

_CONFIG = GPTConfig(n_layer=2, n_head=2, n_embd=16, block_size=8, vocab_size=11)
_MODEL = GPT(_CONFIG, torch.Generator().manual_seed(0)).eval()
_TOKENS = torch.randint(11, (3, 8), generator=torch.Generator().manual_seed(1))


@settings(max_examples=25, deadline=None)
@given(cuts=st.lists(st.integers(1, 7), unique=True, max_size=7))
def test_any_partition_gives_the_uncached_hidden_states(cuts: list[int]) -> None:
    cache = KeyValueCache(_CONFIG.n_layer, 8)
    borders = [0, *sorted(cuts), 8]
    with torch.no_grad():
        parts = [_MODEL(_TOKENS[:, start:end], cache) for start, end in pairwise(borders)]
        whole = _MODEL(_TOKENS)
    assert cache.length == 8
    torch.testing.assert_close(torch.cat(parts, 1), whole, rtol=0, atol=1e-5)


def test_cleared_cache_starts_anew() -> None:
    cache = KeyValueCache(_CONFIG.n_layer, 8)
    with torch.no_grad():
        _MODEL(_TOKENS, cache)
        cache.clear()
        assert cache.length == 0
        torch.testing.assert_close(_MODEL(_TOKENS[:, 4:], cache), _MODEL(_TOKENS[:, 4:]), rtol=0, atol=1e-5)


def test_memory_is_reserved_once() -> None:
    layer = LayerCache(4)
    first, _ = layer.extend(torch.ones(1, 2, 1, 3), torch.ones(1, 2, 1, 3))
    second, values = layer.extend(torch.full((1, 2, 2, 3), 2.0), torch.full((1, 2, 2, 3), 3.0))
    assert first.data_ptr() == second.data_ptr()
    assert second[0, 0, :, 0].tolist() == [1.0, 2.0, 2.0]
    assert values[0, 1, :, 2].tolist() == [1.0, 3.0, 3.0]


def test_model_refuses_more_than_its_positions() -> None:
    cache = KeyValueCache(_CONFIG.n_layer, 8)
    with torch.no_grad():
        _MODEL(_TOKENS, cache)
        with pytest.raises(DataError, match="got 9"):
            _MODEL(_TOKENS[:, :1], cache)


def test_cache_without_room_is_refused() -> None:
    with pytest.raises(ConfigError, match="got 0"):
        KeyValueCache(1, 0)
