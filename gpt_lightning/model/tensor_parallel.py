"""Tensor parallelism: every device computes some of the heads and some of the MLP's channels (Shoeybi et al. 2019).

    attention.query_key_value   rows: the device's heads of queries, of keys, of values
    attention.output            columns: of the same heads; the products are summed over the devices
    mlp.expand                  rows: the device's channels (of gate and value in a gated MLP)
    mlp.contract                columns: the same channels; summed
    value_embeddings            columns: the device's heads of values
    everything else             whole on every device: embeddings, norms, head, and the biases that follow a sum

Queries, keys and values lie in one matrix, one above the other, so a device's part of it is three stretches of rows,
not one. The parts are plain tensors, and what they are of the whole is said by a ``Cut``: whoever saves or loads
weights does it in the coordinates of the whole.

torch's own ``parallelize_module`` knows no such stretches; it would store the rows of the matrix in another order for
every number of devices, and it turns some parameters into another type of tensor than the rest, which fused optimizers
refuse.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.model.attention import CausalSelfAttention
from gpt_lightning.model.block import Block
from gpt_lightning.model.config import GPTConfig
from gpt_lightning.model.embeddings import reserve_embedding
from gpt_lightning.model.gpt import GPT
from gpt_lightning.model.mlp import MLP
from gpt_lightning.model.norm import RMSNorm


@dataclass(frozen=True)
class Cut:
    """The part of a parameter that a device keeps, in coordinates of the whole.

    Attributes:
        rows: Stretches (first, behind the last) of the first axis, in the order in which they are kept.
        columns: Stretch of the second axis; None = all.
    """

    rows: tuple[tuple[int, int], ...]
    columns: tuple[int, int] | None = None


@dataclass(frozen=True)
class Team:
    """The devices that compute one model together.

    Attributes:
        group: Their process group.
        rank: Number of this device among them.
        size: How many they are.
    """

    group: Any
    rank: int
    size: int

    def share(self, start: int, width: int) -> tuple[int, int]:
        """This device's stretch of ``width`` rows or columns from ``start`` on."""
        part = width // self.size
        return start + self.rank * part, start + (self.rank + 1) * part

    def shares(self, widths: Sequence[int]) -> tuple[tuple[int, int], ...]:
        """This device's stretch of each of several blocks that lie one behind the other."""
        starts = [sum(widths[:index]) for index in range(len(widths))]
        return tuple(self.share(start, width) for start, width in zip(starts, widths, strict=True))


def check_split(config: GPTConfig, size: int) -> None:
    """Refuse a number of devices that does not divide heads and channels.

    Raises:
        ConfigError: Names what it does not divide.
    """
    for name, number in (
        ("n_head", config.n_head),
        ("n_kv_head", config.key_value_heads),
        ("n_inner", config.inner_size),
    ):
        if number % size:
            divisors = ", ".join(str(count) for count in range(1, number + 1) if number % count == 0)
            raise ConfigError(
                f"tensor_parallel_size does not divide model.config.{name}={number}",
                got=size,
                allowed=divisors if len(divisors) < 60 else f"a divisor of {number}",
                fix="Every device takes whole heads and equal shares of the MLP: change the number of devices.",
            )


class _Spread(torch.autograd.Function):
    """The same value on every device going forward; gradients are summed going back."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: Any) -> Tensor:
        ctx.group = group
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return _sum(gradients[0], ctx.group), None


class _Collect(torch.autograd.Function):
    """Summed over the devices going forward; the gradient is the same on every device."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, group: Any) -> Tensor:
        return _sum(value, group)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        return gradients[0], None


def spread(value: Tensor, group: Any) -> Tensor:
    """The value; its gradient becomes the sum of the devices' gradients."""
    result: Tensor = _Spread.apply(value, group)  # type: ignore[no-untyped-call]
    return result


def collect(value: Tensor, group: Any) -> Tensor:
    """The sum of the devices' values."""
    result: Tensor = _Collect.apply(value, group)  # type: ignore[no-untyped-call]
    return result


def _sum(value: Tensor, group: Any) -> Tensor:
    total = value.clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total, group=group)
    return total


