"""Language metrics against their definitions, over any split of the data."""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torchmetrics import Metric

from gpt_lightning.batch import LossOutput
from gpt_lightning.metrics.language import BitsPerByte, Perplexity, TokenLoss

_TOKEN_BYTES = torch.tensor([0, 1, 2, 5])
_KINDS: list[Callable[[], Metric]] = [TokenLoss, Perplexity, lambda: BitsPerByte(_TOKEN_BYTES)]
_LOSSES = torch.rand(6, 4, generator=torch.Generator().manual_seed(0)) * 3
_WEIGHTS = torch.rand(6, 4, generator=torch.Generator().manual_seed(1)).round()
_TARGETS = torch.randint(4, (6, 4), generator=torch.Generator().manual_seed(2))

each_metric = pytest.mark.parametrize("kind", _KINDS, ids=["loss", "perplexity", "bits_per_byte"])


def _output(losses: Tensor, weights: Tensor | None = None, targets: Tensor | None = None) -> LossOutput:
    nothing = torch.zeros(())
    return LossOutput(nothing, nothing, losses=losses, weights=weights, targets=targets)


def _measure(metric: Metric, *outputs: LossOutput) -> float:
    for output in outputs:
        metric.update(output)
    return float(metric.compute())


def _expected() -> tuple[float, float, float]:
    nats = weight = text_nats = text_bytes = 0.0
    for loss, share, target in zip(_LOSSES.flatten(), _WEIGHTS.flatten(), _TARGETS.flatten(), strict=True):
        nats, weight = nats + float(loss) * float(share), weight + float(share)
        size = int(_TOKEN_BYTES[target])
        if size:
            text_nats, text_bytes = text_nats + float(loss) * float(share), text_bytes + size * float(share)
    return nats / weight, math.exp(nats / weight), text_nats / math.log(2) / text_bytes


@pytest.mark.parametrize(("kind", "index"), [(kind, index) for index, kind in enumerate(_KINDS)])
def test_value_by_definition(kind: Callable[[], Metric], index: int) -> None:
    assert _measure(kind(), _output(_LOSSES, _WEIGHTS, _TARGETS)) == pytest.approx(_expected()[index], rel=1e-12)


@each_metric
@settings(max_examples=15, deadline=None)
@given(sizes=st.lists(st.integers(1, 5), min_size=1, max_size=5))
def test_any_split_gives_the_same_value(kind: Callable[[], Metric], sizes: list[int]) -> None:
    whole = _measure(kind(), _output(_LOSSES, _WEIGHTS, _TARGETS))
    borders = [*(min(6, sum(sizes[:index])) for index in range(len(sizes) + 1)), 6]
    parts = [
        _output(_LOSSES[start:end], _WEIGHTS[start:end], _TARGETS[start:end])
        for start, end in pairwise(borders)
        if start < end
    ]
    assert _measure(kind(), *parts) == pytest.approx(whole, rel=1e-12)


@each_metric
def test_no_weights_means_all_one(kind: Callable[[], Metric]) -> None:
    ones = _measure(kind(), _output(_LOSSES, torch.ones(6, 4), _TARGETS))
    assert _measure(kind(), _output(_LOSSES, None, _TARGETS)) == pytest.approx(ones, rel=1e-12)


@each_metric
def test_nothing_counted_is_nan(kind: Callable[[], Metric]) -> None:
    assert math.isnan(_measure(kind(), _output(_LOSSES, torch.zeros(6, 4), _TARGETS)))


@each_metric
@pytest.mark.filterwarnings("ignore:The ``compute`` method of metric:UserWarning")
def test_nothing_seen_is_nan(kind: Callable[[], Metric]) -> None:
    assert math.isnan(float(kind().compute()))


def test_special_tokens_are_left_out_of_both_sums() -> None:
    special = _output(torch.tensor([[100.0, 2.0]]), None, torch.tensor([[0, 2]]))
    assert _measure(BitsPerByte(_TOKEN_BYTES), special) == pytest.approx(2.0 / math.log(2) / 2)


@each_metric
def test_counting_goes_on_beyond_two_to_the_24(kind: Callable[[], Metric]) -> None:
    metric = kind()
    metric.update(_output(torch.ones(1, 1), torch.full((1, 1), 2.0**24), torch.ones(1, 1, dtype=torch.long)))
    one = _output(torch.full((1, 1), 3.0), torch.ones(1, 1), torch.ones(1, 1, dtype=torch.long))
    for _ in range(5):
        metric.update(one)
    assert float(metric.count) == 2.0**24 + 5  # type: ignore[arg-type]
    assert float(metric.nats) == 2.0**24 + 15  # type: ignore[arg-type]


@each_metric
@pytest.mark.parametrize("cast", [lambda m: m.bfloat16(), lambda m: m.to(torch.bfloat16), lambda m: m.half()])
def test_sums_stay_double_whatever_the_model_becomes(
    kind: Callable[[], Metric], cast: Callable[[Metric], Metric]
) -> None:
    metric = cast(kind())
    value = _measure(metric, _output(_LOSSES.bfloat16(), _WEIGHTS.bfloat16(), _TARGETS))
    assert metric.nats.dtype == torch.float64
    reference = _measure(kind(), _output(_LOSSES.bfloat16().float(), _WEIGHTS, _TARGETS))
    assert value == pytest.approx(reference, rel=1e-12)


@each_metric
def test_sums_of_two_processes_add_up(kind: Callable[[], Metric]) -> None:
    first, second, both = kind(), kind(), kind()
    first.update(_output(_LOSSES[:2], _WEIGHTS[:2], _TARGETS[:2]))
    second.update(_output(_LOSSES[2:], _WEIGHTS[2:], _TARGETS[2:]))
    for name, reduction in first._reductions.items():
        assert callable(reduction)
        setattr(both, name, reduction(torch.stack([getattr(first, name), getattr(second, name)])))
    both._update_count = 1
    whole = _measure(kind(), _output(_LOSSES, _WEIGHTS, _TARGETS))
    assert float(both.compute()) == pytest.approx(whole, rel=1e-12)


def test_reset_begins_anew_and_leaves_nothing_in_a_checkpoint() -> None:
    metric = BitsPerByte(_TOKEN_BYTES)
    metric.update(_output(_LOSSES, None, _TARGETS))
    metric.reset()
    assert (float(metric.nats), float(metric.count)) == (0.0, 0.0)
    assert not metric.state_dict()
