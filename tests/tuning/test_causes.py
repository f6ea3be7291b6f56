"""What ended a trial is told by the class of the error; the machine's faults cost time and nothing else."""

from __future__ import annotations

import errno
import json
import os
import signal
import socket
import sqlite3
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from gpt_lightning.checkpoints.durable import list_checkpoints
from gpt_lightning.errors import (
    ConfigError,
    DataError,
    DivergedError,
    FolderInUseError,
    MachineError,
    RunFolderError,
    TrainingError,
)
from gpt_lightning.files import locks
from gpt_lightning.files.processes import ProcessIdentity
from gpt_lightning.parsing.trust import TRUST_VARIABLE
from gpt_lightning.training.runs.run_folder import RunLock
from gpt_lightning.tuning.launch.creating import allow
from gpt_lightning.tuning.launch.running import finish, why_it_failed
from gpt_lightning.tuning.scaling.fixed_trials import FixedTrials, _read_outcome
from gpt_lightning.tuning.spec import causes
from gpt_lightning.tuning.spec.causes import (
    BUG,
    CONFIG,
    DIVERGED,
    IN_USE,
    MACHINE,
    MEMORY,
    TRAINING,
    Patience,
    find_cause,
)
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.spec.spec import Retry
from gpt_lightning.tuning.study.best import as_table, rows
from gpt_lightning.tuning.study.entries import Entry
from gpt_lightning.tuning.study.sweep import FAULT, STOP, Sweep
from gpt_lightning.tuning.trial.mailbox import Report, Result
from gpt_lightning.tuning.workers.claiming import claim, reason_to_end
from gpt_lightning.tuning.workers.leases import Lease, StaleTrialReaper, conclude, tell
from gpt_lightning.tuning.workers.slots import Slot, check_reach, hold_slot
from gpt_lightning.tuning.workers.supervisor import Supervisor
from gpt_lightning.tuning.workers.worker import retry_trials
from tests.tuning.saboteurs import sabotage
from tests.tuning.sweeping import again, bare_sweep, make_sweep, pretend, train_all, write_sweep


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRUST_VARIABLE, "tests.tuning.saboteurs")


def raised_from(error: Exception, cause: BaseException) -> Exception:
    """The error as it is after ``raise error from cause``."""
    error.__cause__ = cause
    return error


def in_context(error: Exception, context: BaseException) -> Exception:
    """The error as it is when it arises while another one is handled."""
    error.__context__ = context
    return error


FULL = OSError(errno.ENOSPC, "No space left on device", "/runs/nanogpt/x")
SQLITE = sqlite3.OperationalError("database or disk is full")
vars(SQLITE)["sqlite_errorcode"] = 13


@pytest.mark.parametrize(
    ("problem", "cause"),
    [
        (FULL, MACHINE),
        (OSError(errno.EIO, "I/O error"), MACHINE),
        (OSError(errno.ESTALE, "Stale file handle"), MACHINE),
        (MachineError("Could not save checkpoint in runs/nanogpt: the disk is full"), MACHINE),
        (in_context(RuntimeError("PytorchStreamWriter failed writing file"), FULL), MACHINE),
        (raised_from(DataError("https://host/a.jsonl cannot be read"), ConnectionResetError(104, "reset")), MACHINE),
        (raised_from(DataError("a.txt cannot be read"), TimeoutError()), MACHINE),
        (raised_from(RuntimeError("storage"), SQLITE), MACHINE),
        (FolderInUseError("runs/x is in use by host a"), IN_USE),
        (DivergedError("Training stopped before step 3: loss nan"), DIVERGED),
        (raised_from(DivergedError("Training stopped"), FULL), DIVERGED),
        (MemoryError(), MEMORY),
        (torch.OutOfMemoryError("CUDA out of memory"), MEMORY),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"), MEMORY),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), MEMORY),
        (TrainingError("a rule about nanogpt has ended it, out of memory of its owner"), TRAINING),
        (ConfigError("model.nan is unknown"), CONFIG),
        (DataError("out of memory.txt does not exist"), CONFIG),
        (RunFolderError("runs/x holds something else"), CONFIG),
        (raised_from(DataError("a.txt does not exist"), FileNotFoundError(2, "No such file")), CONFIG),
        (raised_from(ConfigError("no such"), KeyError("x")), CONFIG),
        (ValueError("nan"), BUG),
    ],
    ids=lambda each: getattr(each, "word", None) or f"{type(each).__name__}-{each}"[:40],
)
def test_the_class_of_an_error_decides_and_no_word_of_its_text(problem: Exception, cause: causes.Cause) -> None:
    assert find_cause(problem) == cause


