"""Lion: the sign of a momentum (Chen et al. 2023). Half of Adam's state, and every step has the same size."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch


class LionOptimizer(torch.optim.Optimizer):
    """w <- w - lr (sign(b1 m + (1 - b1) g) + decay w), then m <- b2 m + (1 - b2) g.

    Args:
        groups: As ``groups.build_groups`` makes them.
        betas: b1 and b2, each from 0 to below 1.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, betas: tuple[float, float]) -> None:
        super().__init__(list(groups), {"lr": 0.0, "weight_decay": 0.0, "betas": betas})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            owners = [parameter for parameter in group["params"] if parameter.grad is not None]
            if not owners:
                continue
            for parameter in owners:
                if not self.state[parameter]:
                    self.state[parameter]["momentum"] = torch.zeros_like(parameter)
            momenta = [self.state[parameter]["momentum"] for parameter in owners]
            gradients = [parameter.grad for parameter in owners]
            first, second = group["betas"]
            signs = torch._foreach_sign(torch._foreach_lerp(momenta, gradients, 1 - first))
            torch._foreach_mul_(owners, 1 - group["lr"] * group["weight_decay"])
            torch._foreach_add_(owners, signs, alpha=-group["lr"])
            torch._foreach_lerp_(momenta, gradients, 1 - second)
        return loss
