"""Preparing in a process of its own, so that a run can train on the first units meanwhile.

The process does what ``gpt-lightning prepare`` does: same lock, same journal, so whatever is killed goes on next time.
It ends when its stdin does, whatever happened to its parent, and it gives way to the parent's own work. It answers
once, with a pickle on stdout: done, or what went wrong.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import sys
import threading
import time
import traceback
from pathlib import Path
from types import FrameType

from gpt_lightning.data.prepare.pool import close_pipes, send, start_module
from gpt_lightning.data.prepare.prepare import PrepareSettings, find_or_prepare
from gpt_lightning.errors import DataError, UserError
from gpt_lightning.files.processes import KILL_SIGNAL, interrupt_main_thread, lower_priority

_PATIENCE_SECONDS = 5.0


class Preparation:
    """A store being made by another process, which this one started.

    Args:
        settings: What it is made of.
        store: Its folder; None = the one in the cache.
    """

    def __init__(self, settings: PrepareSettings, store: Path | str | None) -> None:
        self._process = start_module("gpt_lightning.data.live.background")
        self._ended = False
        self._answer: tuple[str, str] = ("killed", "")
        # Read as it comes: a process whose answer fills the pipe (64 KB) would wait for ever to end.
        self._ear = threading.Thread(target=self._listen, name="preparation", daemon=True)
        self._ear.start()
        send(self._process, (settings, store))

    def _listen(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(EOFError, pickle.UnpicklingError, ValueError, OSError):
            self._answer = pickle.load(self._process.stdout)

    def is_over(self) -> bool:
        """Whether the process has ended, after making the store.

        Raises:
            DataError: It failed; its message.
        """
        if self._ended:
            return True
        code = self._process.poll()
        if code is None:
            return False
        self.end()
        kind, text = self._answer
        if kind == "mistake":
            raise DataError(text.rstrip("."))
        if kind == "bug":
            raise RuntimeError(f"Preparing the data in the background failed:\n{text}")
        if kind == "killed":
            raise DataError(
                f"The process that prepares the data ended with code {code} before it was done"
                + (" (killed: most likely out of memory)" if code == -KILL_SIGNAL else ""),
                fix="Start the same run again, preparing goes on where it stopped.",
            )
        return True

    def end(self) -> None:
        """End the process; the units it finished stay finished."""
        if self._ended:
            return
        self._ended = True
        if self._process.poll() is None:
            self._process.terminate()
            with contextlib.suppress(Exception):
                self._process.wait(2 * _PATIENCE_SECONDS)
            self._process.kill()
        self._process.wait()
        self._ear.join()
        close_pipes(self._process)


def main() -> None:
    """Prepare what stdin asks for, until stdin ends."""
    # Ctrl-C reaches the whole process group: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _stop)
    lower_priority()
    # Whatever a library prints must not get into the answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        settings, store = pickle.load(sys.stdin.buffer)
    except EOFError:
        return
    threading.Thread(target=_watch, daemon=True).start()
    try:
        find_or_prepare(settings, store=store)
        answer = ("done", "")
    except UserError as error:
        answer = ("mistake", str(error))
    except Exception:
        answer = ("bug", traceback.format_exc())
    with contextlib.suppress(BrokenPipeError):
        pickle.dump(answer, answers)
        answers.close()
    # Not by returning: the watching thread holds stdin's lock, at which the interpreter would fail to close it.
    os._exit(0)


def _stop(number: int, frame: FrameType | None) -> None:
    # An exception, so that the workers are dismissed on the way out.
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    raise _Stopped


class _Stopped(BaseException):
    """The parent is gone, or has no use for the store any more."""


def _watch() -> None:
    """Wait for the end of stdin, which is the end of the parent."""
    sys.stdin.buffer.read()
    interrupt_main_thread(signal.SIGTERM)
    time.sleep(_PATIENCE_SECONDS)
    os._exit(1)


def _run() -> None:
    try:
        main()
    except _Stopped:
        os._exit(1)


if __name__ == "__main__":
    _run()
