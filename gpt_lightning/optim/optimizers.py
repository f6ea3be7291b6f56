"""Optimizers as recipes: plain settings, checked when they are written, turned into a torch optimizer later.

The recipe exists before the model does, so that a wrong setting is found before anything heavy is built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.groups import build_groups

_FUSED_DEVICES = {"cpu", "cuda"}


class OptimizerRecipe(ABC):
    """The settings of an optimizer, chosen in a config by class name."""

    @abstractmethod
    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """The optimizer of ``model``, whose parameters are already on their device.

        Every group has ``name`` and ``initial_lr`` (see ``groups``).
        """


class AdamW(OptimizerRecipe):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    Args:
        lr: Peak learning rate, which the schedule multiplies; 0 or more.
        betas: Decay of the running mean and of the running square of the gradient, each from 0 to below 1.
        eps: Added to the root of the running square; 0 or more.
        weight_decay: Share of a matrix, times the learning rate, that each step takes away; biases and norms are
            spared.
        fused: Whether one kernel updates all parameters. None = yes where torch has that kernel (CPU, CUDA).

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        fused: bool | None = None,
    ) -> None:
        for name, value in (("lr", lr), ("eps", eps), ("weight_decay", weight_decay)):
            if not (value >= 0 and math.isfinite(value)):
                raise ConfigError(f"optimizer.{name} is negative or not finite", got=value, allowed="0 or more")
        if not all(0 <= beta < 1 for beta in betas):
            raise ConfigError("optimizer.betas are out of range", got=betas, allowed="two numbers from 0 to below 1")
        self._lr, self._betas, self._eps, self._weight_decay, self._fused = lr, betas, eps, weight_decay, fused

    def build(self, model: nn.Module) -> torch.optim.Optimizer:
        """A ``torch.optim.AdamW`` over a decayed and an undecayed group."""
        groups = build_groups(model, lr=self._lr, weight_decay=self._weight_decay)
        fused = self._fused
        if fused is None:
            fused = all(parameter.device.type in _FUSED_DEVICES for group in groups for parameter in group["params"])
        return torch.optim.AdamW(groups, lr=self._lr, betas=self._betas, eps=self._eps, fused=fused)
