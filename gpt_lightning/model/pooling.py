"""One state for each text: what a head that labels texts looks at."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor


def pool(
    hidden: Float[Tensor, "batch time embed"], ends: Int[Tensor, "batch items"], pooling: str
) -> Float[Tensor, "batch items embed"]:
    """The state that stands for each text of each row.

    Args:
        hidden: Of the decoder.
        ends: Position of the last token of each, one text behind the other; below 0 = there is none.
        pooling: last or mean.
    """
    if pooling == "last":
        rows = torch.arange(ends.shape[0], device=ends.device)[:, None]  # len() would fix an exported size
        return hidden[rows, ends.clamp_min(0)]
    begins = F.pad(ends[:, :-1], (1, 0), value=-1)
    places = torch.arange(hidden.shape[1], device=ends.device)
    inside = (places > begins[..., None]) & (places <= ends[..., None])
    shares = inside / inside.sum(dim=-1, keepdim=True).clamp_min(1)
    return torch.einsum("bit,bte->bie", shares.to(hidden.dtype), hidden)
