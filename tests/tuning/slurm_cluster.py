"""A real SLURM of two nodes that are this machine, on loopback: its daemons belong to the test, and end with it."""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROGRAMS = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scancel", "scontrol", "srun")
_PATH = f"{os.environ['PATH']}:/usr/sbin:/sbin"
_CONFIG = """
ClusterName=sweeps
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ports[0]}
SlurmUser=root
AuthType=auth/munge
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
AuthInfo=socket={place}/munge/socket,cred_expire=5
CredType=cred/munge
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=120
MinJobAge=600
SchedulerParameters=sched_interval=2,bf_interval=2
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
StateSaveLocation={place}/state
SlurmdSpoolDir={place}/spool-%n
SlurmctldPidFile={place}/slurmctld.pid
SlurmdPidFile={place}/slurmd-%n.pid
SlurmctldLogFile={place}/slurmctld.log
SlurmdLogFile={place}/slurmd-%n.log
NodeName=n[1-2] NodeHostname={host} NodeAddr=127.0.0.1 Port=[{ports[1]}-{ports[2]}] CPUs=2 State=UNKNOWN
PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE State=UP
"""
"""``cred_expire`` is also how long a requeued job waits before it may start again; two minutes by default."""


def missing() -> str | None:
    """Why there can be no SLURM here; None = there can."""
    absent = [name for name in PROGRAMS if shutil.which(name, path=_PATH) is None]
    if absent:
        return f"needs SLURM ({', '.join(absent)} missing): apt-get install slurm-wlm munge"
    return None if os.geteuid() == 0 else "SLURM's daemons need root"


@contextmanager
def slurm_cluster() -> Iterator[dict[str, str]]:
    """Start it; yields the environment in which ``sbatch`` and the others reach it."""
    place = Path("/tmp") / f"sweep-slurm-{os.getpid()}"  # a socket's path is short, and munge must reach it
    place.mkdir(mode=0o755)
    (place / "state").mkdir()
    daemons: list[subprocess.Popen[bytes]] = []
    environment = {**os.environ, "PATH": _PATH, "SLURM_CONF": str(place / "slurm.conf")}
    try:
        _start_munge(place, daemons)
        text = _CONFIG.format(host=socket.gethostname(), place=place, ports=_free_ports(3))
        (place / "slurm.conf").write_text(text)
        for command in (["slurmctld", "-D"], ["slurmd", "-D", "-N", "n1"], ["slurmd", "-D", "-N", "n2"]):
            with (place / "daemons.log").open("ab") as log:
                daemons.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
        _wait_for_nodes(place, environment)
        yield environment
    finally:
        subprocess.run(["scancel", "--quiet", "--user=root"], env=environment, check=False, capture_output=True)
        for daemon in reversed(daemons):
            daemon.terminate()
        for daemon in daemons:
            try:
                daemon.wait(20)
            except subprocess.TimeoutExpired:
                daemon.kill()
        shutil.rmtree(place, ignore_errors=True)


def _start_munge(place: Path, daemons: list[subprocess.Popen[bytes]]) -> None:
    home = place / "munge"
    home.mkdir(mode=0o755)
    (home / "key").write_bytes(secrets.token_bytes(128))
    (home / "key").chmod(0o400)
    for path in (home, home / "key"):
        shutil.chown(path, "munge", "munge")
    options = {"key-file": "key", "socket": "socket", "pid-file": "pid", "log-file": "log", "seed-file": "seed"}
    command = ["munged", "--foreground", *(f"--{name}={home / file}" for name, file in options.items())]
    with (place / "daemons.log").open("ab") as log:
        environment = {**os.environ, "PATH": _PATH}
        daemons.append(
            subprocess.Popen(command, env=environment, user="munge", group="munge", stdout=log, stderr=log, cwd="/")
        )
    _wait_until(lambda: (home / "socket").exists(), place)


def _wait_for_nodes(place: Path, environment: dict[str, str]) -> None:
    def idle() -> bool:
        command = ["sinfo", "--noheader", "--Node", "--format=%T"]
        shown = subprocess.run(command, env=environment, capture_output=True, text=True, check=False).stdout
        return shown.split() == ["idle", "idle"]

    _wait_until(idle, place)


def _wait_until(done: object, place: Path, seconds: float = 60.0) -> None:
    assert callable(done)
    end = time.monotonic() + seconds
    while not done():
        logs = "".join(file.read_text(errors="replace")[-2000:] for file in place.rglob("*log"))
        assert time.monotonic() < end, logs
        time.sleep(0.2)


def _free_ports(count: int) -> list[int]:
    """Ports in a row that nobody listens on."""
    for first in range(20000 + os.getpid() % 10000, 60000, count):
        sockets = []
        try:
            for port in range(first, first + count):
                probe = socket.socket()
                sockets.append(probe)
                probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        finally:
            for probe in sockets:
                probe.close()
        return list(range(first, first + count))
    raise AssertionError("no free ports")
