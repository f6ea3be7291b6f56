"""Sequences of different lengths decoded together, against each of them alone without a cache."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.slots import SlotCache, SlotRows, Together
from tests.model.options import BLOCK, RECIPES, build_stirred, draw_tokens
from tests.selections import seldom

_LENGTHS = (5, 1, 3)
_SLOTS = (3, 0, 2)
"""Slot 1 stays empty."""


def _together(rows: SlotRows, window: int | None) -> Together:
    """What a GPU would use."""
    return Together(rows._slots, rows.positions, 1 + int(rows.positions.max()), window)


def _fill(model: GPT, tokens: Tensor) -> SlotCache:
    cache = SlotCache(model.config.n_layer, 4, BLOCK)
    for row, (slot, length) in enumerate(zip(_SLOTS, _LENGTHS, strict=True)):
        model(tokens[row : row + 1, :length], cache.sequence(slot))
    return cache


def _advance(model: GPT, cache: SlotCache, tokens: Tensor, places: list[tuple[int, int]]) -> Tensor:
    rows, positions = torch.tensor(places).unbind(1)
    slots = [_SLOTS[row] for row, _ in places]
    there = cache.rows(slots, positions.tolist(), tokens.device)
    return model.advance(tokens[rows, positions], tokens[rows, positions - 1], there)


@pytest.mark.parametrize("kernel", ["together", *seldom("alone")])
@pytest.mark.parametrize("changes", RECIPES.values(), ids=RECIPES.keys())
def test_ragged_rows_equal_each_sequence_alone(
    changes: dict[str, Any], kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "together":
        monkeypatch.setattr(SlotRows, "build_mask", _together)
    model, tokens = build_stirred(**changes), draw_tokens()
    with torch.no_grad():
        whole = model(tokens)
        cache = _fill(model, tokens)
        for step in range(BLOCK - max(_LENGTHS)):
            places = [(row, length + step) for row, length in enumerate(_LENGTHS)]
            hidden = _advance(model, cache, tokens, places)
            expected = torch.stack([whole[row, position] for row, position in places])
            torch.testing.assert_close(hidden, expected, rtol=0, atol=2e-5)


def test_what_memory_held_before_does_not_shine_through(monkeypatch: pytest.MonkeyPatch) -> None:
    """A hidden position weighs 0, and 0 times the NaN of memory that nobody has written is NaN."""
    monkeypatch.setattr(SlotRows, "build_mask", _together)
    monkeypatch.setattr(Tensor, "new_empty", lambda self, shape: self.new_full(shape, torch.nan))
    model, tokens = build_stirred(**RECIPES["modern"]), draw_tokens()
    with torch.no_grad():
        places = list(enumerate(_LENGTHS))
        assert _advance(model, _fill(model, tokens), tokens, places).isfinite().all()


@pytest.mark.parametrize("kernel", ["alone", "together"])
@pytest.mark.parametrize("name", ["gpt2", "everything"])
def test_several_rows_of_one_sequence_see_each_other_in_order(
    name: str, kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if kernel == "together":
        monkeypatch.setattr(SlotRows, "build_mask", _together)
    model, tokens = build_stirred(**RECIPES[name]), draw_tokens()
    with torch.no_grad():
        whole = model(tokens)
        cache = _fill(model, tokens)
        places = [(0, 5), (2, 3), (0, 6), (0, 7)]
        hidden = _advance(model, cache, tokens, places)
        for row, place in enumerate(places):
            torch.testing.assert_close(hidden[row], whole[place], rtol=0, atol=2e-5)
        # Written again, from a place in the middle: what stood behind it is gone.
        torch.testing.assert_close(_advance(model, cache, tokens, [(0, 6)])[0], whole[0, 6], rtol=0, atol=2e-5)


def test_a_row_is_the_same_in_any_company() -> None:
    """Attention alone: the linear layers' rounding depends on the number of rows unless they are packed."""
    model, tokens = build_stirred(n_kv_head=2), draw_tokens()
    with torch.no_grad():
        hidden = _advance(model, _fill(model, tokens), tokens, [(0, 5), (1, 1), (2, 3)])
        alone = _advance(model, _fill(model, tokens), tokens, [(0, 5)])
    torch.testing.assert_close(hidden[:1], alone, rtol=0, atol=1e-6)


def test_copied_and_reordered_slots_continue_as_their_source() -> None:
    model, tokens = build_stirred(**RECIPES["everything"]), draw_tokens()
    with torch.no_grad():
        whole = model(tokens)
        cache = _fill(model, tokens)
        cache.copy(3, 1, 5)
        rows = cache.rows([1], [5], tokens.device)
        torch.testing.assert_close(model.advance(tokens[0, 5:6], tokens[0, 4:5], rows)[0], whole[0, 5])
        cache.reorder(torch.tensor([3, 2]), 5)
        rows = cache.rows([0, 1], [5, 3], tokens.device)
        hidden = model.advance(tokens[[0, 2], [5, 3]], tokens[[0, 2], [4, 2]], rows)
        torch.testing.assert_close(hidden, whole[[0, 2], [5, 3]], rtol=0, atol=2e-5)


def test_rounding_of_rotary_positions_is_that_of_whole_rows() -> None:
    model, tokens = build_stirred(**RECIPES["rope"]).bfloat16(), draw_tokens()
    with torch.no_grad():
        whole = model(tokens)
        hidden = _advance(model, _fill(model, tokens), tokens, [(0, 5)])
    assert hidden.dtype == torch.bfloat16
    torch.testing.assert_close(hidden[0], whole[0, 5], rtol=0, atol=0.1)


@pytest.mark.parametrize(("slots", "capacity"), [(0, 3), (3, 0)])
def test_cache_without_room_is_refused(slots: int, capacity: int) -> None:
    with pytest.raises(ConfigError, match="no room"):
        SlotCache(1, slots, capacity)
