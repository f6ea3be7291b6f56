"""From hidden states to the loss of every position; in pieces where the logits would not fit.

The logits are the largest tensor of a step: batch x time x vocab. In pieces they never exist together: each piece is
thrown away after its losses are known and computed again in the backward pass. Only the hidden states are kept.
torch.nn.functional.linear_cross_entropy has the same purpose but knows no soft-cap, and on a CPU took as much memory as
the plain loss (tests/bench/results/loss_memory.md). A compiled model halves the memory and costs no time, so pieces,
which cost half as much again on a CPU, are for what is still too large.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from gpt_lightning.model.gpt import GPT


def compute_losses(
    model: GPT,
    hidden: Float[Tensor, "batch time embed"],
    targets: Int[Tensor, "batch time"],
    chunk_size: int | None = None,
) -> Float[Tensor, "batch time"]:
    """Cross-entropy in nats of every position, in float32 or wider.

    Args:
        model: Whose head turns hidden states into logits.
        hidden: After the final norm.
        targets: The id that each position should have predicted.
        chunk_size: Positions whose logits exist at a time; None = all.
    """
    rows, labels = hidden.flatten(0, 1), targets.flatten()
    if chunk_size is None:
        compare = _compiled_compare() if model.is_compiled else _compare
        return compare(model, rows, labels).view(targets.shape)
    pieces = [
        # The head draws nothing, so there is no generator state to keep. Not compiled: the last piece is shorter, and
        # the recomputation could meet another graph than the forward pass did, which torch refuses.
        checkpoint(_compare, model, piece, wanted, use_reentrant=False, preserve_rng_state=False)
        for piece, wanted in zip(torch.split(rows, chunk_size), torch.split(labels, chunk_size), strict=True)
    ]
    return torch.cat(pieces).view(targets.shape)


def _compare(
    model: GPT, hidden: Float[Tensor, "positions embed"], targets: Int[Tensor, " positions"]
) -> Float[Tensor, " positions"]:
    logits = model.logits(hidden)
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    return F.cross_entropy(logits, targets, reduction="none")


@functools.cache
def _compiled_compare() -> Callable[[GPT, Tensor, Tensor], Tensor]:
    # Compiled, the passes over the logits after the product are fewer, and half-precision ones are never stored wide.
    return torch.compile(_compare)
