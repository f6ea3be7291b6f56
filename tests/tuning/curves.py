"""Curves for tests of what stops trials."""

from __future__ import annotations

from collections.abc import Sequence

from gpt_lightning.tuning.pruning.pruning import Curve


def curve(
    trial: int,
    values: Sequence[float],
    groups: str | Sequence[str] = "",
    *,
    finished: bool = False,
    total: int = 10,
) -> Curve:
    """Reports 1, 2, ... after 2 steps and 100 tokens each, of ``total`` that the run would have."""
    count = len(values)
    return Curve(
        trial=trial,
        numbers=tuple(range(1, count + 1)),
        groups=(groups,) * count if isinstance(groups, str) else tuple(groups),
        steps=tuple(range(2, 2 * count + 1, 2)),
        tokens=tuple(range(100, 100 * count + 1, 100)),
        values=tuple(values),
        total_tokens=100 * total,
        finished=finished,
    )
