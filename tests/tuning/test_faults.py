"""What breaks while a sweep runs: storages that stall or restart, processes that are killed at any moment."""

from __future__ import annotations

import contextlib
import gc
import os
import random
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from gpt_lightning.training.fitting.build import build
from gpt_lightning.training.runs.run_folder import read_metrics
from gpt_lightning.tuning.study.sweep import open_sweep
from gpt_lightning.tuning.study.sweep_folder import SweepFolder
from gpt_lightning.tuning.trial.mailbox import read_trial_spec
from gpt_lightning.tuning.workers.leases import StaleTrialReaper
from gpt_lightning.tuning.workers.repair import check_folder
from tests.training.test_resume_exact import assert_equal, outcome
from tests.tuning.sweeping import again, bare_sweep, make_sweep, pretend, train_all, write_sweep


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


_TOGETHER = """
import sys, time
from pathlib import Path
from gpt_lightning.tuning.workers.claiming import claim
from gpt_lightning.tuning.launch.creating import begin, read_named
from gpt_lightning.tuning.workers.leases import Lease, Reaper
place, who = Path({place!r}), int(sys.argv[1])
def meet(where):
    (place / f"{{where}}-{{who}}.here").touch()
    while len(list(place.glob(f"{{where}}-*.here"))) < 3:
        time.sleep(0.002)
for number in range({count}):
    meet(number)
    sweep, _ = begin(*read_named(f"s{{number}}.yaml", []))
    claim(sweep, Reaper(sweep), Lease())
meet("end")  # a process that is gone would lose its trial to the others, rightly
"""
"""What ``sweep worker FILE`` does before it trains; the interpreter and Lightning are started once for all sweeps."""


def start_together(place: Path, count: int) -> None:
    """Three processes begin ``count`` fresh sweeps, each at the same moment; every one gets both its trials, once."""
    for number in range(count):
        write_sweep(place, {"storage": "sqlite", "budget": {"trials": 2}}, f"s{number}")
    code = _TOGETHER.format(place=str(place), count=count)
    workers = [
        subprocess.Popen([sys.executable, "-c", code, str(who)], cwd=place, stderr=subprocess.PIPE, text=True)
        for who in range(3)
    ]
    told = [worker.communicate(timeout=1500)[1] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0, 0], told
    for number in range(count):
        sweep = open_sweep(SweepFolder(place / "runs" / f"s{number}"))
        assert [trial.number for trial in sweep.study.trials] == [0, 1]


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_three_workers_on_a_fresh_storage_twenty_times(tmp_path: Path) -> None:
    start_together(tmp_path, 20)


@pytest.mark.slow
def test_a_database_locked_for_twelve_seconds_loses_nothing(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"storage": "sqlite", "budget": {"trials": 3}})
    pretend(sweep, 1)
    locker = sqlite3.connect(sweep.folder.database, isolation_level=None, check_same_thread=False)
    locker.execute("BEGIN EXCLUSIVE")
    threading.Timer(12.0, lambda: locker.execute("COMMIT")).start()
    begun = time.monotonic()
    pretend(sweep, 2)
    assert time.monotonic() - begun > 11
    assert [entry.state for entry in again(sweep).entries()] == ["complete"] * 3
    locker.close()


def test_a_storage_that_fails_for_a_while_is_asked_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 1}})
    failures = iter([UnboundLocalError("of Optuna's"), OSError("restarting")])
    real = sweep.study.ask

    def ask() -> Any:
        for failure in failures:
            raise failure
        return real()

    monkeypatch.setattr(sweep.study, "ask", ask)
    monkeypatch.setattr("gpt_lightning.tuning.study.study.time.sleep", lambda _: None)
    assert len(pretend(sweep, 1)) == 1


def test_a_torn_journal_is_found_and_mended(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 2}})
    pretend(sweep, 1)
    assert check_folder(sweep.folder, mend=False) == []
    with sweep.folder.journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    (found,) = check_folder(sweep.folder, mend=False)
    assert "torn record in line" in found
    assert check_folder(sweep.folder, mend=True)
    assert check_folder(sweep.folder, mend=False) == []
    assert len(pretend(again(sweep), 1)) == 1


