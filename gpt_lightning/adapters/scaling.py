"""IA3 (Liu et al. 2022): a learned factor for every channel of keys, values and the MLP's inner activations."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn

from gpt_lightning.adapters.base import Adaptation
from gpt_lightning.adapters.layers import Delta, adapt_layer
from gpt_lightning.adapters.targets import find_places
from gpt_lightning.model.gpt import GPT

_ON_INPUTS = ("contract",)
"""Places whose inputs are scaled: what the MLP's activations are."""


class OutputScale(Delta):
    """Multiplies the outputs, bias included.

    Attributes:
        factor: ``(rows,)``, 1 at the start.
    """

    def __init__(self, weight: Float[Tensor, "rows inputs"]) -> None:
        super().__init__()
        self.factor = _ones(weight, weight.shape[0])

    def leave(
        self,
        inputs: Float[Tensor, "*batch inputs"],
        outputs: Float[Tensor, "*batch rows"],
        weight: Float[Tensor, "rows inputs"],
        bias: Float[Tensor, " rows"] | None,
    ) -> Float[Tensor, "*batch rows"]:
        """As in ``Delta``."""
        return outputs * self.factor.to(outputs.dtype)

    def merge(
        self, weight: Float[Tensor, "rows inputs"], bias: Float[Tensor, " rows"] | None
    ) -> tuple[Tensor, Tensor | None]:
        """As in ``Delta``."""
        scaled = (weight * self.factor[:, None]).to(weight.dtype)
        return scaled, None if bias is None else (bias * self.factor).to(bias.dtype)


class InputScale(Delta):
    """Multiplies the inputs.

    Attributes:
        factor: ``(inputs,)``, 1 at the start.
    """

    def __init__(self, weight: Float[Tensor, "rows inputs"]) -> None:
        super().__init__()
        self.factor = _ones(weight, weight.shape[1])

    def enter(self, inputs: Float[Tensor, "*batch inputs"]) -> Float[Tensor, "*batch inputs"]:
        """As in ``Delta``."""
        return inputs * self.factor.to(inputs.dtype)

    def merge(
        self, weight: Float[Tensor, "rows inputs"], bias: Float[Tensor, " rows"] | None
    ) -> tuple[Tensor, Tensor | None]:
        """As in ``Delta``."""
        return (weight * self.factor).to(weight.dtype), bias


def _ones(beside: Tensor, size: int) -> nn.Parameter:
    kind = torch.promote_types(beside.dtype, torch.float32)
    return nn.Parameter(torch.ones(size, device=beside.device, dtype=kind))


class IA3(Adaptation):
    """A factor for every channel of keys, values and inner activations: the fewest numbers of all adapters.

    Args:
        targets: Linear layers whose outputs are scaled, of contract the inputs; null = key, value, contract.

    Raises:
        ConfigError: A target is not of the architecture (when it is attached).
    """

    def __init__(self, targets: Sequence[str] | None = None) -> None:
        self.targets = ("key", "value", "contract") if targets is None else targets

    def insert(self, model: GPT, generator: torch.Generator | None, name: str) -> None:
        """As in ``Adaptation``."""
        for place in find_places(model, self.targets):
            layer = adapt_layer(model, place)
            kind = InputScale if place.word in _ON_INPUTS else OutputScale
            layer.insert(name, place.word, kind(layer.whole_weight()[place.rows[0] : place.rows[1]]))
            layer.switch.active = name
