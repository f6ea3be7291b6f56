"""Commands that run beside a test, and waiting for what they do."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from gpt_lightning.parsing.trust import TRUST_VARIABLE

FOR_COMMANDS = {
    "PYTHONPATH": str(Path(__file__).parents[2]),
    TRUST_VARIABLE: "tests.tuning.saboteurs",
    "OMP_NUM_THREADS": "1",
}
"""Variables with which they find the saboteurs, and compute as the test does."""


def start(
    log: Path, *arguments: str, environment: Mapping[str, str] = os.environ, prefix: Sequence[str] = ()
) -> subprocess.Popen[bytes]:
    """Start a command of ours, perhaps through another one, which writes into ``log``."""
    command = [*prefix, sys.executable, "-m", "gpt_lightning", *arguments]
    with log.open("ab") as file:
        return subprocess.Popen(command, env={**environment, **FOR_COMMANDS}, stdout=file, stderr=file)


def wait_until(done: Callable[[], bool], process: subprocess.Popen[bytes], log: Path, seconds: float = 300.0) -> None:
    """Wait while ``process`` works on it; what it said is told when it ends before, or takes too long."""
    end = time.monotonic() + seconds
    while not done():
        if process.poll() is not None or time.monotonic() > end:
            raise AssertionError(f"exit code {process.poll()}: {log.read_text()[-3000:]}")
        time.sleep(0.1)


def has_content(path: Path) -> bool:
    """Whether a file is there, and something in it."""
    return path.exists() and path.stat().st_size > 0
