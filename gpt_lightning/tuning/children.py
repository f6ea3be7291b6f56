"""Starting a trial's process: forked from a warm server, or an interpreter of its own.

A fork costs a tenth of a second instead of ten, and shares nothing with other trials: what a trial leaks, allocates or
crashes is gone with it. Trials on several devices get an interpreter, because Lightning starts the other processes by
running the same program again. Neither belongs to the terminal's process group, so that Ctrl-C reaches the supervisor
alone, which then asks the trial to save.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from gpt_lightning.tuning.forked_trial import run_forked
from gpt_lightning.tuning.mailbox import OUTPUT_FILE


class Child(ABC):
    """A running trial."""

    @property
    @abstractmethod
    def pid(self) -> int:
        """Process number; also that of its process group, once it has begun."""

    @abstractmethod
    def poll(self) -> int | None:
        """Exit code, negative for a signal; None while it runs."""

    def ask_to_stop(self) -> None:
        """Ask to save and end."""
        _send(os.kill, self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything it started."""
        _send(os.kill, self.pid, signal.SIGKILL)
        _send(os.killpg, self.pid, signal.SIGKILL)


class ForkedChild(Child):
    """Forked from the server."""

    def __init__(self, folder: Path) -> None:
        context = multiprocessing.get_context("forkserver")
        self._process: BaseProcess = context.Process(target=run_forked, args=(str(folder), dict(os.environ)))
        with _main_module_hidden():
            self._process.start()

    @property
    def pid(self) -> int:
        """Process number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code."""
        return self._process.exitcode


class OwnChild(Child):
    """An interpreter of its own."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "gpt_lightning.tuning.child", str(folder)]
        with (folder / OUTPUT_FILE).open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**os.environ, **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code."""
        return self._process.poll()


def prepare_server() -> None:
    """Say what the server imports; it starts with the first trial."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["gpt_lightning.tuning.preload"])


@contextmanager
def _main_module_hidden() -> Iterator[None]:
    """The trial must not run the caller's script again, as multiprocessing would to find functions in it."""
    main = vars(sys.modules["__main__"])
    kept: dict[str, Any] = {name: main.pop(name) for name in ("__file__", "__spec__") if name in main}
    main["__spec__"] = None
    try:
        yield
    finally:
        main.update(kept)


def _send(function: object, pid: int, number: signal.Signals) -> None:
    assert callable(function)
    with contextlib.suppress(ProcessLookupError, PermissionError):
        function(pid, number)