def test_a_line_that_a_killed_writer_began_is_not_written_on(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 3}})
    pretend(sweep, 1)
    with sweep.folder.journal.open("ab") as file:
        file.write(b'{"op_code": 4, "worker')
    assert len(pretend(sweep, 1)) == 1
    assert len(pretend(again(sweep), 1)) == 1
    assert check_folder(sweep.folder, mend=False) == []


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_processes_of_a_distributed_trial_have_one_set_of_values(tmp_path: Path) -> None:
    """Two processes over gloo; had one of them another rate, its gradients, and so all weights, would be others."""
    content: dict[str, Any] = {
        "parameters": {"model.optimizer.lr": {"distribution": "log_uniform_values", "min": 1e-3, "max": 3e-2}},
        "method": "random",
        "seed": 4,
        "budget": {"trials": 2},
        "reuse": {"enabled": False},
    }
    alone = make_sweep(tmp_path, {**content, "derive": {"trainer.accumulate_grad_batches": 2}}, "alone")
    assert train_all(alone) == {"complete": 2}
    both = make_sweep(tmp_path, {**content, "derive": {"trainer.devices": 2, "trainer.strategy": "ddp"}}, "both")
    assert train_all(both) == {"complete": 2}
    rates = [entry.values["model.optimizer.lr"] for entry in both.entries()]
    assert rates == [entry.values["model.optimizer.lr"] for entry in alone.entries()]
    assert rates[0] != rates[1]
    for number, rate in enumerate(rates):
        folder = both.folder.trial(number)
        assert_equal(outcome(folder), outcome(alone.folder.trial(number)))
        run = build(folder / "config.yaml")
        assert run.config["model"]["optimizer"]["init_args"]["lr"] == rate
        logged = [
            (int(line["step"]), value)
            for line in read_metrics(folder)
            for name, value in line.items()
            if name.startswith("optim/lr")
        ]
        wanted = [rate * run.module.schedule.factor(step - 1, run.plan.horizon) for step, _ in logged]
        assert len(logged) >= 6
        assert [value for _, value in logged] == pytest.approx(wanted, rel=1e-6)
        assert both.entries()[number].last.values == alone.entries()[number].last.values
    assert "--trainer.strategy=ddp" in read_trial_spec(both.folder.trial(0))["arguments"]


def progress(place: Path) -> int:
    """Grows with the results and reports that there are."""
    files = place.glob("runs/s/trials/*/*.json*"), place.glob("runs/s/trials/*/mailbox/reports.jsonl")
    total = 0
    for file in (file for found in files for file in found):
        with contextlib.suppress(FileNotFoundError):
            total += file.stat().st_size
    return total


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_whatever_is_killed_every_trial_ends_once(tmp_path: Path) -> None:
    """kill -9 of trials, their servers, workers and launchers at random: all trials end, each with its own result."""
    trials, seed = int(os.environ.get("SWEEP_KILL_TRIALS", "40")), int(os.environ.get("SWEEP_KILL_SEED", "0"))
    most = trials // 2  # more would test nothing new and take minutes
    retry = {"max": 20, "lease": "2s", "grace": "10s"}
    content = {"budget": {"trials": trials}, "launcher": {"workers": 2}, "retry": retry, "seed": 3, "method": "random"}
    file = write_sweep(tmp_path, {**content, "derive": {"trainer.max_steps": 3}})
    dice, kills = random.Random(seed), Counter[str]()
    command = [sys.executable, "-m", "gpt_lightning", "sweep", "run", str(file)]
    while True:
        with (tmp_path / "launcher.log").open("ab") as log:
            launcher = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OMP_NUM_THREADS": "1"})
        # A kill for every bit of progress, not for every second: on a slow machine nothing would ever get started.
        seen = progress(tmp_path)
        while launcher.poll() is None:
            if progress(tmp_path) == seen:
                time.sleep(0.05)
                continue
            if kills.total() >= most:
                launcher.wait()
                break
            time.sleep(dice.uniform(0, 1))
            # A launcher takes seconds to start again, and its workers go on without it: one kill in eight is enough.
            # Trials live for a moment: every fourth kill waits for one.
            turn = kills.total() % 8
            victim = launcher.pid if turn == 3 else choose_victim(dice, tmp_path, launcher.pid, trial=turn in (1, 5))
            kind = kind_of(victim, launcher.pid)
            with contextlib.suppress(ProcessLookupError):
                os.kill(victim, signal.SIGKILL)
                kills[kind] += 1
            seen = progress(tmp_path)
        if launcher.returncode == 0:
            break
        assert launcher.returncode == -signal.SIGKILL, (tmp_path / "launcher.log").read_text()[-2000:]
    sweep = open_sweep(SweepFolder(tmp_path / "runs" / "s"))
    entries = sweep.entries()
    sys.stdout.write(f"\nkilled: {dict(kills)}; {trials} trials, {len(sweep.study.trials)} attempts\n")
    assert [entry.state for entry in entries] == ["complete"] * trials
    assert not [trial for trial in sweep.study.trials if not trial.state.is_finished()]
    assert StaleTrialReaper(sweep).reap() == []
    end = time.monotonic() + 10  # the servers of workers that were killed notice it
    while processes_of(tmp_path) and time.monotonic() < end:
        time.sleep(0.1)
    assert processes_of(tmp_path) == []
    assert min(kills[kind] for kind in ("launcher", "worker", "trial")) >= 1
    assert max(len(entry.attempts) for entry in entries) <= 21
    often = sorted(entries, key=lambda entry: len(entry.attempts))[-3:]
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    for entry in often:
        alone = build(sweep.folder.trial(entry.first) / "config.yaml", {"run.dir": f"alone-{entry.first}"}).fit()
        assert alone.metrics["val/loss"] == entry.last.values[0]
    torch.set_num_threads(threads)


