"""Chunks done by several processes at once, results in the order of the chunks.

Processes are started as ``python -m gpt_lightning.data.prepare.pool``: forking would copy a training process with its
threads and its CUDA, and ``multiprocessing`` would import the user's script once more in each of them. Such a process
receives a job and chunks on stdin and answers on stdout, both as pickles, and ends when its stdin does, whatever
happened to its parent.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import IO, Any

from gpt_lightning.data.prepare.chunks import Chunk
from gpt_lightning.data.prepare.tokenizing import ChunkResult, ChunkWorker, Job, Told
from gpt_lightning.errors import DataError
from gpt_lightning.files.processes import KILL_SIGNAL, count_cores

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
    worker: ChunkWorker | None = None
    while True:
        unit: Chunk = pickle.load(commands)
        try:
            worker = worker or ChunkWorker(job)
            result = worker.work(unit, voice.tell)
            voice.tell_rest()
            voice.send("done", result)
        except DataError as error:
            voice.send("mistake", str(error))
        except OSError as error:
            voice.send("disk", error.errno, error.strerror or str(error), error.filename)
        except Exception:
            voice.send("bug", traceback.format_exc())


Noted = Callable[[ChunkResult], None]


def start_module(name: str) -> subprocess.Popen[bytes]:
    """A process of its own for a module of ours, with pipes to its stdin and stdout."""
    root = str(Path(__file__).parents[3])
    path = os.pathsep.join([root, *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.Popen(
        [sys.executable, "-m", name],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": path},
    )


def send(process: subprocess.Popen[bytes], item: object) -> None:
    """Pickle something to the stdin of a process; if it has ended, reading its answer tells how."""
    assert process.stdin is not None
    try:
        pickle.dump(item, process.stdin)
        process.stdin.flush()
    except BrokenPipeError:
        return


def close_pipes(process: subprocess.Popen[bytes]) -> None:
    """Close both pipes, when no thread reads from them any more."""
    for pipe in (process.stdin, process.stdout):
        with contextlib.suppress(BrokenPipeError):
            if pipe is not None:
                pipe.close()


def process_chunks(
    job: Job, units: Sequence[Chunk], *, workers: int | None, note: Noted, tell: Told
) -> Generator[ChunkResult, None, None]:
    """Do units, in this process when there is one worker or one unit.

    Args:
        job: What to do.
        units: In order.
        workers: Processes at once; None = one for each processor.
        note: Called with each result as soon as it is there, in any order, one call at a time.
        tell: Progress, one call at a time.

    Yields:
        The results in the order of the units. Closing the iterator stops the work.

    Raises:
        DataError: A unit failed: the first in order, whichever failed first. Units done meanwhile are noted.
    """
    count = min(workers or count_cores(), len(units))
    if count > 1:
        yield from _do_apart(job, units, count, note, tell)
        return
    worker = ChunkWorker(job) if units else None
    for unit in units:
        assert worker is not None
        result = worker.work(unit, tell)
        note(result)
        yield result


def _do_apart(job: Job, units: Sequence[Chunk], count: int, note: Noted, tell: Told) -> Iterator[ChunkResult]:
    lock = threading.Lock()
    own = threading.local()
    members: list[_PoolWorker] = []
    over = threading.Event()

    def hire() -> None:
        own.member = _PoolWorker(job)
        with lock:
            members.append(own.member)
            if over.is_set():
                own.member.dismiss()  # or the end would wait for a unit that nobody wants

    def work(unit: Chunk) -> ChunkResult:
        member: _PoolWorker = own.member
        return member.work(unit, note, tell, lock)

    pool = ThreadPoolExecutor(count, initializer=hire)
    try:
        yield from pool.map(work, units)
    finally:
        with lock:
            over.set()
            for member in members:
                member.dismiss()
        pool.shutdown(wait=True, cancel_futures=True)
        for member in members:
            member.close()


class _PoolWorker:
    """One process."""

    def __init__(self, job: Job) -> None:
        self._process = start_module("gpt_lightning.data.prepare.pool")
        self._send(job)

    def _send(self, item: object) -> None:
        send(self._process, item)

    def work(self, unit: Chunk, note: Noted, tell: Told, lock: threading.Lock) -> ChunkResult:
        self._send(unit)
        while True:
            kind, *rest = self._receive()
            if kind == "progress":
                with lock:
                    tell(rest[0], rest[1])
            elif kind == "done":
                with lock:
                    note(rest[0])
                result: ChunkResult = rest[0]
                return result
            elif kind == "mistake":
                raise DataError(rest[0].rstrip("."))
            elif kind == "disk":
                raise OSError(*rest)
            else:
                raise RuntimeError(f"A worker failed:\n{rest[0]}")

    def _receive(self) -> tuple[Any, ...]:
        assert self._process.stdout is not None
        try:
            answer: tuple[Any, ...] = pickle.load(self._process.stdout)
        except (EOFError, pickle.UnpicklingError, ValueError):
            close_pipes(self._process)  # or it would wait for a reader, or for its next unit, and this process for it
            code = self._process.wait()
            raise DataError(
                f"A worker process ended with code {code} before its unit was done"
                + (" (killed: most likely out of memory)" if code == -KILL_SIGNAL else ""),
                fix="Run the same command again, it goes on where it stopped; with --workers 1 if memory is short.",
            ) from None
        return answer

    def dismiss(self) -> None:
        """End the process; what it was doing is done again next time."""
        self._process.kill()
        self._process.wait()

    def close(self) -> None:
        """Close the pipes, when no thread reads from them any more."""
        close_pipes(self._process)


if __name__ == "__main__":
    main()
