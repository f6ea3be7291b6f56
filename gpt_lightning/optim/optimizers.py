"""Optimizers as recipes: plain settings, checked when they are written, turned into a torch optimizer later.

The recipe exists before the model does, so that a wrong setting is found before anything heavy is built.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable
from typing import Any

import torch
from torch import nn

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.groups import Role, build_groups
from gpt_lightning.optim.lion import LionOptimizer
from gpt_lightning.optim.muon import MuonOptimizer
from gpt_lightning.optim.parametrization import Parametrization, Standard
from gpt_lightning.optim.schedule_free import ScheduleFreeOptimizer

_FUSED_DEVICES = {"cpu", "cuda"}


class OptimizerRecipe(ABC):
    """The settings of an optimizer, chosen in a config by class name.

    Args:
        lr: Peak learning rate of the matrices.
        embedding_lr: That of the tables; None = ``lr``.
        head_lr: That of an untied head; None = ``lr``.
        vector_lr: That of biases, norms and other vectors; None = ``lr``.
        adapter_lr: That of adapters; None = ``lr``.
        weight_decay: Share of a weight, times its learning rate, that each step takes away; vectors are spared.
        layer_decay: What multiplies the rate for every layer further from the head.

    Raises:
        ConfigError: A value is out of range.
    """

    keeps_average = False
    """Whether the optimizer has ``average(parameter)``, the weights to use in place of those under training."""

    def __init__(
        self,
        *,
        lr: float,
        embedding_lr: float | None,
        head_lr: float | None,
        vector_lr: float | None,
        adapter_lr: float | None,
        weight_decay: float,
        layer_decay: float,
    ) -> None:
        self.rates: dict[Role, float] = {
            "matrix": lr,
            "embedding": lr if embedding_lr is None else embedding_lr,
            "head": lr if head_lr is None else head_lr,
            "vector": lr if vector_lr is None else vector_lr,
            "adapter": lr if adapter_lr is None else adapter_lr,
        }
        self.weight_decay, self.layer_decay = weight_decay, layer_decay
        _check_sizes(lr=lr, embedding_lr=embedding_lr, head_lr=head_lr, vector_lr=vector_lr)
        _check_sizes(adapter_lr=adapter_lr, weight_decay=weight_decay)
        if not 0 < layer_decay <= 1:
            raise ConfigError("optimizer.layer_decay is out of range", got=layer_decay, allowed="above 0, at most 1")

    @abstractmethod
    def build(self, model: nn.Module, parametrization: Parametrization = Standard()) -> torch.optim.Optimizer:  # noqa: B008 (no state)
        """The optimizer of ``model``, whose parameters are already on their device.

        Every group has ``name`` and ``initial_lr`` (see ``groups``).
        """

    def build_groups(
        self, model: nn.Module, parametrization: Parametrization, eps: float | None = None, reach: float = 1.0
    ) -> list[dict[str, Any]]:
        """The groups of ``model`` with these settings; see ``groups.build_groups``."""
        return build_groups(
            model,
            rates=self.rates,
            weight_decay=self.weight_decay,
            parametrization=parametrization,
            layer_decay=self.layer_decay,
            eps=eps,
            reach=reach,
        )


class AdamW(OptimizerRecipe):
    """Adam with decoupled weight decay (Loshchilov & Hutter 2019).

    Args:
        lr: Peak learning rate, which the schedule multiplies; 0 or more.
        betas: Decay of the running mean and of the running square of the gradient, each from 0 to below 1.
        eps: Added to the root of the running square; 0 or more.
        weight_decay: Share of a matrix, times the learning rate, that each step takes away; biases and norms are
            spared.
        fused: Whether one kernel updates all parameters. None = yes where torch has that kernel (CPU, CUDA).
        embedding_lr: Peak learning rate of the embeddings. None = lr.
        head_lr: That of a head that is not tied to the embedding. None = lr.
        vector_lr: That of biases, norms and other vectors. None = lr.
        adapter_lr: That of adapters (model.adaptation). None = lr.
        layer_decay: What multiplies the learning rate for every layer further from the head; above 0, at most 1.
            For fine-tuning.

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
        embedding_lr: float | None = None,
        head_lr: float | None = None,
        vector_lr: float | None = None,
        adapter_lr: float | None = None,
        layer_decay: float = 1.0,
    ) -> None:
        super().__init__(
            lr=lr,
            embedding_lr=embedding_lr,
            head_lr=head_lr,
            vector_lr=vector_lr,
            adapter_lr=adapter_lr,
            weight_decay=weight_decay,
            layer_decay=layer_decay,
        )
        _check_sizes(eps=eps)
        self._betas, self._eps, self._fused = _check_betas(betas), eps, fused

    def build(self, model: nn.Module, parametrization: Parametrization = Standard()) -> torch.optim.Optimizer:  # noqa: B008 (no state)
        """A ``torch.optim.AdamW``, one group for each role."""
        groups = self.build_groups(model, parametrization, self._eps)
        fused = _can_fuse(groups) if self._fused is None else self._fused
        return torch.optim.AdamW(groups, betas=self._betas, eps=self._eps, fused=fused)