def choose_victim(dice: random.Random, place: Path, launcher: int, *, trial: bool) -> int:
    """A process of some kind, each kind as likely as the others; or a trial, at any moment of its life."""
    end = time.monotonic() + 20
    while True:
        kinds: dict[str, list[int]] = {}
        for pid in processes_of(place):
            if pid != launcher:
                kinds.setdefault(kind_of(pid, launcher), []).append(pid)
        if not kinds:
            return launcher
        if trial and "trial" in kinds:
            time.sleep(dice.uniform(0, 1))
            return dice.choice(kinds["trial"])
        if not trial or time.monotonic() > end:
            return dice.choice(kinds[dice.choice(sorted(kinds))])
        time.sleep(0.02)


def kind_of(pid: int, launcher: int) -> str:
    """launcher, worker, trial, or a process that multiprocessing starts beside them."""
    try:
        command = Path(f"/proc/{pid}/cmdline").read_bytes()
        leads = os.getsid(pid) == pid
    except OSError:
        return "gone"
    if pid == launcher:
        return "launcher"
    if b"worker" in command.split(b"\0"):
        return "worker"
    return "trial" if leads else "server"


def processes_of(place: Path) -> list[int]:
    """Workers and trials that run in ``place``."""
    found = []
    for link in Path("/proc").glob("[0-9]*/cwd"):
        try:
            if link.resolve() == place.resolve() and int(link.parent.name) != os.getpid():
                found.append(int(link.parent.name))
        except OSError:
            continue
    return found


def _postgres_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return found[-1].parent if found else None


@pytest.fixture
def postgres(tmp_path: Path) -> Iterator[tuple[str, Any]]:
    """A server of this test's own: its URL, and a function that starts or stops it."""
    programs = _postgres_programs()
    if programs is None:
        pytest.skip("needs PostgreSQL's server: apt-get install postgresql")
    pytest.importorskip("psycopg", reason="pip install 'gpt-lightning[postgres]'")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    home = Path("/tmp") / f"sweep-postgres-{os.getpid()}"  # a socket's path is short, and postgres must reach it
    home.mkdir(mode=0o755)
    prefix = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    if prefix:
        shutil.chown(home, "postgres")

    def control(action: str) -> None:
        options = f"-p {port} -h 127.0.0.1 -k {home}"
        command = [*prefix, str(programs / "pg_ctl"), "-D", str(home / "data"), "-w", "-m", "immediate", action]
        more = ["-o", options, "-l", str(home / "log")] if action == "start" else []
        subprocess.run([*command, *more], check=True, stdout=subprocess.DEVNULL, cwd="/tmp", timeout=120)

    start = [*prefix, str(programs / "initdb"), "-D", str(home / "data"), "-A", "trust", "-U", "tester"]
    subprocess.run(start, check=True, stdout=subprocess.DEVNULL, cwd="/tmp")
    control("start")
    try:
        yield f"postgresql+psycopg://tester@127.0.0.1:{port}/postgres", control
    finally:
        control("stop")
        shutil.rmtree(home, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_database_server_that_is_away_for_twenty_seconds_loses_nothing(
    tmp_path: Path, postgres: tuple[str, Any]
) -> None:
    url, control = postgres
    sweep = bare_sweep(tmp_path, {"storage": url, "budget": {"trials": 6}})
    pretend(sweep, 2)

    def away() -> None:
        control("stop")
        time.sleep(20)
        control("start")

    thread = threading.Thread(target=away)
    thread.start()
    time.sleep(3)
    begun = time.monotonic()
    pretend(sweep, 4)
    thread.join()
    assert time.monotonic() - begun > 15
    assert [entry.state for entry in again(sweep).entries()] == ["complete"] * 6
    del sweep
    gc.collect()  # psycopg complains of connections that are collected open: here, not in whatever test comes next
