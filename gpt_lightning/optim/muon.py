"""Muon: momentum, made orthogonal, for the matrices (Jordan et al. 2024), and Adam for everything else.

The update of a matrix is its momentum with all singular values set to about 1, so that every direction learns alike.
That is done by products alone, with a quintic Newton-Schulz iteration, and for all matrices of one shape at once:
many small products would leave the device idle. (torch.optim.Muon takes one matrix at a time.)
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor
from torch.optim.adamw import adamw

from gpt_lightning.optim.dtensor import gather, is_share, local_part, local_rows

_A, _B, _C = 3.4445, -4.7750, 2.0315
"""Jordan's coefficients: the steepest start, at the price of ending near 1 rather than at it."""
_TINY = 1e-7


def orthogonalize(
    matrices: Float[Tensor, "count rows cols"], num_iterations: int = 5
) -> Float[Tensor, "count rows cols"]:
    """Each matrix with its singular vectors, and with singular values near 1.

    X <- a X + b (X X') X + c (X X')^2 X, starting from X / |X|: each singular value s, relative to the Frobenius norm,
    goes through p(s) = a s + b s^3 + c s^5. Five times leave 0.68 to 1.21 of every s from 0.002 on (0.68 to 1.14 from
    0.01 on) and less of smaller ones, about 485 s; 0 stays 0. In bfloat16 on CUDA, where it is fast and enough, and
    adds its rounding; on the CPU bfloat16 is slower than float32.

    Args:
        matrices: Of one shape; the shorter side is multiplied out.
        num_iterations: More come no nearer to 1: the coefficients keep them moving between the bounds.
    """
    tall = matrices.shape[1] > matrices.shape[2]
    x = matrices.transpose(1, 2) if tall else matrices
    x = x.to(torch.bfloat16 if x.is_cuda else torch.promote_types(x.dtype, torch.float32))
    x = x / x.norm(dim=(1, 2), keepdim=True).clamp(min=_TINY)
    for _ in range(num_iterations):
        gram = torch.bmm(x, x.transpose(1, 2))
        x = torch.baddbmm(x, torch.baddbmm(gram, gram, gram, beta=_B, alpha=_C), x, beta=_A)
    return (x.transpose(1, 2) if tall else x).to(matrices.dtype)


class MuonOptimizer(torch.optim.Optimizer):
    """Muon for groups with ``orthogonal=True``, AdamW for the others; one object, one state.

    Args:
        groups: As ``groups.build_groups`` makes them. An orthogonal group holds matrices and has ``pieces``: for each,
            the rows of the matrices that lie in it one above the other (queries, keys and values are three).
        momentum: Share of the running mean that each step keeps, 0 to below 1.
        nesterov: Whether the gradient is mixed in once more.
        num_iterations: Newton-Schulz iterations.
        match_adam: Size of a step, for each of a matrix's pieces. False: sqrt(max(1, rows / cols)) (Jordan 2024). True:
            0.2 sqrt(max(rows, cols)), the root mean square of Adam's steps, so that its LR fits (Liu et al. 2025).
        betas: Adam's.
        eps: Adam's.
        fused: Whether one kernel updates all parameters of an Adam group.
    """

    def __init__(
        self,
        groups: Iterable[dict[str, Any]],
        *,
        momentum: float,
        nesterov: bool,
        num_iterations: int,
        match_adam: bool,
        betas: tuple[float, float],
        eps: float,
        fused: bool,
    ) -> None:
        defaults = {
            "lr": 0.0,
            "weight_decay": 0.0,
            "orthogonal": False,
            "pieces": [],
            "momentum": momentum,
            "nesterov": nesterov,
            "num_iterations": num_iterations,
            "match_adam": match_adam,
            "betas": betas,
            "eps": eps,
            "fused": fused,
        }
        super().__init__(list(groups), defaults)

    @torch.no_grad()
    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """One step; parameters without a gradient stay as they are."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        for group in self.param_groups:
            if group["orthogonal"]:
                self._step_orthogonal(group)
            else:
                self._step_adam(group)
        return loss

    def _step_orthogonal(self, group: dict[str, Any]) -> None:
        owners, buffers, pieces = [], [], []
        for parameter, rows in zip(group["params"], group["pieces"], strict=True):
            if parameter.grad is not None:
                state = self.state[parameter]
                if not state:
                    state["momentum"] = torch.zeros_like(parameter)
                owners.append(parameter)
                buffers.append(state["momentum"])
                pieces.append(rows)
        if not owners:
            return
        gradients = [parameter.grad for parameter in owners]
        torch._foreach_lerp_(buffers, gradients, 1 - group["momentum"])
        updates = list(torch._foreach_lerp(gradients, buffers, group["momentum"])) if group["nesterov"] else buffers
        if group["weight_decay"]:
            torch._foreach_mul_(owners, 1 - group["lr"] * group["weight_decay"])
        if is_share(owners[0]):
            self._add_shared(group, owners, updates, pieces)
        else:
            self._add(group, owners, updates, pieces)

    def _add_shared(
        self, group: dict[str, Any], owners: list[Tensor], updates: list[Tensor], pieces: list[list[int]]
    ) -> None:
        """Where every process holds some rows: each gathers the momenta and computes whole steps."""
        wholes = [gather(update) for update in updates]
        steps = [torch.zeros_like(whole) for whole in wholes]
        self._add(group, steps, wholes, pieces)
        for owner, step in zip(owners, steps, strict=True):
            local_part(owner).add_(local_rows(step, owner))

    def _add(self, group: dict[str, Any], owners: list[Tensor], updates: list[Tensor], pieces: list[list[int]]) -> None:
        for targets, sources in _sort_by_shape(owners, updates, pieces):
            rows, cols = targets[0].shape
            size = 0.2 * math.sqrt(max(rows, cols)) if group["match_adam"] else math.sqrt(max(1.0, rows / cols))
            steps = orthogonalize(torch.stack(sources), group["num_iterations"])
            torch._foreach_add_(targets, list(steps.unbind()), alpha=-group["lr"] * size)

    def _step_adam(self, group: dict[str, Any]) -> None:
        owners = [parameter for parameter in group["params"] if parameter.grad is not None]
        for parameter in owners:
            state = self.state[parameter]
            if not state:
                state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
                state["exp_avg"], state["exp_avg_sq"] = torch.zeros_like(parameter), torch.zeros_like(parameter)
        if not owners:
            return
        adamw(
            owners,
            [parameter.grad for parameter in owners if parameter.grad is not None],
            [self.state[parameter]["exp_avg"] for parameter in owners],
            [self.state[parameter]["exp_avg_sq"] for parameter in owners],
            [],
            [self.state[parameter]["step"] for parameter in owners],
            fused=group["fused"],
            foreach=not group["fused"],
            amsgrad=False,
            beta1=group["betas"][0],
            beta2=group["betas"][1],
            lr=group["lr"],
            weight_decay=group["weight_decay"],
            eps=group["eps"],
            maximize=False,
        )


def _sort_by_shape(
    owners: list[Tensor], updates: list[Tensor], pieces: list[list[int]]
) -> Iterable[tuple[list[Tensor], list[Tensor]]]:
    """Weights and updates, cut into their pieces, in lists of one shape each."""
    lists: dict[torch.Size, tuple[list[Tensor], list[Tensor]]] = {}
    for owner, update, rows in zip(owners, updates, pieces, strict=True):
        for target, source in zip(owner.split_with_sizes(rows), update.split_with_sizes(rows), strict=True):
            targets, sources = lists.setdefault(target.shape, ([], []))
            targets.append(target)
            sources.append(source)
    return lists.values()
