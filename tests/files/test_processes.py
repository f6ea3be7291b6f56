from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import psutil
import pytest

from gpt_lightning.files import processes
from gpt_lightning.files.processes import ProcessIdentity, own_mark, owner_is_gone


def _sleeper() -> subprocess.Popen[bytes]:
    return subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])


def test_a_process_is_alive_until_it_ends() -> None:
    with _sleeper() as child:
        identity = ProcessIdentity.of(child.pid)
        mark = f"x@{identity.mark()}"
        assert identity.here()
        assert identity.alive()
        assert owner_is_gone(mark) is False
        child.kill()
        while psutil.Process(child.pid).status() != psutil.STATUS_ZOMBIE:
            time.sleep(0.01)
        assert not identity.alive(), "a zombie does nothing any more"
    assert not identity.alive()
    assert owner_is_gone(mark) is True
    assert owner_is_gone(f"{mark}.140000000") is True


def test_a_later_process_of_the_same_number_is_another() -> None:
    me = ProcessIdentity.of(os.getpid())
    assert me.alive()
    assert not replace(me, started="1").alive()
    assert not replace(me, host="elsewhere").here()
    assert not replace(me, boot="before").here()


def test_started_is_what_the_kernel_says() -> None:
    if not sys.platform.startswith("linux"):
        pytest.skip("reads /proc")
    fields = Path(f"/proc/{os.getpid()}/stat").read_text().rpartition(")")[2].split()
    assert ProcessIdentity.of(os.getpid()).started == fields[19], (
        "records of older versions still name living processes"
    )


def test_a_clock_that_is_set_kills_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    me, boot = ProcessIdentity.of(os.getpid()), psutil.boot_time()
    monkeypatch.setattr(psutil, "boot_time", lambda: boot + 1)
    began = int(me.started) / os.sysconf("SC_CLK_TCK")
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: began + boot + 1)
    assert me.alive()


@pytest.mark.parametrize(
    "name",
    [
        ".writing-step-000000040-gpu-vm-123",
        "plain",
        "a@b",
        ".trash-a@gpu-vm-00000000-12-34",
        f".trash-a@{own_mark()}-more",
    ],
    ids=["old", "no mark", "no process", "other host", "more behind"],  # the last holds this process's number
)
def test_of_other_machines_nothing_is_known(name: str) -> None:
    assert owner_is_gone(name) is None


def test_a_machine_is_its_whole_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: "gpu-vm")
    mark = ProcessIdentity.of(os.getpid()).mark()
    assert owner_is_gone(f"s@{mark}") is True, "this process"
    monkeypatch.setattr(socket, "gethostname", lambda: "vm")
    assert owner_is_gone(f"s@{mark}") is None


def test_signals_reach_a_living_process_only() -> None:
    with _sleeper() as child:
        identity = ProcessIdentity.of(child.pid)
        replace(identity, started="1").signal(signal.SIGKILL)
        replace(identity, host="elsewhere").signal_alone(signal.SIGKILL)
        assert child.poll() is None
        identity.signal_alone(signal.SIGSTOP)
        while not identity.stopped():
            time.sleep(0.01)
        identity.signal(signal.SIGKILL)
        assert child.wait(60) == -signal.SIGKILL


def test_a_group_dies_with_its_leader() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
    ) as leader:
        assert leader.stdout is not None
        assert leader.stdout.readline() == b"1\n"
        below = psutil.Process(leader.pid).children()
        assert len(below) == 1
        processes.kill_with_children(leader.pid)
        assert leader.wait(60) == -signal.SIGKILL
        assert leader.stdout.read() == b"", "the pipe closes when the last of them is dead"


def test_memory_and_cores_are_plausible() -> None:
    assert 1 <= processes.count_cores() <= (os.cpu_count() or 1)
    assert 10**6 < processes.resident_bytes() <= processes.peak_resident_bytes() * 1.01
    assert processes.peak_resident_bytes() < processes.total_bytes()
    assert 0 < processes.available_bytes() <= processes.total_bytes()
