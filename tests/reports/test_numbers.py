"""Numbers as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gpt_lightning.reports.numbers import format_number, format_short


@settings(deadline=None, max_examples=60)
@given(st.floats(allow_nan=False, allow_infinity=False, width=32))
def test_numbers_read_back_to_their_digits(value: float) -> None:
    assert float(format_number(value).replace(",", "")) == pytest.approx(value, rel=6e-4)
    short = format_short(value)
    size = {"k": 1e3, "M": 1e6, "B": 1e9, "T": 1e12}.get(short[-1], 1.0)
    assert float(short.rstrip("kMBT").replace(",", "")) * size == pytest.approx(value, rel=6e-3)