def test_memory_that_others_hold_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_initialized", lambda: True)
    monkeypatch.setattr(torch.cuda, "memory_reserved", lambda: 30 * 10**9)
    for free, cause in ((10 * 10**9, causes.OTHERS_MEMORY), (49 * 10**9, MEMORY)):
        monkeypatch.setattr(torch.cuda, "mem_get_info", lambda free=free: (free, 80 * 10**9))
        assert find_cause(torch.OutOfMemoryError("CUDA out of memory")) == cause


def test_waits_grow_and_end_with_the_first_success(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [0.0]
    monkeypatch.setattr("gpt_lightning.tuning.spec.causes.time.monotonic", lambda: now[0])
    monkeypatch.setattr(
        "gpt_lightning.tuning.spec.causes.time.sleep", lambda seconds: now.__setitem__(0, now[0] + seconds)
    )
    patience, waits = Patience(Retry(max=3, wait_seconds=10.0)), []

    def endure(faults: int = 0) -> bool:
        before = now[0]
        endured = patience.endure(faults)
        waits.append(round(now[0] - before))
        return endured

    assert [endure(), endure()] == [True, True]
    patience.recover()
    assert [endure(), endure(), endure(), endure()] == [True, True, True, False]
    assert waits == [10, 20, 10, 20, 40, 0]
    patience.recover()
    assert not endure(faults=4), "others have tried that often"
    patience = Patience(Retry(wait_seconds=1e9), lambda: True)
    assert endure(), "who is asked to stop waits no longer"


def test_a_full_disk_costs_no_trial_and_no_checkpoint(tmp_path: Path) -> None:
    ways = [sabotage("nothing"), sabotage("disk", once=str(tmp_path / "done")), sabotage("disk")]
    parameters = {"trainer.callbacks": {"values": ways}}
    sweep = make_sweep(
        tmp_path,
        {"method": "grid", "parameters": parameters, "retry": {"max": 1, "wait": 0}, "reuse": {"enabled": False}},
    )
    with pytest.raises(MachineError, match=r"machine: .*go on: gpt-lightning sweep run runs/s\."):
        train_all(sweep)
    clean, once, always = sweep.entries()
    assert (clean.state, once.state, always.state) == ("complete", "complete", "waiting")
    assert once.last.values == clean.last.values
    assert (once.fact("attempts"), once.fact("executed_steps"), once.fact("deaths")) == (2, 4 + 3, 0)
    assert "machine" in str(sweep.study.user_attrs[FAULT])
    assert str(sweep.study.user_attrs[STOP]).startswith("stopped, machine")
    folder = sweep.folder.trial(always.first)
    assert [path.name for path in list_checkpoints(folder / "checkpoints")][-1] == "step-000000003"
    assert not (folder / "result.json").exists()


def test_what_a_killed_trial_leaves_running_is_ended_and_its_checkpoint_is_kept(tmp_path: Path) -> None:
    pid = tmp_path / "pid"
    parameters = {"trainer.callbacks": {"values": [sabotage("lose", once=str(pid))]}}
    sweep = make_sweep(tmp_path, {"method": "grid", "parameters": parameters, "retry": {"max": 0}})
    assert train_all(sweep) == {"died": 1}
    left = ProcessIdentity.of(int(pid.read_text()))
    assert left.started == "", "it holds a device for ever"
    assert retry_trials(sweep, []).startswith("1 trials wait again")
    assert train_all(again(sweep)) == {"complete": 1}, "the saboteur does it once"
    (entry,) = sweep.entries()
    assert (entry.fact("executed_steps"), entry.last.values is not None) == (6, True)


def test_a_group_whose_first_process_is_gone_gets_the_signal(tmp_path: Path) -> None:
    leader = subprocess.Popen(
        ["bash", "-c", "sleep 600 & echo $!; wait"], start_new_session=True, stdout=subprocess.PIPE, text=True
    )
    assert leader.stdout is not None
    rest = int(leader.stdout.readline())
    identity = ProcessIdentity.of(leader.pid)
    leader.kill()
    leader.wait()
    identity.signal(signal.SIGKILL)
    end = time.monotonic() + 10
    while ProcessIdentity.of(rest).started and time.monotonic() < end:
        time.sleep(0.01)
    assert ProcessIdentity.of(rest).started == ""
    leader.stdout.close()


@pytest.mark.parametrize(("state", "left"), [("failed", ["step-000000002"]), ("pruned", []), ("complete", None)])
def test_nothing_is_deleted_before_the_result_is_told_nor_under_a_living_process(
    tmp_path: Path, state: str, left: list[str] | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 1}, "retry": {"storage": 0}})
    shelf = sweep.folder.trial(0) / "checkpoints"
    for name in ("step-000000001", "step-000000002"):
        (shelf / name).mkdir(parents=True)
    everything = sorted(path.name for path in shelf.iterdir())
    trial = claim(sweep, StaleTrialReaper(sweep), Lease())
    assert trial is not None
    value = 1.0 if state == "complete" else None
    result = Result(state, reason="x", value=value, number=trial.number)
    with monkeypatch.context() as patch:
        patch.setattr(sweep.study, "tell", lambda *_, **__: (_ for _ in ()).throw(OSError(errno.EIO, "away")))
        with pytest.raises(MachineError, match="The storage of the sweep has not answered"):
            conclude(sweep, trial, result)
    assert sorted(path.name for path in shelf.iterdir()) == everything
    lock = RunLock(sweep.folder.trial(0))
    if state == "failed":
        lock.acquire()
    assert conclude(sweep, trial, result)
    kept = sorted(path.name for path in shelf.iterdir())
    if state == "failed":
        assert kept == everything, "another process writes there"
    else:
        assert kept == (everything if left is None else left)
    lock.release()


