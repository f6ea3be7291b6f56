"""Schedule-free AdamW (Defazio et al. 2024, "The Road Less Scheduled"): averaging takes the place of a falling rate.

Three points: z takes the steps, x is the weighted mean of all z, and the gradient is taken at y between them::

    y = (1 - b1) z + b1 x
    z <- z - lr (g / (sqrt(v) + eps) + decay y)          v: Adam's running square with bias correction
    x <- (1 - c) x + c z                                 c = w_t / (w_1 + ... + w_t), w = (largest lr so far)^2

The parameters hold y; z is in the state, and x follows from both. x is what is validated and used. Written here and
not taken from the ``schedulefree`` package: that one switches its weights by ``optimizer.train()`` and ``eval()``, so
that what a checkpoint holds depends on when it is written, and counts a step whose gradients were taken away.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor


class ScheduleFreeOptimizer(torch.optim.Optimizer):
    """AdamW at y, with z beside it.

    Args:
        groups: As ``groups.build_groups`` makes them.
        betas: b1, above 0, and the decay of the running square, each below 1.
        eps: Added to the root of the running square.
    """

    def __init__(self, groups: Iterable[dict[str, Any]], *, betas: tuple[float, float], eps: float) -> None:
        defaults = {"lr": 0.0, "weight_decay": 0.0, "betas": betas, "eps": eps}
        super().__init__(list(groups), {**defaults, "steps": 0, "largest_lr": 0.0, "weight_sum": 0.0})

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            owners = [parameter for parameter in group["params"] if parameter.grad is not None]
            if owners:
                self._step_group(group, owners)
        return loss

    def _step_group(self, group: dict[str, Any], points: list[Tensor]) -> None:
        for point in points:
            if not self.state[point]:
                self.state[point] = {"base": point.clone(), "square": torch.zeros_like(point)}
        bases, squares = ([self.state[point][name] for point in points] for name in ("base", "square"))
        gradients = [point.grad for point in points if point.grad is not None]
        lr, (first, second) = group["lr"], group["betas"]
        group["steps"] += 1
        group["largest_lr"] = max(group["largest_lr"], lr)
        weight = group["largest_lr"] ** 2
        group["weight_sum"] += weight
        share = weight / group["weight_sum"] if weight else 0.0
        torch._foreach_mul_(squares, second)
        torch._foreach_addcmul_(squares, gradients, gradients, 1 - second)
        roots = list(torch._foreach_sqrt(torch._foreach_div(squares, 1 - second ** group["steps"])))
        torch._foreach_add_(roots, group["eps"])
        updates = torch._foreach_div(gradients, roots)
        torch._foreach_add_(updates, points, alpha=group["weight_decay"])
        # The three lines of the formula with x eliminated, so that no third copy of the weights is needed.
        torch._foreach_lerp_(points, bases, share)
        torch._foreach_add_(points, updates, alpha=lr * (first * (1 - share) - 1))
        torch._foreach_add_(bases, updates, alpha=-lr)

    @torch.no_grad()
    def average(self, parameter: Tensor) -> Tensor:
        """The x of one parameter: the weights to use."""
        group = next(group for group in self.param_groups if any(parameter is owner for owner in group["params"]))
        state = self.state.get(parameter)
        return torch.lerp(parameter, state["base"], 1 - 1 / group["betas"][0]) if state else parameter.clone()
