"""Moves an alias under every fault: one process without torch, a fork of it for each point.

python -m tests.registry.moving PLACE VERSION KIND ...     PLACE/before holds a registered model; KIND-N are made of it
"""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

from gpt_lightning.errors import MachineError
from gpt_lightning.registry.history import promote
from tests.faults import Fault, install


def _promote(folder: Path, version: str, fault: Fault) -> int:
    """In a fork: its exit status; a death by signal is negative."""
    pid = os.fork()
    if pid == 0:
        injector = install(fault, folder)
        try:
            promote(folder, version, "production", who="ada", why="test", force=True)
            os._exit(injector.count)
        except MachineError:
            os._exit(200)
        finally:
            os._exit(201)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def main(place: Path, version: str, kinds: list[str]) -> None:
    """A copy of the model for each kind and each call."""
    shutil.copytree(place / "before", place / "count")
    calls = _promote(place / "count", version, Fault("EIO", 0))
    assert calls < 200, calls
    for kind in kinds:
        for at in range(1, calls + 1):
            folder = place / f"{kind}-{at}"
            shutil.copytree(place / "before", folder)
            code = _promote(folder, version, Fault(kind, at))
            assert code in {"SIGKILL": (-9,)}.get(kind, (200, calls)), (kind, at, code)
    sys.stdout.write(f"{calls}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], sys.argv[3:])
