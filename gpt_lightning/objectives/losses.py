"""From hidden states to the loss of every position; in pieces where the logits would not fit.

The logits are the largest tensor of a step: batch x time x vocab. In pieces they never exist together: each piece is
thrown away after its losses are known and computed again in the backward pass. Only the hidden states are kept.
torch.nn.functional.linear_cross_entropy has the same purpose but knows no soft-cap, and on a CPU took as much memory as
the plain loss (tests/bench/results/loss_memory.md). Our own (linear_cross_entropy.py), which stores them once, and a
compiled model's cost no time, so pieces, which cost half as much again on a CPU, are for what is still too large.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from gpt_lightning.model.gpt import GPT
from gpt_lightning.objectives.linear_cross_entropy import linear_cross_entropy


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
        compare = _compiled_compare() if model.is_compiled and not _is_plain_product(model, rows) else _compare
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
    if _is_plain_product(model, hidden):
        return linear_cross_entropy(hidden, model.head_weight, targets, model.vocab_size)
    logits = model.logits(hidden)
    if logits.dtype in (torch.bfloat16, torch.float16):
        logits = logits.float()
    return F.cross_entropy(logits, targets, reduction="none")


def _is_plain_product(model: GPT, hidden: Tensor) -> bool:
    """Whether the logits are a product in one type and nothing else, on a device whose memory they would fill."""
    return (
        hidden.device.type == "cpu"
        and hidden.dtype == model.head_weight.dtype
        and hidden.dtype in (torch.float32, torch.float64)
        and not torch.is_autocast_enabled("cpu")
        and model.config.logit_softcap is None
        # A head of another class, as an adapter puts there, does more than multiply by its weight.
        and (model.head is None or type(model.head) is nn.Linear)
    )


@functools.cache
def _compiled_compare() -> Callable[[GPT, Tensor, Tensor], Tensor]:
    # Compiled, the passes over the logits after the product are fewer, and half-precision ones are never stored wide.
    return torch.compile(_compare)
