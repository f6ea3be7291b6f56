"""How a start ended, in the manifest: finished, stopped or failed. One without such a record was killed.

Written when everything else is done, and durably: what a list of runs says of this run has no other source. A process
killed by SIGKILL or a power cut writes nothing, so "no end, and nobody holds the lock" means crashed.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gpt_lightning.errors import EndedEarly, StopRequested
from gpt_lightning.training.run_folder import write_end

log = logging.getLogger("gpt_lightning")
_MOST_LETTERS = 400


@dataclass(frozen=True)
class End:
    """How a start ended.

    Attributes:
        state: finished (training returned, at its last step or where a callback ended it), stopped (a signal, and the
            state is saved, or Ctrl-C), failed (an error).
        reason: One line; empty for a run that reached its last step.
        step: Optimizer steps done.
        total_steps: Steps of the whole run.
        seconds: From the lock on to here.
    """

    state: str
    reason: str
    step: int
    total_steps: int
    seconds: float


@contextmanager
def end_recorded(folder: Path, *, step: Callable[[], int], total_steps: int, active: bool = True) -> Iterator[None]:
    """Record in the manifest of ``folder`` how the body ends, whatever it raises; that goes on its way.

    Args:
        folder: A run folder whose manifest has this start.
        step: Optimizer steps done, asked at the end.
        total_steps: Steps of the whole run.
        active: Whether this process is the one that writes.
    """
    started = time.monotonic()
    state, reason = "failed", "ended without an error that could be named"
    try:
        yield
        done = step()
        state = "finished"
        reason = "" if done >= total_steps else f"ended early, at step {done} of {total_steps}"
    except EndedEarly as end:
        state, reason = "finished", f"ended early, at step {step()} of {total_steps}: {end}"
        raise
    except (StopRequested, KeyboardInterrupt) as stop:
        state, reason = "stopped", str(stop) or "interrupted"
        raise
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        raise
    finally:
        if active:
            _write(folder, End(state, _one_line(reason), step(), total_steps, round(time.monotonic() - started, 3)))


def _write(folder: Path, end: End) -> None:
    try:
        write_end(folder, vars(end))
    except (OSError, ValueError, LookupError) as error:
        # A full disk must not hide why the run ended.
        log.warning("how the run ended could not be written: %s", error)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_LETTERS else f"{line[: _MOST_LETTERS - 1]}…"
