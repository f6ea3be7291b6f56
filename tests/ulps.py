"""How far another library's numbers may lie from ours.

Bits are compared only between two runs of our own code on one machine. Another library cuts the same sums into other
products (queries, keys and values at once here, one by one there), and how a product is cut into blocks, hence its last
bit, is the affair of the processor and of the library of products. What is left is rounding, a few units in the last
place of the largest number: 2.3 at most for Llama and Qwen3 under AVX2, AVX and SSE4 (``make test-processors``). A
wrong formula is hundreds of times further away, which a *planted error* proves beside the comparison.
"""

from __future__ import annotations

import torch
from torch import Tensor

OTHER_CODE = 32.0
"""Units in the last place: the rounding of another way to compute the same, with room for other processors."""
PLANTED = 8 * OTHER_CODE
"""At least so far away must a planted error be, or the comparison would not see it."""


def distance_in_ulps(found: Tensor, wanted: Tensor) -> float:
    """Largest difference, in units in the last place (float32) of the largest number that is wanted."""
    found, wanted = found.detach(), wanted.detach()
    unit = torch.finfo(torch.float32).eps * float(wanted.abs().max())
    return float((found - wanted).abs().max()) / unit
