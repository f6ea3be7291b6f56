"""A frozen base in 8 bits, so that its weights take a quarter of the memory while an adapter is trained on it.

All linear layers of the blocks are rounded (``rounding``; Dettmers et al. 2022, without outliers set apart). QLoRA
(Dettmers et al. 2023) does the same in 4 bits, for which there are no kernels on a CPU. The adapter learns on the
rounded base, and what is merged or used later is that base too: a run and its model compute the same.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from gpt_lightning.adapters.base import Adaptation, StepFunction
from gpt_lightning.adapters.layers import adapt_layer
from gpt_lightning.adapters.targets import find_places
from gpt_lightning.errors import ConfigError
from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.schedules.lengths import Horizon


class Int8Base(Adaptation):
    """An adapter on a base whose blocks hold their weights in 8 bits.

    Args:
        adapter: What is trained: LoRA, RsLoRA, PiSSA, DoRA, AdaLoRA, IA3, Houlsby, Pfeiffer, PrefixTuning or
            PromptTuning.

    Raises:
        ConfigError: The adapter trains weights of the base.
    """

    def __init__(self, adapter: Adaptation) -> None:
        if adapter.trains_base:
            raise ConfigError(
                "adaptation.adapter trains weights of the base, which cannot be trained in 8 bits",
                got=type(adapter).__name__,
                fix="Use it without Int8Base, or an adapter such as LoRA.",
            )
        self.adapter = adapter

    @property
    def on_whole_weights(self) -> Adaptation:
        """As in ``Adaptation``."""
        return self.adapter

    def insert(self, model: GPT, generator: torch.Generator | None, name: str) -> None:
        """As in ``Adaptation``: the base is rounded, then adapted."""
        for place in find_places(model, None):
            adapt_layer(model, place).round_base()
        self.adapter.insert(model, generator, name)

    def penalty(self, model: GPT) -> Tensor | None:
        """The adapter's."""
        return self.adapter.penalty(model)

    def before_step(self, model: GPT, step: int, horizon: Horizon) -> None:
        """The adapter's."""
        self.adapter.before_step(model, step, horizon)

    def after_step(self, model: GPT, step: int, horizon: Horizon) -> None:
        """The adapter's."""
        self.adapter.after_step(model, step, horizon)

    def step_values(self) -> Mapping[str, StepFunction]:
        """The adapter's."""
        return self.adapter.step_values()
