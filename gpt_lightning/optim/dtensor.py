"""Tensors spread over processes by rows (torch's ``DTensor``, as FSDP2 makes them): the local rows, and the whole."""

from __future__ import annotations

from typing import Any

from torch import Tensor


def is_share(tensor: Tensor) -> bool:
    """Whether other processes hold other rows of it."""
    # By name: importing the class takes half a second, and where it was never imported nothing is one.
    return type(tensor).__name__ == "DTensor"


def local_part(tensor: Any) -> Tensor:
    """The local rows, sharing memory; a tensor that is not spread is returned as it is."""
    local: Tensor = tensor.to_local() if is_share(tensor) else tensor
    return local


def gather(tensor: Any) -> Tensor:
    """The whole, on every process; all of them must ask."""
    whole: Tensor = tensor.full_tensor() if is_share(tensor) else tensor
    return whole


def local_rows(whole: Tensor, like: Any) -> Tensor:
    """The rows of ``whole`` that this process holds of ``like``."""
    mesh = like.device_mesh
    chunk = -(-whole.shape[0] // mesh.size())  # as torch.chunk: equal chunks and a rest
    return whole[mesh.get_local_rank() * chunk :][:chunk]