def test_a_trial_of_a_ladder_waits_for_the_disk_and_records_no_infinity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trials = FixedTrials(tmp_path / "ladder", [], "val/loss", None, Retry(max=1, wait_seconds=0))
    tries: list[str] = []

    class _Run:
        def fit(self, resume: str, reuse: object) -> None:
            tries.append(resume)
            raise MachineError("the disk is full")

    monkeypatch.setattr(trials, "build", lambda *_: _Run())
    monkeypatch.setattr(trials, "reuse", lambda *_: None)
    with pytest.raises(
        MachineError, match=r"cannot be trained here: the disk is full.*goes on from the last checkpoint"
    ):
        trials.train("a", {})
    assert tries == ["auto", "auto"]
    assert not list(tmp_path.glob("ladder/**/result.json"))


def test_an_old_infinity_of_a_ladder_is_trained_again(tmp_path: Path) -> None:
    facts = {"state": "failed", "value": None, "parameters": 1, "tokens": 1, "steps": 1, "reused_steps": 0}
    (tmp_path / "result.json").write_text(json.dumps(facts))
    assert _read_outcome(tmp_path) is None
    (tmp_path / "result.json").write_text(json.dumps({**facts, "diverged": True}))
    outcome = _read_outcome(tmp_path)
    assert outcome is not None
    assert outcome.value == float("inf")


def test_a_supervisor_whose_own_disk_is_full_lets_the_trial_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 1}, "retry": {"max": 0, "wait": 0}})

    def full(*_: object) -> None:
        raise FULL

    with monkeypatch.context() as patch:
        patch.setattr("gpt_lightning.tuning.workers.supervisor.write_trial_spec", full)
        patch.setattr("gpt_lightning.tuning.workers.supervisor.compose_trial_spec", lambda *_: {})
        with pytest.raises(MachineError, match="No space left on device"):
            train_all(sweep)
    (entry,) = sweep.entries()
    assert (entry.state, entry.fact("machine_faults"), os.listdir(sweep.folder.trial(0))) == ("waiting", 1, ["mailbox"])
    sweep.study.set_user_attr(STOP, None)
    assert len(pretend(sweep, 1)) == 1


def fail_all(sweep: Sweep, reasons: list[str]) -> None:
    for reason in reasons:
        trial = claim(sweep, StaleTrialReaper(sweep), Lease())
        assert trial is not None
        conclude(sweep, trial, Result("failed", reason=reason, number=trial.number))


