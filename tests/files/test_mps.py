"""Apple's GPUs without one: tensors that know only shape, type and device, and the rule that none is float64."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from gpt_lightning.metrics.language import sum_losses
from gpt_lightning.metrics.sums import to_double


class NoDouble(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """What MPS refuses."""

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = function(*args, **(kwargs or {}))
        for each in result if isinstance(result, (tuple, list)) else (result,):
            if isinstance(each, Tensor) and each.device.type == "mps" and each.dtype == torch.float64:
                raise TypeError("MPS has no float64")
        return result


def test_sums_of_a_validation_need_no_float64_there() -> None:
    with FakeTensorMode(), NoDouble():  # type: ignore[no-untyped-call]
        losses = torch.empty(2, 3, device="mps")
        with pytest.raises(TypeError, match="no float64"):
            losses.double()
        assert to_double(losses).dtype == torch.float64
        for weights in (None, torch.ones_like(losses)):
            sums = sum_losses(losses, weights)
            assert {(each.device.type, each.dtype) for each in sums} == {("cpu", torch.float64)}
