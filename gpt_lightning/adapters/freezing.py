"""Training a part of the base itself: its upper layers, all at once or one after the other from above."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from gpt_lightning.adapters.base import Adaptation, StepFunction
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.parametrization import layer_of
from gpt_lightning.optim.schedules.lengths import Horizon, Length, parse_length


@dataclass(frozen=True)
class Unfreezing:
    """How many of the trained layers get no step yet, as a function of the step."""

    layers: int
    every: Length | None

    def at(self, step: int, horizon: Horizon) -> float:
        """Layers that still wait in the optimizer step ``step``."""
        if self.every is None:
            return 0.0
        steps = parse_length(self.every, "adaptation.unfreeze_every").count_first(horizon)
        return float(max(self.layers - 1 - step // max(steps, 1), 0))


class Freeze(Adaptation):
    """Keeps the embeddings and the lower layers as they are; what lies above is trained.

    An untied head and the final norm are trained from the start. A head that is tied to the token embedding is that
    table, and frozen with it.

    Args:
        layers: Uppermost blocks that are trained, 0 or more; 0 = the head alone.
        unfreeze_every: Gradual unfreezing (Howard & Ruder 2018, ULMFiT): the uppermost block at first, and one more
            after each such length, from above. Null = all of them from the start.

    Raises:
        ConfigError: A value is out of range, or nothing would be trained.
    """

    trains_base = True

    def __init__(self, layers: int = 2, unfreeze_every: Length | None = None) -> None:
        if layers < 0:
            raise ConfigError("adaptation.layers counts blocks", got=layers, allowed="0 or more")
        if unfreeze_every is not None:
            parse_length(unfreeze_every, "adaptation.unfreeze_every")
        self.layers, self._waiting = layers, Unfreezing(layers, unfreeze_every)

    def insert(self, model: GPT, generator: torch.Generator | None, name: str) -> None:
        """As in ``Adaptation``."""
        total = model.config.n_layer
        if self.layers > total:
            raise ConfigError("adaptation.layers is more than the model has", got=self.layers, allowed=f"0 to {total}")
        modules = [*model.blocks[total - self.layers :], model.final_norm, model.head]
        for module in modules:
            if module is not None:
                module.requires_grad_(True)

    def before_step(self, model: GPT, step: int, horizon: Horizon) -> None:
        """Take the gradients of the layers that wait."""
        waiting = int(self._waiting.at(step, horizon))
        first = model.config.n_layer - self.layers
        for name, parameter in model.named_parameters():
            layer = layer_of(name)
            if waiting and layer is not None and first <= layer < first + waiting:
                parameter.grad = None

    def step_values(self) -> Mapping[str, StepFunction]:
        """How many layers wait."""
        return {"waiting": self._waiting}
