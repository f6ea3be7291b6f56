"""Bottleneck adapters: a small network behind a branch of a block, added to what the branch gives.

    Houlsby et al. 2019     behind attention and behind the MLP, GELU
    Pfeiffer et al. 2021    behind the MLP alone, ReLU: half the numbers, nearly as good

    branch ──> output of the branch ──┬──> down ──> activation ──> up ──(+)──> residual stream
                                      └─────────────────────────────────┘      up is 0 at the start

They are no change of weights, so they cannot be merged.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.adapters.layers import Delta, adapt_layer
from gpt_lightning.adapters.lora import draw_uniform
from gpt_lightning.adapters.targets import find_places
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT


class Bottleneck(Delta):
    """Adds ``up activation(down y)`` to the outputs y.

    Attributes:
        down: ``(size, rows)``.
        up: ``(rows, size)``; both with a bias.
    """

    def __init__(
        self,
        weight: Float[Tensor, "rows inputs"],
        *,
        size: int,
        activation: Callable[[Tensor], Tensor],
        generator: torch.Generator | None,
    ) -> None:
        super().__init__()
        rows, kind = weight.shape[0], torch.promote_types(weight.dtype, torch.float32)
        self._activation = activation
        values = {
            "down": draw_uniform((size, rows), 1 / math.sqrt(rows), generator),
            "down_bias": torch.zeros(size, device="cpu"),
            "up": torch.zeros(rows, size, device="cpu"),
            "up_bias": torch.zeros(rows, device="cpu"),
        }
        for name, value in values.items():
            setattr(self, name, nn.Parameter(value.to(weight.device, kind)))

    def leave(
        self,
        inputs: Float[Tensor, "*batch inputs"],
        outputs: Float[Tensor, "*batch rows"],
        weight: Float[Tensor, "rows inputs"],
        bias: Float[Tensor, " rows"] | None,
    ) -> Float[Tensor, "*batch rows"]:
        """As in ``Delta``."""
        kind = outputs.dtype
        inner = self._activation(F.linear(outputs, self.down.to(kind), self.down_bias.to(kind)))
        return outputs + F.linear(inner, self.up.to(kind), self.up_bias.to(kind))

    def merge(
        self, weight: Float[Tensor, "rows inputs"], bias: Float[Tensor, " rows"] | None
    ) -> tuple[Tensor, Tensor | None]:
        """As in ``Delta``; there is none."""
        raise ConfigError("a bottleneck adapter is no change of weights and cannot be merged")

    down: nn.Parameter
    down_bias: nn.Parameter
    up: nn.Parameter
    up_bias: nn.Parameter


class Houlsby(Adaptation):
    """Bottlenecks behind attention and behind the MLP of every block.

    Args:
        size: Width of the bottleneck, at least 1.

    Raises:
        ConfigError: ``size`` is not positive.
    """

    places: tuple[str, ...] = ("output", "contract")

    def __init__(self, size: int = 32) -> None:
        if size < 1:
            raise ConfigError("adaptation.size is a width", got=size, allowed="1 or more")
        self.size = size

    def insert(self, model: GPT, generator: torch.Generator | None, name: str) -> None:
        """As in ``Adaptation``."""
        for place in find_places(model, self.places):
            layer = adapt_layer(model, place)
            layer.insert(
                name,
                place.word,
                Bottleneck(layer.whole_weight(), size=self.size, activation=self.activate, generator=generator),
            )
            layer.switch.active = name

    @staticmethod
    def activate(inner: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """The bottleneck's non-linear part."""
        return F.gelu(inner)


class Pfeiffer(Houlsby):
    """Bottlenecks behind the MLP of every block."""

    places = ("contract",)

    @staticmethod
    def activate(inner: Float[Tensor, "*batch size"]) -> Float[Tensor, "*batch size"]:
        """As in ``Houlsby``."""
        return F.relu(inner)
