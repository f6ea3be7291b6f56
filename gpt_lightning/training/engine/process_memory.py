"""Memory of a device and of this process: what is free, and how much some work took at most."""

from __future__ import annotations

import ctypes
import os
import sys
from types import TracebackType

import torch

from gpt_lightning.files.processes import ResidentPeak, available_bytes, total_bytes

_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4
"""mallopt(3)."""
_CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def free_memory(device: torch.device) -> int:
    """Bytes that a run on ``device`` could still take; 0 = unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    return available_bytes()


def total_memory(device: torch.device) -> int:
    """Bytes that ``device`` has, whoever uses them now; 0 = unknown."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[1]
    return total_bytes() if device.type == "cpu" else 0


def keep_freed_memory(device: torch.device) -> bool:
    """Let this process keep the memory of tensors it has freed, for the next ones; the kernel gets it at the end.

    By default glibc returns what is larger than 32 MB at once, and the kernel clears every page of the next tensor
    again: at GPT-2 124M on two cores that was a tenth of a step. Nothing is changed where tensors live on another
    device, on another C library, or where the environment already chooses (mallopt(3)).

    Args:
        device: Where the tensors are.

    Returns:
        Whether it will.
    """
    if device.type != "cpu" or sys.platform != "linux" or any(name in os.environ for name in _CHOICES):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    # Before glibc 2.35 a threshold above 32 MB is refused, but not the order to do without mapped blocks.
    return bool((mallopt(_MMAP_THRESHOLD, 1 << 30) or mallopt(_MMAP_MAX, 0)) and mallopt(_TRIM_THRESHOLD, -1))


class GrownMemory:
    """How much more memory the body takes at its worst moment than before it; ``num_bytes`` afterwards, 0 = unknown.

    On CUDA what its allocator hands out; elsewhere the resident memory of this process, whose highest value the kernel
    is asked to forget first. That one counts code that is loaded for the first time too, some ten MB, and not what the
    process had kept of earlier work (``keep_freed_memory``).
    """

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._before = 0
        self._peak: ResidentPeak | None = None
        self.num_bytes = 0

    def __enter__(self) -> GrownMemory:
        """Note what is in use."""
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
            self._before = torch.cuda.memory_allocated(self._device)
        elif self._device.type == "cpu":
            self._peak = ResidentPeak()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Compare with the highest value since."""
        if self._device.type == "cuda":
            self.num_bytes = torch.cuda.max_memory_allocated(self._device) - self._before
        elif self._peak is not None:
            self.num_bytes = self._peak.grown_bytes()