def test_a_sweep_whose_trials_all_fail_of_the_same_stops_and_says_why(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 20, "stop_when": {"failures": 3}}})
    fail_all(sweep, ["diverged: loss nan"] * 3)
    assert reason_to_end(sweep) is None, "divergence is what settings are worth"
    fail_all(sweep, ["config: no file a", "oom: 3 GB", "oom: 4 GB", "oom: 5 GB"])
    assert reason_to_end(sweep) == "3 trials in a row have failed of the same: oom: 5 GB"
    assert why_it_failed(sweep) == reason_to_end(sweep)
    assert claim(sweep, StaleTrialReaper(sweep), Lease()) is None
    with pytest.raises(TrainingError, match="No trial has come to a value, 7 have failed: 3 x diverged: loss nan;"):
        finish(sweep)
    allow(sweep)
    assert reason_to_end(sweep) is None, "who starts it again has mended it"
    assert len(pretend(sweep, 1)) == 1


def test_a_sweep_in_which_no_trial_keeps_its_limits_names_the_nearest(tmp_path: Path) -> None:
    limits = [{"name": "time", "metric": "seconds", "max": 5}]
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 2}, "constraints": limits})
    for value, seconds in ((1.0, 9.0), (2.0, 6.0)):
        trial = claim(sweep, StaleTrialReaper(sweep), Lease())
        assert trial is not None
        tell(sweep, trial.number, Result("complete", value=value, seconds=seconds, number=trial.number))
    with pytest.raises(TrainingError, match="nearest is trial 1 with val/loss 2, beyond time by 1"):
        finish(sweep)


def test_a_table_has_all_columns_whatever_the_first_trial_came_to(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 2}})
    fail_all(sweep, ["config: x"])
    pretend(sweep, 1, lambda _: 1.5)
    header, first, second = as_table(rows(sweep), "csv").splitlines()
    assert "val/loss" in header
    assert (first.count(","), second.count(",")) == (header.count(","),) * 2
    assert ",1.5," in second


@pytest.mark.parametrize("seeds", [["abc", 1.7], [1.5], [-1], [None]])
def test_seeds_are_whole_numbers(tmp_path: Path, seeds: list[object]) -> None:
    with pytest.raises(ConfigError, match=r"repeat_best\.seeds are not seeds"):
        read_spec(write_sweep(tmp_path, {"repeat_best": {"top_k": 1, "seeds": seeds}}))


@pytest.mark.parametrize("launcher", ["slurm", "ray"])
def test_sqlite_is_refused_where_workers_are_on_several_machines(tmp_path: Path, launcher: str) -> None:
    with pytest.raises(ConfigError, match=r"storage sqlite is for the processes of one machine.*storage=journal"):
        make_sweep(tmp_path, {"storage": "sqlite", "launcher": {"type": launcher}})
    assert not (tmp_path / "runs").exists()


def test_sqlite_is_refused_while_a_worker_of_another_machine_is_at_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(locks, "_BEAT_SECONDS", 0.02)
    monkeypatch.setattr(locks, "_SILENT_SECONDS", 0.1)
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 1}})
    own, spec = socket.gethostname(), replace(sweep.spec, storage="sqlite")
    with monkeypatch.context() as there:
        there.setattr(socket, "gethostname", lambda: "other")
        with hold_slot(sweep.folder, -1):
            there.setattr(socket, "gethostname", lambda: own)
            with pytest.raises(ConfigError, match=r"one machine, and a worker is on host other, process \d+, .*fsck"):
                check_reach(spec, sweep.folder)
            check_reach(sweep.spec, sweep.folder)  # a journal is for several machines
        dead = {"host": "other", "boot": "", "pid": 1, "started": "", "beats": True}
    (sweep.folder.logs / "slot-other-0.lock").write_text(json.dumps(dead), encoding="utf-8")
    check_reach(spec, sweep.folder)


def test_the_curves_of_ended_trials_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 3}})
    pretend(sweep, 2)
    trial = claim(sweep, StaleTrialReaper(sweep), Lease())
    assert trial is not None
    boss = Supervisor(sweep, Slot(threads=1), Lease(), lambda: False)
    read: list[int] = []
    plain = Entry.reports

    def reports(self: Entry, metric: str) -> list[Report]:
        read.append(self.first)
        return plain(self, metric)

    monkeypatch.setattr(Entry, "reports", reports)
    for _ in range(5):
        for entry in sweep.entries():
            boss.curve(entry)
    assert read == [0, 1] + [2] * 5
