"""One worker for each slot of a machine, whoever started it: the launcher now, one that died before, or a person.

The lock is an ``flock``, which the kernel drops when its holder dies; the file says who holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
from pathlib import Path
from typing import IO

from gpt_lightning.errors import RunFolderError
from gpt_lightning.tuning.process_identity import ProcessIdentity
from gpt_lightning.tuning.sweep_folder import SweepFolder


def _path(folder: SweepFolder, index: int) -> Path:
    return folder.logs / f"slot-{socket.gethostname()}-{index}.lock"


def hold_slot(folder: SweepFolder, index: int) -> IO[str]:
    """Take a slot until the file that is returned is closed or the process ends.

    Raises:
        RunFolderError: Another worker has it.
    """
    file = _path(folder, index).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as problem:
        file.close()
        raise RunFolderError(
            f"Slot {index} of {folder.path} has a worker already", fix="Leave out --slot, or take another number."
        ) from problem
    file.truncate(0)
    file.write(json.dumps(ProcessIdentity.of(os.getpid()).plain()))
    file.flush()
    return file


def holder(folder: SweepFolder, index: int) -> ProcessIdentity | None:
    """The worker of a slot; None when it is free."""
    try:
        file = _path(folder, index).open("r", encoding="utf-8")
    except FileNotFoundError:
        return None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            content = file.read()
            return ProcessIdentity(**json.loads(content)) if content else ProcessIdentity.of(os.getpid())
    return None
