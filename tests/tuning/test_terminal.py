"""Sweeps as a person runs them: a terminal, Ctrl-C, the same command once more; and the dashboard."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from gpt_lightning.errors import ConfigError
from gpt_lightning.tuning.commands import sweep_command
from gpt_lightning.tuning.study.sweep import open_sweep
from gpt_lightning.tuning.study.sweep_folder import SweepFolder
from tests.tuning.saboteurs import sabotage
from tests.tuning.sweeping import bare_sweep, pretend, write_sweep
from tests.tuning.watching import FOR_COMMANDS, start, wait_until

_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, value in FOR_COMMANDS.items():
        monkeypatch.setenv(name, value)


def on_terminal(command: list[str], interrupt_when: str, seconds: float = 300.0) -> tuple[int, str]:
    """Run a command on a terminal of 100 x 30, type Ctrl-C once the text appears; exit code and everything written."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execv(command[0], command)
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
    written, end, typed = b"", time.monotonic() + seconds, False
    while True:
        if time.monotonic() > end:
            os.kill(pid, signal.SIGKILL)
            raise AssertionError(written.decode(errors="replace")[-3000:])
        if not select.select([terminal], [], [], 0.5)[0]:
            continue
        try:
            part = os.read(terminal, 65536)
        except OSError:
            break
        written += part
        if not typed and interrupt_when in _ESCAPES.sub("", written.decode(errors="replace")):
            os.write(terminal, b"\x03")
            typed = True
    os.close(terminal)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), written.decode()


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_ctrl_c_saves_and_the_same_command_finishes(tmp_path: Path) -> None:
    space = {"model.optimizer.lr": {"values": [1e-3, 1e-2]}, "trainer.callbacks": {"values": [sabotage("slow")]}}
    derive = {"trainer.max_steps": 16}
    file = write_sweep(tmp_path, {"method": "grid", "parameters": space, "derive": derive, "launcher": {"workers": 1}})
    command = [sys.executable, "-m", "gpt_lightning", "sweep", "run", file.name]
    code, written = on_terminal(command, interrupt_when="25%")
    (tmp_path / "terminal.txt").write_text(written)
    assert code == 130, written[-3000:]
    shown = _ESCAPES.sub("", written)
    assert "s: 1 running of 2" in shown
    assert "stopped; go on with the same command" in shown
    assert "Traceback" not in shown
    sweep = open_sweep(SweepFolder(Path("runs/s")))
    (entry,) = sweep.entries()
    assert (entry.state, entry.fact("deaths")) == ("waiting", 0)
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr
    first, second = sweep.entries()
    assert (first.state, second.state) == ("complete", "complete")
    assert (len(first.attempts), first.fact("executed_steps")) == (2, 16)
    assert "2 complete of 2" in done.stdout
    assert "train      gpt-lightning fit --config runs/s/best.yaml" in done.stdout


def test_a_dashboard_that_is_not_installed_names_the_command(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bare_sweep(tmp_path, {})
    monkeypatch.setattr("importlib.metadata.entry_points", lambda **_: [])
    with pytest.raises(ConfigError, match=r"pip install 'gpt-lightning\[dashboard\]'"):
        sweep_command("sweep dashboard", ["s"])


@pytest.mark.slow
@pytest.mark.parametrize("storage", ["sqlite", "journal"])
def test_the_dashboard_answers_on_loopback_and_ends_with_us(tmp_path: Path, storage: str) -> None:
    pytest.importorskip("optuna_dashboard", reason="pip install 'gpt-lightning[dashboard]'")
    pretend(bare_sweep(tmp_path, {"storage": storage, "budget": {"trials": 3}}), 3)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    log = tmp_path / "log"
    server = start(log, "sweep", "dashboard", "s", f"--port={port}")
    try:
        page = read_page(f"http://127.0.0.1:{port}/", server, log)
        assert b"<html" in page.lower()
        studies = read_page(f"http://127.0.0.1:{port}/api/studies", server, log)
        assert b'"study_name": "s"' in studies or b'"study_name":"s"' in studies
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(20)
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0, "nobody listens any more"


def read_page(url: str, server: subprocess.Popen[bytes], log: Path) -> bytes:
    pages: list[bytes] = []

    def answers() -> bool:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                pages.append(answer.read())
                return bool(answer.status == 200)
        except (urllib.error.URLError, ConnectionError):
            return False

    wait_until(answers, server, log, seconds=60)
    return pages[0]
