"""Clipping by the global norm of the gradient (Pascanu et al. 2013), without waiting for the device."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import torch
from jaxtyping import Float
from torch import Tensor

from gpt_lightning.errors import ConfigError
from gpt_lightning.optim.dtensor import local_part


def measure_gradients(parameters: list[Tensor]) -> Float[Tensor, ""]:
    """L2 norm of the gradients, of which there is at least one."""
    return measure_norm([parameter.grad for parameter in parameters if parameter.grad is not None])


def clip_gradients(
    parameters: Iterable[Tensor],
    max_norm: float | None,
    measure: Callable[[list[Tensor]], Tensor] = measure_gradients,
    scale: Float[Tensor, ""] | None = None,
) -> Float[Tensor, ""]:
    """Scale all gradients down, in place, so that their joint L2 norm is at most ``max_norm``.

    Works on the gradients alone, so any optimizer can follow, fused ones too. The result stays on the device: reading
    it every step would make the device wait.

    Args:
        parameters: Those without a gradient are passed over.
        max_norm: Positive; None = measure only.
        measure: Tells the norm; another one where gradients are spread over processes.
        scale: What the gradients are multiplied by before they count, in the same pass; None = 1.

    Returns:
        The norm of the scaled gradients before clipping, in at least float32; 0 where there is no gradient. Not finite
        when a gradient is not.

    Raises:
        ConfigError: ``max_norm`` is not positive.
    """
    if max_norm is not None and not max_norm > 0:
        raise ConfigError("the gradient's largest norm is not positive", got=max_norm, allowed="above 0, or none")
    owners = [parameter for parameter in parameters if parameter.grad is not None]
    norm = measure(owners)
    factor = None if scale is None else scale.to(norm)
    if factor is not None:
        norm = norm * factor
    # Elsewhere the gradients are multiplied even by 1, because looking at the norm would make the device wait; here
    # looking is free, and multiplying is not.
    on_cpu = norm.device.type == "cpu"
    if factor is not None and on_cpu and factor == 1:
        factor = None
    if max_norm is not None and not (on_cpu and norm <= max_norm):
        # What torch.nn.utils.clip_grads_with_norm_ does; that one asks shares for a norm that is one of them.
        shrunk = torch.clamp(max_norm / (norm + 1e-6), max=1.0)
        factor = shrunk if factor is None else factor * shrunk
    if factor is not None and owners:
        torch._foreach_mul_([local_part(parameter.grad) for parameter in owners], factor)
    return norm


@torch.no_grad()
def measure_norm(gradients: list[Tensor]) -> Float[Tensor, ""]:
    """L2 norm of all numbers in all tensors together, in at least float32."""
    if not gradients:
        return torch.zeros(())
    if all(gradient.dtype in (torch.float32, torch.float64) for gradient in gradients):
        total: Tensor = torch.nn.utils.get_total_norm(gradients)
        return total
    # torch would round each tensor's norm to the gradient's own type: bfloat16 keeps under three digits.
    norms = [torch.linalg.vector_norm(gradient, dtype=torch.float32).to(gradients[0].device) for gradient in gradients]
    joint: Tensor = torch.linalg.vector_norm(torch.stack(norms))
    return joint
