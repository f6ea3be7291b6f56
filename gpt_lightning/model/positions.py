"""Where a token stands: counted positions, and rotary positions (Su et al. 2021).

Rotary positions turn each pair of channels of a query or key by an angle proportional to its position, so that a score
depends on distance alone. The pairs are channel i and channel i + half of a head (the layout of Llama and Qwen3); the
paper pairs neighbours, and weights of the two layouts are not interchangeable.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
import torch.nn.functional as F
from jaxtyping import Bool, Float, Int
from torch import Tensor

from gpt_lightning.model.rope import RopeStretch


def find_begins(documents: Int[Tensor, "batch time"]) -> Bool[Tensor, "batch time"]:
    """True at the first token of every run of equal document numbers."""
    return F.pad(documents[:, 1:] != documents[:, :-1], (1, 0), value=True)


def count_positions(documents: Int[Tensor, "batch time"]) -> Int[Tensor, "batch time"]:
    """Position of every token inside its document: 0, 1, 2, ... from the first token of each run of equal numbers."""
    indices = torch.arange(documents.shape[1], device=documents.device).expand(documents.shape)
    return indices - indices.where(find_begins(documents), 0).cummax(dim=1).values


class Rotation(NamedTuple):
    """Cosine and sine of every position's angles, laid out so that ``rotate`` is four kernels.

    One table for all rows of a batch, or with leading axes one for each.

    Attributes:
        cosines: The cosines, twice side by side.
        sines: The sines, first half negated.
    """

    cosines: Float[Tensor, "*rows time head"]
    sines: Float[Tensor, "*rows time head"]


def build_rotation(
    start: int, end: int, head_size: int, theta: float, device: torch.device, stretch: RopeStretch | None = None
) -> Rotation:
    """The rotation of positions ``start`` to ``end - 1``, in float32.

    Computed in every forward pass: a few tiny kernels. A stored table would be rounded by ``model.to(bfloat16)``, and
    left empty when a model is built without memory and filled from a checkpoint.

    Args:
        start: First position.
        end: Behind the last position.
        head_size: Width of a head, even.
        theta: Base of the wavelengths, which run from 2 pi to nearly 2 pi theta tokens.
        device: Where the table is needed.
        stretch: How long wavelengths are stretched; None = they are not.
    """
    return _rotate_to(torch.arange(start, end, device=device), head_size, theta, stretch)


def rotate_rows(
    positions: Int[Tensor, " rows"], head_size: int, theta: float, stretch: RopeStretch | None = None
) -> Rotation:
    """The rotation of one position in each row of a batch; other arguments as in ``build_rotation``."""
    return Rotation(*(table[:, None, None] for table in _rotate_to(positions, head_size, theta, stretch)))


def rotate_documents(
    documents: Int[Tensor, "batch context"],
    start: int,
    head_size: int,
    theta: float,
    stretch: RopeStretch | None = None,
) -> Rotation:
    """The rotation of positions from ``start`` on, each counted inside its document, as in ``build_rotation``.

    Distances alone matter, so documents need that only where something has a fixed place before all of them.
    """
    positions = count_positions(documents)[:, start:]
    return Rotation(*(table[:, None] for table in _rotate_to(positions, head_size, theta, stretch)))


def _rotate_to(
    positions: Int[Tensor, "*rows time"], head_size: int, theta: float, stretch: RopeStretch | None
) -> Rotation:
    exponents = torch.arange(0, head_size, 2, device=positions.device, dtype=torch.float32) / head_size
    steps = 1.0 / theta**exponents  # these and what follows in the order of Llama's code
    if stretch is not None:
        steps = _stretch(steps, stretch)
    angles = positions.to(torch.float32)[..., None] * steps
    cosines, sines = angles.cos(), angles.sin()
    return Rotation(torch.cat((cosines, cosines), dim=-1), torch.cat((-sines, sines), dim=-1))


def _stretch(steps: Float[Tensor, " half"], by: RopeStretch) -> Float[Tensor, " half"]:
    """Smaller angles per token where they are small already."""
    wavelengths = 2 * math.pi / steps
    slow, fast = wavelengths > by.context / by.low, wavelengths < by.context / by.high
    slowed = torch.where(slow, steps / by.factor, steps)
    share = (by.context / wavelengths - by.low) / (by.high - by.low)  # 0 where slow ones end, 1 where fast ones begin
    return torch.where(slow | fast, slowed, (1 - share) * slowed / by.factor + share * slowed)


def rotate(heads: Float[Tensor, "batch heads time head"], rotation: Rotation) -> Float[Tensor, "batch heads time head"]:
    """Turn every pair of channels by its position's angle; computed in float32 or wider."""
    half = heads.shape[-1] // 2
    # (a, b) -> (a cos - b sin, b cos + a sin): swapping the halves pairs every channel with its partner. addcmul would
    # be a kernel less, but round once where Llama's code rounds twice.
    return heads * rotation.cosines + heads.roll(half, dims=-1) * rotation.sines
