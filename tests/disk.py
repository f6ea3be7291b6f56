"""Disks of tests: they do not wait for one.

What ``fsync`` protects from is a power cut, which no test can bring about: what a killed process has written is there.
Two hundred runs with sixty calls each would wait for half a minute. Tests that die inside a call replace it themselves.
"""

from __future__ import annotations

import importlib.metadata
import os
from functools import cache


def never_wait() -> None:
    """Make ``os.fsync`` of this process, and of those forked from it, return at once.

    And every Trainer after the first knows what packages are installed: Lightning would read the facts of each again.
    """
    vars(os)["fsync"] = _return
    vars(importlib.metadata)["entry_points"] = cache(importlib.metadata.entry_points)


def _return(descriptor: int, /) -> None:
    os.fstat(descriptor)  # a closed file is an error all the same
