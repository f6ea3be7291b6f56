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
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from gpt_lightning.files.processes import ProcessIdentity, has_group, kill_group, kill_with_children
from gpt_lightning.tuning.trial.forked_trial import run_forked
from gpt_lightning.tuning.trial.mailbox import OUTPUT_FILE

_PAUSE_SECONDS = 0.02
_SERVER_KILLED = 255
"""What multiprocessing returns for a process whose server is gone."""


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
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(self.pid, signal.SIGTERM)

    def kill(self) -> None:
        """End it and everything it started."""
        kill_with_children(self.pid)

    def end_rest(self, seconds: float) -> None:
        """End the processes that it has started and that have outlived it, each of which may hold a device.

        Args:
            seconds: How long they may take to end by themselves.
        """
        end = time.monotonic() + seconds
        while has_group(self.pid) and time.monotonic() < end:
            time.sleep(_PAUSE_SECONDS)
        kill_group(self.pid)


class ForkedChild(Child):
    """Forked from the server.

    Raises:
        OSError: The server died in the middle of it; perhaps the trial runs, and ends when its start is not the last.
    """

    def __init__(self, folder: Path, start: str) -> None:
        context = multiprocessing.get_context("forkserver")
        arguments = (str(folder), start, environment_of_trials())
        self._process: BaseProcess = context.Process(target=run_forked, args=arguments)
        try:
            with _main_module_hidden():
                self._process.start()
        except EOFError as problem:
            raise OSError("the server of forked trials was killed") from problem
        self._identity = ProcessIdentity.of(self.pid)

    @property
    def pid(self) -> int:
        """Process number."""
        assert self._process.pid is not None
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code; that of a trial whose server was killed is unknown."""
        code = self._process.exitcode
        if code == _SERVER_KILLED and self._identity.alive():
            return None  # the server is dead, the trial is not: it goes on, and its last words say how it ended
        return code


class OwnChild(Child):
    """An interpreter of its own."""

    def __init__(self, folder: Path, start: str, environment: dict[str, str]) -> None:
        command = [sys.executable, "-m", "gpt_lightning.tuning.trial.child", str(folder), start]
        with (folder / OUTPUT_FILE).open("ab") as output:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                env={**environment_of_trials(), **environment},
                start_new_session=True,
            )

    @property
    def pid(self) -> int:
        """Process number."""
        return self._process.pid

    def poll(self) -> int | None:
        """Exit code."""
        return self._process.poll()


def environment_of_trials() -> dict[str, str]:
    """Of this process, without SLURM's: the job is the worker's, and Lightning would expect processes of srun."""
    return {name: value for name, value in os.environ.items() if not name.startswith("SLURM_")}


def prepare_server() -> None:
    """Say what the server imports; it starts with the first trial."""
    multiprocessing.get_context("forkserver").set_forkserver_preload(["gpt_lightning.tuning.trial.forked_trial"])


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
