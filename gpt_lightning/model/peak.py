"""How fast this machine multiplies matrices: the measured ceiling that model-FLOPs utilisation is a share of.

A data sheet's figure is reached by no program, and for a shared or throttled machine there is none.
"""

from __future__ import annotations

import time

import torch
from torch import Tensor

_WIDTHS = {"cuda": 8192}
_WIDTH = 2048
_AT_A_TIME = {"cuda": 10}
"""Products between two looks at the clock: launching one takes longer on a GPU than looking at the clock twice."""


@torch.no_grad()
def measure_matrix_peak(
    device: torch.device, dtype: torch.dtype = torch.float32, *, seconds: float = 0.5, width: int | None = None
) -> float:
    """Operations per second of the fastest product of two square matrices, with the process's own threads.

    Args:
        device: Where to multiply.
        dtype: Of both factors and the result.
        seconds: How long to try; there are at least three tries after one to warm up.
        width: Rows and columns of each factor; None = enough to keep the device busy.
    """
    width = width or _WIDTHS.get(device.type, _WIDTH)
    # The values do not matter, but zeros would draw less power than weights do.
    left, right = (torch.randn(width, width, device=device).to(dtype) for _ in range(2))
    result = torch.empty_like(left)
    products = _AT_A_TIME.get(device.type, 1)
    _multiply(left, right, result, products)
    best, tries, end = float("inf"), 0, time.perf_counter() + seconds
    while tries < 3 or time.perf_counter() < end:
        best = min(best, _multiply(left, right, result, products))
        tries += 1
    return float(2 * width**3 * products / best)


def _multiply(left: Tensor, right: Tensor, result: Tensor, products: int) -> float:
    """Seconds of some products, from an idle device to an idle device."""
    _wait(left.device)
    start = time.perf_counter()
    for _ in range(products):
        torch.mm(left, right, out=result)
    _wait(left.device)
    return time.perf_counter() - start


def _wait(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)
