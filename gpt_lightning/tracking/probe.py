"""One look inside a model: who attends to whom, and how large the residual stream is, on a fixed text."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Float, Int
from torch import Tensor

from gpt_lightning.model.ahead import Behind
from gpt_lightning.model.attention import CausalSelfAttention
from gpt_lightning.model.attention_mask import AttentionMask, CausalMask
from gpt_lightning.model.gpt import GPT


@dataclass(frozen=True)
class Probe:
    """What was seen.

    Attributes:
        attention: Weight with which each position (row) looks at each (column), by layer and head.
        streams: The residual stream behind every block.
    """

    attention: Float[Tensor, "layers heads time time"]
    streams: list[Float[Tensor, "time embed"]]

    def scales(self) -> list[float]:
        """Root mean square of the stream behind every block."""
        values = torch.stack([stream.float().square().mean().sqrt() for stream in self.streams])
        scales: list[float] = values.tolist()
        return scales


@dataclass(frozen=True)
class _Recorder(AttentionMask):
    """Another mask that also notes its weights: what it makes of values that are the columns of an identity."""

    inner: AttentionMask
    weights: list[Tensor] = field(default_factory=list)

    def attend(
        self,
        queries: Float[Tensor, "batch heads time head"],
        keys: Float[Tensor, "batch groups context head"],
        values: Float[Tensor, "batch groups context head"],
        dropout: float = 0.0,
    ) -> Float[Tensor, "batch heads time head"]:
        """As in ``AttentionMask.attend``."""
        context, width = values.shape[2:]
        identity = torch.eye(context, -(-context // width) * width, dtype=values.dtype, device=values.device)
        # What is ahead of the text takes weight, and is none of its positions.
        alone = self.inner.without_values() if isinstance(self.inner, Behind) else self.inner
        pieces = [
            alone.attend(queries, keys, piece.expand(*values.shape[:2], context, width))
            for piece in torch.split(identity, width, dim=1)
        ]
        self.weights.append(torch.cat(pieces, dim=-1)[0, ..., :context].float())
        return self.inner.attend(queries, keys, values, dropout)


@torch.no_grad()
def observe(model: GPT, tokens: Int[Tensor, " time"]) -> Probe:
    """Run a text through a model that holds all its weights.

    Neither the weights, nor any generator, nor the mode of the model is changed; a compiled model runs uncompiled.

    Args:
        model: The decoder.
        tokens: At most ``block_size`` ids.
    """
    recorders: list[_Recorder] = []
    streams: list[Tensor] = []

    def watch(module: CausalSelfAttention, args: tuple[Any, ...]) -> tuple[Any, ...]:
        hidden, cache, mask, *rest = args
        recorders.append(_Recorder(mask or CausalMask()))
        return (hidden, cache, recorders[-1], *rest)

    def keep(module: Any, args: Any, output: Tensor) -> None:
        streams.append(output[0])

    handles = []
    for block in model.blocks:
        handles += [block.attention.register_forward_pre_hook(watch), block.register_forward_hook(keep)]  # type: ignore[union-attr]
    was_training = model.training
    model.eval()
    try:
        # Not through the compiled call: it would not see the hooks, or be compiled anew.
        with torch.compiler.set_stance("force_eager"):
            model.forward(tokens[None])
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    # What stands ahead of the text may have gone through the blocks first.
    last = -len(model.blocks)
    return Probe(torch.stack([recorder.weights[0] for recorder in recorders[last:]]), streams[last:])
