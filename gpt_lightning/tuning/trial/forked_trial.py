"""What the server of forked trials imports: everything that a trial needs, read and parsed once.

The body of a forked trial; apart from ``child``, so that the supervisor can name it without importing Lightning.
"""

from __future__ import annotations

import gc
import os
from pathlib import Path

from gpt_lightning.files.processes import lead_session
from gpt_lightning.tuning.trial.child import warm_up
from gpt_lightning.tuning.trial.mailbox import OUTPUT_FILE

warm_up()
# What is here lives as long as the server: collections in a trial need not go through it, and the pages stay shared.
gc.collect()
gc.freeze()


def run_forked(folder: str, start: str, environment: dict[str, str]) -> None:
    """Leave the supervisor's session and terminal, then train the trial in ``folder``.

    Args:
        folder: Of the trial.
        start: Mark of this start.
        environment: Of the supervisor: the server keeps what it was started with, perhaps long ago and for others.
    """
    lead_session()
    os.environ.clear()
    os.environ.update(environment)
    output = os.open(Path(folder) / OUTPUT_FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.dup2(output, 1)
    os.dup2(output, 2)
    from gpt_lightning.tuning.trial.child import run_trial

    run_trial(Path(folder), start, forked=True)
