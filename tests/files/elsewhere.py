"""Another system, played on Linux: ``python -m tests.files.elsewhere win32|darwin`` prepares, trains and generates.

What the system does not have is taken away after the libraries are imported, which have their own ways there, and
before anything of ours is. Not played: paths with backslashes, files that cannot be deleted while they are open.
"""

from __future__ import annotations

import importlib
import io
import os
import pathlib
import shutil
import signal
import sys
import types
from typing import Any

LIBRARIES = (
    "torch",
    "lightning.pytorch",
    "torchmetrics",
    "tensorboard",
    "jsonargparse",
    "rich",
    "psutil",
    "tokenizers",
)
MODULES = {"darwin": (), "win32": ("fcntl", "resource", "termios", "tty", "pty", "pwd", "grp", "syslog")}
CALLS = {
    "darwin": ("sched_getaffinity", "posix_fadvise"),
    "win32": (
        *("sched_getaffinity", "posix_fadvise", "setsid", "killpg", "getpgid", "getpgrp", "setpgid", "nice", "sysconf"),
        *("getuid", "geteuid", "getloadavg", "mkfifo", "fork", "O_NOFOLLOW", "O_NONBLOCK", "O_CLOEXEC"),
    ),
}
SIGNALS = {"darwin": (), "win32": ("SIGUSR1", "SIGUSR2", "SIGKILL", "SIGSTOP", "SIGTSTP", "SIGCONT", "pthread_kill")}


def become(system: str) -> None:
    """Be another system from here on."""
    psutil: Any = importlib.import_module("psutil")  # first: the one for Linux needs what is taken away
    sys.modules.update(dict.fromkeys(MODULES[system], None))  # type: ignore[arg-type]  # makes an import fail
    for library in LIBRARIES:
        importlib.import_module(library)
    for owner, names in ((os, CALLS[system]), (signal, SIGNALS[system])):
        for name in names:
            if hasattr(owner, name):
                delattr(owner, name)
    psutil.LINUX = False
    signals: Any = importlib.import_module("lightning.pytorch.trainer.connectors.signal_connector")
    signals._IS_WINDOWS = system == "win32"
    if system == "win32":
        # Since Python 3.12 shutil.which asks Windows itself.
        vars(shutil)["_winapi"] = types.SimpleNamespace(NeedCurrentDirectoryForExePath=lambda name: True)
        signal.valid_signals = lambda: {signal.SIGINT, signal.SIGTERM, signal.SIGABRT}
    if system == "darwin":
        del psutil.Process.cpu_affinity
    _hide_proc()
    sys.platform = system


def _hide_proc() -> None:
    """No /proc for whoever opens files with pathlib, as all of ours do; psutil reads it with ``open``."""
    real = io.open

    def refuse(file: Any, *arguments: Any, **named: Any) -> Any:
        if isinstance(file, pathlib.Path) and file.parts[:2] == ("/", "proc"):
            raise FileNotFoundError(str(file))
        return real(file, *arguments, **named)

    io.open = refuse


def main(system: str) -> int:
    """Three commands, as a newcomer types them."""
    become(system)
    from gpt_lightning.cli import main as command

    pathlib.Path("text.txt").write_text("to be or not to be, that is the question. " * 200, encoding="utf-8")
    data = ["--data.source=text.txt", "--data.tokenizer=bytes"]
    model = [f"--model.config.{name}" for name in ("n_layer=1", "n_head=1", "n_embd=8")]
    small = ["--data.block_size=16", "--data.batch_size=2", "--trainer.max_steps=2", "--run.sample_tokens=0"]
    quiet = ["--trainer.accelerator=cpu", "--trainer.limit_val_batches=1", "--trainer.enable_progress_bar=false"]
    codes = [
        command(["prepare", "--source=text.txt", "--tokenizer=bytes"]),
        command(["fit", *data, *model, *small, *quiet, "--run.dir=run"]),
        command(["generate", "run", "--prompt=to be", "--max_tokens=4"]),
    ]
    return max(codes)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
