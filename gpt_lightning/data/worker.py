"""The other side of ``crew``: a process that receives a job and units on stdin and answers on stdout.

Both directions are pickles, between a process and the child it started itself. The process ends when its stdin does,
whatever happened to its parent.
"""

from __future__ import annotations

import os
import pickle
import signal
import sys
import time
import traceback
from typing import IO, Any

from gpt_lightning.data.tokenizing import Job, UnitWorker
from gpt_lightning.data.work_units import Unit
from gpt_lightning.errors import DataError

_TELL_SECONDS = 0.2


class _Voice:
    """Sends answers; progress is gathered, or the pipe would cost more than small documents do."""

    def __init__(self, out: IO[bytes]) -> None:
        self._out = out
        self._bytes = self._tokens = 0
        self._told = time.monotonic()

    def send(self, *answer: Any) -> None:
        pickle.dump(answer, self._out)
        self._out.flush()

    def tell(self, num_bytes: int, num_tokens: int) -> None:
        self._bytes += num_bytes
        self._tokens += num_tokens
        if time.monotonic() - self._told > _TELL_SECONDS:
            self.tell_rest()

    def tell_rest(self) -> None:
        self.send("progress", self._bytes, self._tokens)
        self._bytes = self._tokens = 0
        self._told = time.monotonic()


def main() -> None:
    """Work until stdin ends."""
    # Ctrl-C reaches the whole process group: the parent decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # Whatever a library prints must not get between the pickles.
    voice = _Voice(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    commands = sys.stdin.buffer
    try:
        _serve(commands, voice)
    except (EOFError, BrokenPipeError):
        return


def _serve(commands: IO[bytes], voice: _Voice) -> None:
    job: Job = pickle.load(commands)
    worker: UnitWorker | None = None
    while True:
        unit: Unit = pickle.load(commands)
        try:
            worker = worker or UnitWorker(job)
            result = worker.work(unit, voice.tell)
            voice.tell_rest()
            voice.send("done", result)
        except DataError as error:
            voice.send("mistake", str(error))
        except OSError as error:
            voice.send("disk", error.errno, error.strerror or str(error), error.filename)
        except Exception:
            voice.send("bug", traceback.format_exc())


if __name__ == "__main__":
    main()
