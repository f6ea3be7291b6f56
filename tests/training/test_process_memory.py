"""What a process takes, and what it keeps of what it had."""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import resource
from pathlib import Path

import pytest
import torch

from gpt_lightning.training.engine.process_memory import GrownMemory, free_memory, keep_freed_memory
from tests.training.forked import run_child

_CPU = torch.device("cpu")
_CHOICES = ("MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_", "MALLOC_MMAP_MAX_", "GLIBC_TUNABLES")


def test_memory_that_work_takes_is_seen() -> None:
    # Asked of the kernel itself: the C library may have kept some that earlier tests freed.
    with GrownMemory(_CPU) as grown, mmap.mmap(-1, 200 * 2**20) as block:
        block[:: mmap.PAGESIZE] = b"1" * (len(block) // mmap.PAGESIZE)
    if grown.num_bytes:  # 0 where the kernel does not let itself be asked
        assert grown.num_bytes == pytest.approx(200 * 2**20, rel=0.1)
    assert free_memory(_CPU) > 2**20


def _count_faults(kept: bool) -> None:
    for name in _CHOICES:
        os.environ.pop(name, None)
    assert not kept or keep_freed_memory(_CPU)
    faults = []
    for _ in range(10):
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
        torch.ones(16 * 2**20)
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
    # Not from the first time on: something small may sit down in the gap.
    assert (min(faults) < 16 * 2**20 * 4 // resource.getpagesize() / 10) is kept


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="asks glibc")
@pytest.mark.parametrize("kept", [True, False])
def test_freed_memory_is_not_asked_for_again(tmp_path: Path, kept: bool) -> None:
    """In a process of its own: glibc moves a thread that was once refused memory, as in tests, to smaller arenas."""
    assert run_child(tmp_path, _count_faults, kept) == 0


def test_nothing_is_changed_where_somebody_chose_or_it_would_not_help(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in _CHOICES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(ctypes, "CDLL", lambda _: pytest.fail("the C library was asked"))
    assert not keep_freed_memory(torch.device("cuda"))
    for name in _CHOICES:
        with monkeypatch.context() as patch:
            patch.setenv(name, "1")
            assert not keep_freed_memory(_CPU)