class Muon(OptimizerRecipe):
    """Orthogonal steps for the matrices of the layers (Jordan et al. 2024), AdamW for everything else.

    Args:
        lr: Peak learning rate of the matrices, which the schedule multiplies; 0 or more.
        embedding_lr: Peak learning rate of the embeddings, under Adam.
        head_lr: That of a head that is not tied to the embedding.
        vector_lr: That of biases, norms and other vectors.
        adapter_lr: That of adapters (model.adaptation), under Adam.
        momentum: Share of the running mean of the gradient that each step keeps, from 0 to below 1.
        nesterov: Whether the gradient is mixed in once more.
        num_iterations: Newton-Schulz iterations, at least 1.
        match_adam: Whether steps are as large as Adam's (their root mean square is 0.2 lr: Liu et al. 2025), so that an
            LR found with AdamW fits, and follows the width under a parametrization; else the LR transfers over widths.
        split_qkv: Whether matrices that lie in one are made orthogonal apart: queries, keys and values; gate and values
            of a gated MLP.
        weight_decay: Share of a matrix or table, times its learning rate, that each step takes away.
        betas: Adam's decay of the running mean and of the running square, each from 0 to below 1.
        eps: Added to the root of Adam's running square; 0 or more.
        layer_decay: What multiplies the learning rate for every layer further from the head; above 0, at most 1.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        lr: float = 0.02,
        embedding_lr: float = 3e-3,
        head_lr: float = 3e-3,
        vector_lr: float = 3e-3,
        adapter_lr: float = 1e-3,
        momentum: float = 0.95,
        nesterov: bool = True,
        num_iterations: int = 5,
        match_adam: bool = False,
        split_qkv: bool = True,
        weight_decay: float = 0.0,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        layer_decay: float = 1.0,
    ) -> None:
        super().__init__(
            lr=lr,
            embedding_lr=embedding_lr,
            head_lr=head_lr,
            vector_lr=vector_lr,
            adapter_lr=adapter_lr,
            weight_decay=weight_decay,
            layer_decay=layer_decay,
        )
        _check_sizes(eps=eps)
        if not 0 <= momentum < 1:
            raise ConfigError("optimizer.momentum is out of range", got=momentum, allowed="0 to below 1")
        if num_iterations < 1:
            raise ConfigError("optimizer.num_iterations is a count", got=num_iterations, allowed="1 or more")
        self._momentum, self._nesterov, self._num_iterations = momentum, nesterov, num_iterations
        self._match_adam, self._split_qkv = match_adam, split_qkv
        self._betas, self._eps = _check_betas(betas), eps

    def build(self, model: nn.Module, parametrization: Parametrization = Standard()) -> torch.optim.Optimizer:  # noqa: B008 (no state)
        """A ``MuonOptimizer``, one group for each role."""
        # In spectral norm, which bounds what a step changes, steps of Adam's size grow as the root of the width.
        groups = self.build_groups(model, parametrization, self._eps, reach=0.5 if self._match_adam else 0.0)
        stacks = _find_stacks(model) if self._split_qkv else {}
        for group in groups:
            group["orthogonal"] = group["role"] == "matrix"
            group["pieces"] = [stacks.get(id(parameter), [len(parameter)]) for parameter in group["params"]]
        return MuonOptimizer(
            groups,
            momentum=self._momentum,
            nesterov=self._nesterov,
            num_iterations=self._num_iterations,
            match_adam=self._match_adam,
            betas=self._betas,
            eps=self._eps,
            fused=_can_fuse(groups),
        )


class Lion(OptimizerRecipe):
    """The sign of a momentum (Chen et al. 2023): half of Adam's memory; wants a third to a tenth of Adam's LR.

    Args:
        lr: Peak learning rate, which the schedule multiplies; 0 or more.
        betas: Weight of the momentum in the step, and share of it that each step keeps; each from 0 to below 1.
        weight_decay: Share of a matrix, times the learning rate, that each step takes away; three to ten times Adam's.
        embedding_lr: Peak learning rate of the embeddings. None = lr.
        head_lr: That of a head that is not tied to the embedding. None = lr.
        vector_lr: That of biases, norms and other vectors. None = lr.
        adapter_lr: That of adapters (model.adaptation). None = lr.
        layer_decay: What multiplies the learning rate for every layer further from the head; above 0, at most 1.

    Raises:
        ConfigError: A value is out of range.
    """

    def __init__(
        self,
        lr: float = 2e-4,
        betas: tuple[float, float] = (0.95, 0.98),
        weight_decay: float = 0.5,
        embedding_lr: float | None = None,
        head_lr: float | None = None,
        vector_lr: float | None = None,
        adapter_lr: float | None = None,
        layer_decay: float = 1.0,
    ) -> None:
        super().__init__(
            lr=lr,
            embedding_lr=embedding_lr,
            head_lr=head_lr,
            vector_lr=vector_lr,
            adapter_lr=adapter_lr,
            weight_decay=weight_decay,
            layer_decay=layer_decay,
        )
        self._betas = _check_betas(betas)

    def build(self, model: nn.Module, parametrization: Parametrization = Standard()) -> torch.optim.Optimizer:  # noqa: B008 (no state)
        """A ``LionOptimizer``, one group for each role."""
        return LionOptimizer(self.build_groups(model, parametrization), betas=self._betas)


class ScheduleFree(OptimizerRecipe):
    """Schedule-free AdamW (Defazio et al. 2024): no falling learning rate; goes with the schedule ``Constant``.

    The mean of the weights is what is validated, saved for use and left at the end. Wants one to ten times AdamW's
    learning rate, and costs as much memory.

    Args:
        lr: Learning rate after the warm-up, which the schedule multiplies; 0 or more.
        betas: How near to the mean the gradient is taken, above 0 and below 1; and the decay of the running square of
            the gradient, from 0 to below 1.
        eps: Added to the root of the running square; 0 or more.
        weight_decay: Share of a matrix, times the learning rate, that each step takes away; biases and norms are
            spared.
        embedding_lr: Learning rate of the embeddings. None = lr.
        head_lr: That of a head that is not tied to the embedding. None = lr.
        vector_lr: That of biases, norms and other vectors. None = lr.
        adapter_lr: That of adapters (model.adaptation). None = lr.
        layer_decay: What multiplies the learning rate for every layer further from the head; above 0, at most 1.

    Raises:
        ConfigError: A value is out of range.
    """

    keeps_average = True

    def __init__(
        self,
        lr: float = 2.5e-3,
        betas: tuple[float, float] = (0.9, 0.95),
        eps: float = 1e-8,
        weight_decay: float = 0.1,
        embedding_lr: float | None = None,
        head_lr: float | None = None,
        vector_lr: float | None = None,
        adapter_lr: float | None = None,
        layer_decay: float = 1.0,
    ) -> None:
        super().__init__(
            lr=lr,
            embedding_lr=embedding_lr,
            head_lr=head_lr,
            vector_lr=vector_lr,
            adapter_lr=adapter_lr,
            weight_decay=weight_decay,
            layer_decay=layer_decay,
        )
        _check_sizes(eps=eps)
        if betas[0] <= 0:
            raise ConfigError("optimizer.betas leave no way to the mean", got=betas, allowed="the first above 0")
        self._betas, self._eps = _check_betas(betas), eps

    def build(self, model: nn.Module, parametrization: Parametrization = Standard()) -> torch.optim.Optimizer:  # noqa: B008 (no state)
        """A ``ScheduleFreeOptimizer``, one group for each role."""
        groups = self.build_groups(model, parametrization, self._eps)
        return ScheduleFreeOptimizer(groups, betas=self._betas, eps=self._eps)


def _find_stacks(model: nn.Module) -> dict[int, list[int]]:
    """Rows of the matrices that lie one above the other in a weight, by its identity, as the layers tell them."""
    return {
        id(getattr(module, name).weight): list(rows)
        for module in model.modules()
        for name, rows in getattr(module, "stacked_rows", {}).items()
    }


def _can_fuse(groups: Iterable[dict[str, Any]]) -> bool:
    return all(parameter.device.type in _FUSED_DEVICES for group in groups for parameter in group["params"])


def _check_sizes(**values: float | None) -> None:
    for name, value in values.items():
        if value is not None and not (value >= 0 and math.isfinite(value)):
            raise ConfigError(f"optimizer.{name} is negative or not finite", got=value, allowed="0 or more")


def _check_betas(betas: tuple[float, float]) -> tuple[float, float]:
    if not all(0 <= beta < 1 for beta in betas):
        raise ConfigError("optimizer.betas are out of range", got=betas, allowed="two numbers from 0 to below 1")
    return betas
