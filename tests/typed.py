"""Commands as a person types them, without the seconds of importing that a new interpreter would take for each.

Every command is a fork of the server of ``tests.training.forked``, which has imported the training room: the program's
own ``main`` with its own standard output, error, environment and working folder. What an interpreter started from
nothing does, ``tests/test_cli.py`` tests.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from gpt_lightning.cli import main
from tests.training.forked import start_child


def type_command(arguments: Sequence[str], place: Path, **variables: str) -> subprocess.CompletedProcess[str]:
    """``gpt-lightning ARGUMENTS`` typed in the folder ``place``, with further environment variables."""
    return _finish(["gpt-lightning", *arguments], place, _run_main, list(arguments), variables)


def type_python(code: str, place: Path) -> subprocess.CompletedProcess[str]:
    """``python -c CODE`` typed in the folder ``place``."""
    return _finish(["python", "-c", code], place, _run_code, code, {})


def _finish(
    words: list[str], place: Path, body: Callable[..., None], what: object, variables: dict[str, str]
) -> subprocess.CompletedProcess[str]:
    process = start_child(place, body, what, variables, words)
    process.join(600)
    if process.exitcode is None:
        process.kill()
        raise AssertionError(f"{' '.join(words)} did not end")
    texts = [(place / name).read_text(encoding="utf-8") for name in (".stdout", ".stderr")]
    return subprocess.CompletedProcess(words, process.exitcode, *texts)


def _run_main(arguments: list[str], variables: dict[str, str], words: list[str]) -> None:
    _begin(variables, words)
    code = main(arguments)
    _end(code)


def _run_code(code: str, variables: dict[str, str], words: list[str]) -> None:
    _begin(variables, words[:1])
    exec(compile(code, "<typed>", "exec"), {"__name__": "__main__"})
    _end(0)


def _begin(variables: dict[str, str], words: list[str]) -> None:
    """Standard output and error into files of the working folder, also for what does not go through Python."""
    for descriptor, name in ((1, ".stdout"), (2, ".stderr")):
        file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(file, descriptor)
        os.close(file)
    os.environ |= variables
    sys.argv = words


def _end(code: int) -> None:
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)
