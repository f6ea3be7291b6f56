"""Low-rank changes of weights.

                                computes, for outputs y = W x + b of the base         at the start
    LoRA (Hu et al. 2021)       y + alpha / r B A x                                   B = 0
    RsLoRA (Kalajdzievski 2023) y + alpha / sqrt(r) B A x                             B = 0
    PiSSA (Meng et al. 2024)    y + alpha / r (B A - B0 A0) x                         B A = B0 A0
    DoRA (Liu et al. 2024)      m (W + alpha / r B A) x / |W + alpha / r B A| + b     B = 0, m = |W|

A is drawn from U(-1 / sqrt(inputs), 1 / sqrt(inputs)); alpha / r B0 A0 is what the base's r largest singular values
make of it; norms are by row, and constants as far as gradients go. PiSSA's paper
trains B A beside the base without B0 A0; the sum is the same, and so the base stays what it is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.adapters.layers import Delta, adapt_layer
from gpt_lightning.adapters.targets import find_places
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT


class LowRank(Delta):
    """Adds ``scale B A x``.

    Args:
        weight: The base's rows.
        r: Rank, at least 1.
        scale: Factor on the product.
        dropout: Probability of dropping an input.
        generator: Source of ``a``.

    Attributes:
        a: ``(r, inputs)``.
        b: ``(rows, r)``.
    """

    def __init__(
        self,
        weight: Float[Tensor, "rows inputs"],
        *,
        r: int,
        scale: float,
        dropout: float,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        rows, inputs = weight.shape
        self.scale, self.dropout = scale, dropout
        self.a = _parameter(draw_uniform((r, inputs), 1 / math.sqrt(inputs), generator), weight)
        self.b = _parameter(torch.zeros(rows, r, device="cpu"), weight)

    def drop(self, inputs: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch inputs"]:
        """The inputs as the low-rank path sees them."""
        return F.dropout(inputs, self.dropout, self.training) if self.dropout > 0 else inputs

    def low_rank(self, inputs: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch rows"]:
        """``scale B A x``."""
        return F.linear(F.linear(inputs, self.a.to(inputs.dtype)), self.b.to(inputs.dtype)) * self.scale

    def leave(
        self,
        inputs: Float[Tensor, "*batch inputs"],
        outputs: Float[Tensor, "*batch rows"],
        weight: Float[Tensor, "rows inputs"],
        bias: Float[Tensor, " rows"] | None,
    ) -> Float[Tensor, "*batch rows"]:
        """As in ``Delta``."""
        return outputs + self.low_rank(self.drop(inputs))

    def factors(self) -> tuple[Float[Tensor, "rank inputs"], Float[Tensor, "rows rank"]]:
        """Two matrices whose product (second times first) is the change of the weights."""
        return self.a, self.scale * self.b

    def product(self) -> Float[Tensor, "rows inputs"]:
        """The change of the weights, in float32 or wider."""
        return self.scale * (self.b @ self.a)

    def merge(
        self, weight: Float[Tensor, "rows inputs"], bias: Float[Tensor, " rows"] | None
    ) -> tuple[Tensor, Tensor | None]:
        """As in ``Delta``."""
        return (weight + self.product()).to(weight.dtype), bias


class PrincipalLowRank(LowRank):
    """Adds ``scale (B A - B0 A0) x``, where ``scale B0 A0`` is the best approximation of the base by its rank."""

    a0: Tensor
    b0: Tensor

    def __init__(
        self,
        weight: Float[Tensor, "rows inputs"],
        *,
        r: int,
        scale: float,
        dropout: float,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__(weight, r=r, scale=scale, dropout=dropout, generator=generator)
        if r > min(weight.shape):
            raise ConfigError("adaptation.r is above the rank of a weight", got=r, allowed=f"1 to {min(weight.shape)}")
        left, values, right = torch.linalg.svd(weight.detach().float(), full_matrices=False)
        root = (values[:r] / scale).sqrt()
        # Kept, and saved: the same decomposition on another machine may have other signs.
        self.register_buffer("a0", root[:, None] * right[:r])
        self.register_buffer("b0", left[:, :r] * root)
        with torch.no_grad():
            self.a.copy_(self.a0)
            self.b.copy_(self.b0)

    def low_rank(self, inputs: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch rows"]:
        """``scale (B A - B0 A0) x``."""
        before = F.linear(F.linear(inputs, self.a0.to(inputs.dtype)), self.b0.to(inputs.dtype)) * self.scale
        return super().low_rank(inputs) - before

    def factors(self) -> tuple[Float[Tensor, "rank inputs"], Float[Tensor, "rows rank"]]:
        """Of twice the rank: what was trained, and the beginning taken away."""
        return torch.cat((self.a, self.a0)), self.scale * torch.cat((self.b, -self.b0), dim=1)

    def product(self) -> Float[Tensor, "rows inputs"]:
        """The change of the weights."""
        return super().product() - self.scale * (self.b0 @ self.a0)


class Decomposed(LowRank):
    """Direction by a low rank, size by a vector.

    Attributes:
        magnitude: ``(rows,)``; the norms of the base's rows at the start.
    """

    def __init__(
        self,
        weight: Float[Tensor, "rows inputs"],
        *,
        r: int,
        scale: float,
        dropout: float,
        generator: torch.Generator | None,
    ) -> None:
        super().__init__(weight, r=r, scale=scale, dropout=dropout, generator=generator)
        self.magnitude = nn.Parameter(torch.linalg.norm(weight.detach().float(), dim=1))

    def ratio(self, weight: Float[Tensor, "rows inputs"]) -> Float[Tensor, " rows"]:
        """What every row is multiplied by; a function of the magnitude alone, as far as gradients go."""
        # No gradient goes through it (Liu et al. 2024, section 4.3), so no matrix of the weight's size is kept for one.
        with torch.no_grad():
            norm = torch.linalg.norm(weight + self.product().to(weight.dtype), dim=1)
        # A row of zeros has no direction, and a size of 0.
        ratio: Tensor = self.magnitude.to(norm.dtype) / norm.clamp_min(torch.finfo(norm.dtype).tiny)
        return ratio

    def leave(
        self,
        inputs: Float[Tensor, "*batch inputs"],
        outputs: Float[Tensor, "*batch rows"],
        weight: Float[Tensor, "rows inputs"],
        bias: Float[Tensor, " rows"] | None,
    ) -> Float[Tensor, "*batch rows"]:
        """As in ``Delta``; with dropout, the base's part of the change sees the dropped inputs, too."""
        ratio = self.ratio(weight).to(outputs.dtype)
        dropped = self.drop(inputs)
        if dropped is inputs:
            base = outputs if bias is None else outputs - bias.to(outputs.dtype)
        else:
            base = F.linear(dropped, weight.to(dropped.dtype))
        return outputs + (ratio - 1) * base + ratio * self.low_rank(dropped)

    def merge(
        self, weight: Float[Tensor, "rows inputs"], bias: Float[Tensor, " rows"] | None
    ) -> tuple[Tensor, Tensor | None]:
        """As in ``Delta``."""
        return (self.ratio(weight)[:, None] * (weight + self.product())).to(weight.dtype), bias