class ColumnParallel(nn.Linear):
    """Some of the outputs of a linear layer."""

    def __init__(self, whole: nn.Linear, outputs: int, team: Team) -> None:
        super().__init__(whole.in_features, outputs, whole.bias is not None, device="meta", dtype=whole.weight.dtype)
        self._group = team.group

    def forward(self, hidden: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """This device's outputs."""
        return F.linear(spread(hidden, self._group), self.weight, self.bias)


class RowParallel(nn.Linear):
    """A linear layer over some of the inputs; the outputs are summed over the devices, then the bias is added."""

    def __init__(self, whole: nn.Linear, inputs: int, team: Team) -> None:
        super().__init__(inputs, whole.out_features, whole.bias is not None, device="meta", dtype=whole.weight.dtype)
        self._group, self._has_bias = team.group, whole.bias is not None

    def forward(self, hidden: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch outputs"]:
        """All outputs."""
        total = collect(F.linear(hidden, self.weight), self._group)
        # Under autocast the product is narrower than the stored bias, as it is inside F.linear.
        return total if not self._has_bias else total + self.bias.to(total.dtype)


class SpreadRMSNorm(RMSNorm):
    """A norm whose scale is the same on all devices while each has heads of its own."""

    def __init__(self, whole: RMSNorm, team: Team) -> None:
        super().__init__(whole.normalized_shape, eps=whole.eps, device="meta", dtype=whole.weight.dtype)
        self._group = team.group

    def forward(self, hidden: Float[Tensor, "*batch width"]) -> Float[Tensor, "*batch width"]:
        """Normalise over the last axis."""
        weight = spread(self.weight, self._group)
        hidden = hidden.to(torch.promote_types(hidden.dtype, weight.dtype))
        return F.rms_norm(hidden, self.normalized_shape, weight, self.eps)


def split_over_team(model: GPT, team: Team) -> dict[str, Cut]:
    """Replace the layers of a model without memory (meta device) by this device's part of them.

    Dropout of attention weights draws the same numbers on every device, so heads on different devices share their
    pattern.

    Args:
        model: Changed in place.
        team: The devices.

    Returns:
        The cut of every parameter that is not whole, by its name.

    Raises:
        ConfigError: The number of devices does not divide heads or channels.
    """
    config = model.config
    check_split(config, team.size)
    cuts: dict[str, Cut] = {}
    if team.size == 1:
        return cuts
    for index, block in enumerate(model.blocks):
        assert isinstance(block, Block)
        cuts |= _split_attention(block.attention, f"blocks.{index}.attention", config, team)
        cuts |= _split_mlp(block.mlp, f"blocks.{index}.mlp", config, team)
    for layer, table in model.value_embeddings.items():
        assert isinstance(table, nn.Embedding)
        rows, width = table.num_embeddings, table.embedding_dim
        cuts[f"value_embeddings.{layer}.weight"] = Cut(((0, rows),), team.share(0, width))
        with torch.device("meta"):
            model.value_embeddings[layer] = reserve_embedding(rows, width // team.size)
    return cuts


def _split_attention(attention: CausalSelfAttention, place: str, config: GPTConfig, team: Team) -> dict[str, Cut]:
    cuts = _cut_outputs(f"{place}.query_key_value", team.shares(attention.widths), config.bias)
    cuts[f"{place}.output.weight"] = Cut(((0, config.n_embd),), team.share(0, config.query_size))
    attention.widths = [width // team.size for width in attention.widths]
    attention.query_key_value = ColumnParallel(attention.query_key_value, sum(attention.widths), team)
    attention.output = RowParallel(attention.output, config.query_size // team.size, team)
    if attention.query_norm is not None and attention.key_norm is not None:
        attention.query_norm = SpreadRMSNorm(attention.query_norm, team)
        attention.key_norm = SpreadRMSNorm(attention.key_norm, team)
    return cuts


def _split_mlp(mlp: MLP, place: str, config: GPTConfig, team: Team) -> dict[str, Cut]:
    inner = mlp.stacked_rows["expand"]
    cuts = _cut_outputs(f"{place}.expand", team.shares(inner), config.bias)
    mlp.stacked_rows = {"expand": [rows // team.size for rows in inner]}
    cuts[f"{place}.contract.weight"] = Cut(((0, config.n_embd),), team.share(0, config.inner_size))
    mlp.expand = ColumnParallel(mlp.expand, sum(inner) // team.size, team)
    mlp.contract = RowParallel(mlp.contract, config.inner_size // team.size, team)
    return cuts


def _cut_outputs(name: str, rows: tuple[tuple[int, int], ...], bias: bool) -> dict[str, Cut]:
    """Weight and bias of a layer that is cut by its outputs."""
    return {f"{name}.{kind}": Cut(rows) for kind in ("weight", "bias")[: 1 + bias]}
