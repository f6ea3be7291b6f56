"""A training loop in a process of its own, as its users run it: with its own heap, and nothing set by us."""

from __future__ import annotations

import multiprocessing
import time
from collections.abc import Callable
from multiprocessing.connection import Connection

from tests.bench.turns import Loop


class Apart:
    """Made and stepped in another process, which sleeps between its turns.

    Args:
        make: Makes the loop, over there; picklable.
    """

    def __init__(self, make: Callable[[], Loop]) -> None:
        context = multiprocessing.get_context("spawn")
        self._line, theirs = context.Pipe()
        self._process = context.Process(target=_serve, args=(theirs, make), daemon=True)
        self._process.start()
        theirs.close()

    def time(self, steps: int) -> list[float]:
        """Take so many steps; seconds of each, by the other process's clock."""
        self._line.send(steps)
        seconds: list[float] = self._line.recv()
        return seconds

    def close(self) -> None:
        """End the process."""
        self._line.close()
        self._process.join()


def _serve(line: Connection, make: Callable[[], Loop]) -> None:
    loop = make()
    while True:
        try:
            steps = line.recv()
        except EOFError:
            return
        seconds = []
        for _ in range(steps):
            start = time.perf_counter()
            loop.step()
            seconds.append(time.perf_counter() - start)
        line.send(seconds)