class LoRA(Adaptation):
    """Low-rank adaptation: two thin matrices beside every chosen weight.

    Args:
        r: Rank of the change, at least 1.
        alpha: The change is multiplied by alpha / r; null = 2 r.
        dropout: Probability of dropping an input of the change, from 0 to below 1.
        targets: Which linear layers: query, key, value, output, gate (of a gated MLP), expand, contract, head (one of
            its own). Null = all of the blocks.

    Raises:
        ConfigError: A value is out of range.
    """

    delta: type[LowRank] = LowRank

    def __init__(
        self, r: int = 8, alpha: float | None = None, dropout: float = 0.0, targets: Sequence[str] | None = None
    ) -> None:
        self.r, self.alpha, self.dropout, self.targets = r, 2.0 * r if alpha is None else alpha, dropout, targets
        if r < 1:
            raise ConfigError("adaptation.r is a rank", got=r, allowed="1 or more")
        if not (self.alpha > 0 and math.isfinite(self.alpha)):
            raise ConfigError("adaptation.alpha is out of range", got=alpha, allowed="above 0, or null")
        check_dropout(dropout)

    @property
    def scale(self) -> float:
        """What the product of the two matrices is multiplied by."""
        return self.alpha / self.r

    def insert(self, model: GPT, generator: torch.Generator | None, name: str) -> None:
        """As in ``Adaptation``."""
        for place in find_places(model, self.targets):
            layer = adapt_layer(model, place)
            weight = layer.whole_weight()[place.rows[0] : place.rows[1]]
            delta = self.delta(weight, r=self.r, scale=self.scale, dropout=self.dropout, generator=generator)
            layer.insert(name, place.word, delta)
            layer.switch.active = name


class RsLoRA(LoRA):
    """LoRA that is multiplied by alpha / sqrt(r): steps are as large at every rank."""

    @property
    def scale(self) -> float:
        """As in ``LoRA``."""
        return self.alpha / math.sqrt(self.r)


class PiSSA(LoRA):
    """LoRA that begins with the largest singular values of the base, and so trains what matters most in it."""

    delta = PrincipalLowRank


class DoRA(LoRA):
    """LoRA for the direction of every row of a weight, and a number for its size."""

    delta = Decomposed


def check_dropout(dropout: float) -> None:
    """Refuse what is no probability of dropping.

    Raises:
        ConfigError: It is not from 0 to below 1.
    """
    if not 0 <= dropout < 1:
        raise ConfigError("adaptation.dropout is out of range", got=dropout, allowed="0 to below 1")


def draw_uniform(shape: Sequence[int], limit: float, generator: torch.Generator | None) -> Tensor:
    """Numbers between -limit and limit; drawn on the CPU, so that they are the same on every device."""
    return torch.empty(tuple(shape), device="cpu", dtype=torch.float32).uniform_(-limit, limit, generator=generator)


def _parameter(values: Tensor, beside: Tensor) -> nn.Parameter:
    """A parameter on the device of another; never narrower than float32, where small steps would be lost."""
    return nn.Parameter(values.to(beside.device, torch.promote_types(beside.dtype, torch.float32)))
