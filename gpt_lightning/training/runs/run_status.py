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

from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import EarlyStopping, Timer

from gpt_lightning.errors import EndedEarly, StopRequested, UserError
from gpt_lightning.training.runs.run_folder import write_end

log = logging.getLogger("gpt_lightning")
_MOST_LETTERS = 400


@dataclass(frozen=True)
class End:
    """How a start ended.

    Attributes:
        state: finished (training returned, at its last step or where a callback ended it), stopped (a signal or a time
            limit, and the state is saved), failed (an error).
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


@dataclass(frozen=True)
class EarlyEnd:
    """Why training returned before its last step.

    Attributes:
        reason: A clause.
        state: As of an ``End``.
        fix: What to do to go on; empty where nobody may want to.
    """

    reason: str
    state: str = "finished"
    fix: str = ""


def explain_early_end(trainer: Trainer, max_time: object) -> EarlyEnd:
    """Who ended training before its last step.

    Args:
        trainer: That returned.
        max_time: ``trainer.max_time`` as it was typed.
    """
    for callback in vars(trainer)["callbacks"]:
        if isinstance(callback, Timer) and (callback.time_remaining() or 0) <= 0:
            limit = "a Timer's limit" if max_time is None else f"trainer.max_time {max_time}"
            return EarlyEnd(
                f"{limit} is over, which counts all starts of the run",
                state="stopped",
                fix="Set a longer --trainer.max_time, or null.",
            )
        if isinstance(callback, EarlyStopping) and callback.stopping_reason_message:
            return EarlyEnd(f"EarlyStopping: {' '.join(callback.stopping_reason_message.split())}")
    return EarlyEnd("a callback set trainer.should_stop", fix="Change or leave out that callback.")


@contextmanager
def end_recorded(
    folder: Path,
    *,
    step: Callable[[], int],
    total_steps: int,
    active: bool = True,
    why: Callable[[], EarlyEnd] = lambda: EarlyEnd(""),
) -> Iterator[None]:
    """Record in the manifest of ``folder`` how the body ends, whatever it raises; that goes on its way.

    Args:
        folder: A run folder whose manifest has this start.
        step: Optimizer steps done, asked at the end.
        total_steps: Steps of the whole run.
        active: Whether this process is the one that writes.
        why: Asked where the body returns before its last step.
    """
    started = time.monotonic()
    state, reason = "failed", "ended without an error that could be named"
    try:
        yield
        done = step()
        early = EarlyEnd("") if done >= total_steps else why()
        state = early.state
        reason = (
            "" if done >= total_steps else f"ended early, at step {done} of {total_steps}: {early.reason}".rstrip(": ")
        )
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
    except (OSError, LookupError, UserError) as error:
        # A full disk must not hide why the run ended.
        log.warning("how the run ended could not be written: %s", error)


def _one_line(text: str) -> str:
    line = " ".join(text.split())
    return line if len(line) <= _MOST_LETTERS else f"{line[: _MOST_LETTERS - 1]}…"
