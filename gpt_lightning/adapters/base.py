"""What an adaptation is: how a trained decoder is changed by training little of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Protocol, runtime_checkable

import torch
from torch import Tensor

from gpt_lightning.model.gpt import GPT
from gpt_lightning.optim.schedules.lengths import Horizon

DEFAULT = "default"
"""Name of the adapter of a run; those beside it on one base have names of their own."""


@runtime_checkable
class StepFunction(Protocol):
    """A number that changes over the run."""

    def at(self, step: int, horizon: Horizon) -> float:
        """Its value in the optimizer step ``step`` (0 = the first)."""


class Adaptation(ABC):
    """What of a decoder is trained, and what is added to it for that.

    Rules every adaptation keeps (checked by its contract tests):

    - names and values of the base's weights stay as they are, and what is frozen has no gradient;
    - at the start the adapted model computes what the base does, or what it does behind something (``prefix``);
    - with the adapter switched off it computes what the base does, bit for bit;
    - it is a function of its settings, the base and the state of what is trained.

    Attributes:
        trains_base: Whether weights of the base are trained, so that it is no adapter beside others.
    """

    trains_base = False

    @property
    def on_whole_weights(self) -> Adaptation:
        """The same beside other adapters, which share one base as it is."""
        return self

    def attach(self, model: GPT, generator: torch.Generator | None = None, name: str = DEFAULT) -> None:
        """Freeze the decoder and add what is trained; after its weights are loaded, before it is compiled.

        Args:
            model: With the weights of the base; may have other adapters, which are frozen too.
            generator: On the CPU; source of initial values. None = torch's global one.
            name: Of the adapter.

        Raises:
            ConfigError: The architecture has not what the settings name.
        """
        model.requires_grad_(False)
        self.insert(model, generator, name)

    @abstractmethod
    def insert(self, model: GPT, generator: torch.Generator | None, name: str) -> None:
        """Add what is trained to a decoder that is frozen; the arguments of ``attach``."""

    def penalty(self, model: GPT) -> Tensor | None:
        """What is added to the loss of every micro-batch; None = nothing."""
        return None

    def before_step(self, model: GPT, step: int, horizon: Horizon) -> None:
        """Called with the gradients of a step, before they are clipped and counted.

        Args:
            model: The adapted decoder.
            step: Optimizer steps done, from 0.
            horizon: Length of the run.
        """
        return

    def after_step(self, model: GPT, step: int, horizon: Horizon) -> None:
        """Called behind an optimizer step, while its gradients are still there; the arguments of ``before_step``."""
        return

    def step_values(self) -> Mapping[str, StepFunction]:
        """Everything by which the length of the run changes a step; two runs share steps only where these agree."""
        return {}


def trained_names(model: torch.nn.Module) -> list[str]:
    """Names in ``model.state_dict()`` of all that training changes: no parameter that is frozen, nor what is beside it.

    Buffers belong to the parameters of their module: those of an adapter that is frozen stay as they are.
    """
    frozen = {name for name, parameter in model.named_parameters() if not parameter.requires_grad}
    for prefix, module in model.named_modules():
        own = list(module.parameters(recurse=False))
        if own and not any(parameter.requires_grad for parameter in own):
            frozen |= {f"{prefix}.{name}" for name, _ in module.named_buffers(recurse=False)}
    return [name for name in model.state_dict() if name not in frozen]
