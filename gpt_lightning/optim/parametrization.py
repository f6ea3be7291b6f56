"""How initial values and learning rates follow width and depth, so that a small model's settings hold for a large one.

Notation: m = width / base width, k = layers / base layers, s the factor below. At m = k = 1 all three are the same.

                                Standard          MuP               CompleteP
    weights inside the blocks
      initial std               1                 1 / sqrt(m)       1 / sqrt(m)
      Adam's and Lion's LR      1                 1 / m             1 / m
      Muon's LR                 1                 1                 1
      the same, match_adam      1                 1 / sqrt(m)       1 / sqrt(m)
      Adam's eps                1                 1                 1 / (m k)
    logits                      1                 1 / m             1 / m
    what a branch adds          1 / sqrt(2 k)     1 / sqrt(2 k)     1 / k       (at the start)
    biases and norms inside     LR 1              LR 1              LR 1, eps 1 / (m k)
    embeddings, head, last norm LR 1              LR 1              LR 1, eps 1 / m
    weight decay                so that LR x decay is the same

(Yang et al. 2022, Tensor Programs V, table 8, which leaves eps alone; Dey et al. 2025, CompleteP with alpha = 1,
table 1.) Muon's rows follow from the same condition, that a step changes activations alike at every width: a step of
constant singular values does already, one with the root mean square of Adam's has singular values that grow as the
root of the width.

The factors on activations, 1 / m for the logits and 1 / k for a branch, are not computed in the forward pass but kept
inside the weights that end there: the final norm is stored 1 / m times, and the matrices that end a branch 1 / k times,
their size. The model stays an ordinary one, and its checkpoints need to know nothing of all this. A weight stored as
s times the method's own trains to the same function with s times its initial value, s times its LR, and gradients
multiplied by s before they are clipped and stepped with (``groups.scale_gradients``): those of the stored weight are
1 / s times the method's, and would count as such in a norm over all gradients and beside eps.

Attention: the published rule divides by the size of a head instead of its root. That is the same rule while the size
of a head stays as it is, so scale ``n_head`` with ``n_embd``.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import torch
from torch import nn

from gpt_lightning.errors import ConfigError

_BLOCK = re.compile(r"\bblocks\.(\d+)\.")
_BRANCH_END = re.compile(r"\b(attention\.output|mlp\.contract)\.")


@dataclass(frozen=True)
class Multipliers:
    """What a parametrization changes for one parameter.

    Attributes:
        init: Factor on the initial values, besides ``size``.
        lr: Factor on the learning rate of Adam and Lion, besides ``size``.
        eps: Factor on Adam's eps.
        size: How many times the method's own weight the stored one is.
        label: Ending of the group's name, where parameters of one role differ.
    """

    init: float = 1.0
    lr: float = 1.0
    eps: float = 1.0
    size: float = 1.0
    label: str = ""


class Parametrization(ABC):
    """How initial values and learning rates depend on the size of the model."""

    @abstractmethod
    def multipliers(self, name: str, parameter: nn.Parameter, model: nn.Module) -> Multipliers:
        """Those of the parameter ``name`` of ``model``."""

    @torch.no_grad()
    def scale_weights(self, model: nn.Module) -> None:
        """Scale freshly drawn weights, in place."""
        for name, parameter in model.named_parameters():
            self.scale_weight(name, parameter, model)

    @torch.no_grad()
    def scale_weight(self, name: str, parameter: nn.Parameter, model: nn.Module) -> None:
        """Scale one freshly drawn weight, in place."""
        factors = self.multipliers(name, parameter, model)
        if factors.init * factors.size != 1.0:
            parameter.mul_(factors.init * factors.size)


class Standard(Parametrization):
    """Nothing depends on the size of the model: GPT-2's own table of initial values, one learning rate."""

    def multipliers(self, name: str, parameter: nn.Parameter, model: nn.Module) -> Multipliers:
        """All 1."""
        return Multipliers()


class MuP(Parametrization):
    """Maximal update parametrization: learning rates transfer over widths.

    Args:
        base_width: ``n_embd`` of the model for which the settings were found, at least 1.
    """

    def __init__(self, base_width: int = 256) -> None:
        self._base_width = _check_count(base_width, "base_width")

    def multipliers(self, name: str, parameter: nn.Parameter, model: nn.Module) -> Multipliers:
        """Those of the table above."""
        m = _width(model) / self._base_width
        if name.startswith("final_norm."):
            return Multipliers(size=1 / m, label="final")
        if _BLOCK.search(name) and parameter.ndim >= 2:
            return Multipliers(init=1 / math.sqrt(m), lr=1 / m)
        return Multipliers()


class CompleteP(MuP):
    """Transfer over widths and depths.

    Args:
        base_width: ``n_embd`` of the model for which the settings were found, at least 1.
        base_layers: ``n_layer`` of that model, at least 1.
    """

    def __init__(self, base_width: int = 256, base_layers: int = 4) -> None:
        super().__init__(base_width)
        self._base_layers = _check_count(base_layers, "base_layers")

    def multipliers(self, name: str, parameter: nn.Parameter, model: nn.Module) -> Multipliers:
        """Those of the table above."""
        m, k = _width(model) / self._base_width, count_layers(model) / self._base_layers
        # The smear's scales are in one group with those of the blocks.
        inside = _BLOCK.search(name) or name.startswith("smear.")
        factors = replace(super().multipliers(name, parameter, model), eps=1 / (m * k) if inside else 1 / m)
        if not _BRANCH_END.search(name):
            return factors
        # The model draws these with std 1 / sqrt(2 n_layer); the method wants that of the base, times its size.
        init = factors.init * math.sqrt(k) if parameter.ndim >= 2 else 1.0
        return replace(factors, init=init, size=1 / k, label="end")


def layer_of(name: str) -> int | None:
    """Number of the block that a parameter belongs to; None outside the blocks."""
    match = _BLOCK.search(name)
    return None if match is None else int(match[1])


def count_layers(model: nn.Module) -> int:
    """Number of blocks."""
    layers = [layer for name, _ in model.named_parameters() if (layer := layer_of(name)) is not None]
    return max(layers, default=-1) + 1


def _width(model: nn.Module) -> int:
    for module in model.modules():
        if isinstance(module, nn.Embedding):
            return module.embedding_dim
    raise ConfigError("the model has no embedding to tell its width", got=type(model).__name__, allowed="a decoder")


def _check_count(value: int, name: str) -> int:
    if value < 1:
        raise ConfigError(f"parametrization.{name} is a count", got=value, allowed="1 or more")
    return value
