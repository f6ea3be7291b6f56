"""Ends of trials that come from outside or from their numbers, and what a slot gives to a trial."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import pytest
from tensorboard.plugins.hparams import metadata

from gpt_lightning.errors import ConfigError
from gpt_lightning.parsing.trust import TRUST_VARIABLE
from gpt_lightning.training.runs.run_folder import read_starts
from gpt_lightning.tuning.launch.launchers import Launcher, Local, worker_command
from gpt_lightning.tuning.launch.live import Display
from gpt_lightning.tuning.launch.running import run_sweep
from gpt_lightning.tuning.spec.spec import LauncherSettings
from gpt_lightning.tuning.study.best import add_repeats
from gpt_lightning.tuning.study.sweep import Sweep
from gpt_lightning.tuning.study.sweep_folder import SweepFolder
from gpt_lightning.tuning.workers.leases import StaleTrialReaper
from gpt_lightning.tuning.workers.slots import Slot, make_slots
from gpt_lightning.tuning.workers.worker import stop_sweep, work
from tests.tracking.test_records import read_hparams
from tests.tuning.saboteurs import sabotage
from tests.tuning.sweeping import bare_sweep, make_sweep, pretend, train_all
from tests.tuning.test_board_tab import FAILURE
from tests.tuning.watching import has_content, start, wait_until


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv(TRUST_VARIABLE, "tests.tuning.saboteurs")


def ends(sweep: Sweep, number: int) -> tuple[int, dict[str, Any]]:
    """How a trial ended for TensorBoard, and in its manifest."""
    folder = sweep.folder.trial(number)
    status = read_hparams(folder)[metadata.SESSION_END_INFO_TAG].session_end_info.status
    return status, read_starts(folder)[-1]["end"]


@pytest.mark.slow
def test_infinite_values_fail_and_are_no_best(tmp_path: Path) -> None:
    ways = [sabotage("nothing"), sabotage("inf", 5)]
    content = {"method": "grid", "parameters": {"trainer.callbacks": {"values": ways}}}
    sweep = make_sweep(tmp_path, {**content, "metric": {"name": "val/perplexity"}})
    assert train_all(sweep) == {"complete": 1, "failed": 1}
    assert sweep.entries()[1].reason == "inf: val/perplexity is inf"
    assert [entry.first for entry in sweep.ranked()] == [0]


@pytest.mark.slow
def test_a_timeout_and_a_dead_worker_end_the_runs_records(tmp_path: Path) -> None:
    ways = [sabotage("sleep"), sabotage("slow")]
    content = {"method": "grid", "parameters": {"trainer.callbacks": {"values": ways}}}
    more = {"derive": {"monitor.details": True, "trainer.max_steps": 100}, "retry": {"timeout": "12s", "max": 0}}
    sweep = make_sweep(tmp_path, {**content, **more})
    assert train_all(sweep, most=1) == {"failed": 1}
    status, end = ends(sweep, 0)
    assert (status, end["state"], end["reason"], end["step"]) == (FAILURE, "failed", "timeout", 3)
    log, reports = tmp_path / "worker.log", sweep.folder.trial(1) / "mailbox" / "reports.jsonl"
    worker = start(log, "sweep", "worker", "s")
    wait_until(lambda: has_content(reports), worker, log)
    worker.kill()
    worker.wait()
    with sweep.folder.locked():
        assert StaleTrialReaper(sweep).reap() == [1]
    status, end = ends(sweep, 1)
    assert (status, end["state"]) == (FAILURE, "failed")
    assert end["reason"].startswith("lost: its worker died")
    assert [entry.state for entry in sweep.entries()] == ["failed", "failed"]


@pytest.mark.slow
def test_shared_steps_are_checked_inside_a_sweep(tmp_path: Path) -> None:
    space = {"model.schedule.decay": {"values": ["20%", "40%"]}}
    derive = {"trainer.max_steps": 20, "monitor.details": False}
    sweep = make_sweep(
        tmp_path,
        {
            "method": "grid",
            "parameters": {"model.schedule": {"values": ["WSD"]}, **space},
            "derive": derive,
            "reuse": {"enabled": True, "every": "5%", "verify": 1.0},
        },
    )
    assert train_all(sweep) == {"complete": 2}
    alone, shared = sweep.entries()
    assert (alone.fact("reused_steps"), shared.fact("reused_steps") > 0) == (0, True)
    assert not (sweep.folder.trial(alone.first) / "again").exists(), "there is nothing to check"
    assert (sweep.folder.trial(shared.first) / "again" / "metrics.jsonl").exists()


@pytest.mark.slow
def test_a_trial_sees_the_devices_of_its_slot(tmp_path: Path) -> None:
    told = [tmp_path / f"{number}.txt" for number in range(2)]
    ways = [sabotage("tell", once=str(path)) for path in told]
    sweep = make_sweep(tmp_path, {"method": "grid", "parameters": {"trainer.callbacks": {"values": ways}}})
    for devices in (("1",), ("2", "MIG-7")):
        assert work(sweep, Slot(0, devices, 1), asked_to_stop=lambda: False, most=1) == {"complete": 1}
    assert [path.read_text() for path in told] == ["1", "2,MIG-7"]


@pytest.mark.parametrize(
    ("settings", "devices", "threads"),
    [
        ({}, ["0", "1", "2", "3", "4"], 1),
        ({"devices_per_trial": 2}, ["0,1", "2,3"], 4),
        ({"trials_per_device": 2, "devices": ("1", "MIG-7")}, ["1", "1", "MIG-7", "MIG-7"], 2),
        ({"workers": 2}, ["0", "1"], 4),
        ({"workers": 3, "devices": ("4",)}, ["4", "4", "4"], 2),
    ],
)
def test_slots_are_sets_or_shares_of_devices(settings: dict[str, Any], devices: list[str], threads: int) -> None:
    slots = make_slots(LauncherSettings(**settings), ("0", "1", "2", "3", "4"), cores=8)
    assert [slot.environment() for slot in slots] == [{"CUDA_VISIBLE_DEVICES": each} for each in devices]
    assert {slot.threads for slot in slots} == {threads}
    command = worker_command(SweepFolder(Path("runs/s")), slots[-1])
    assert {f"--slot={len(slots) - 1}", f"--devices={devices[-1]}", f"--threads={threads}"} <= set(command)
    with pytest.raises(ConfigError, match="devices_per_trial is more than there are: got 6"):
        make_slots(LauncherSettings(devices_per_trial=6), ("0", "1", "2", "3", "4"))


class Pretending(Launcher):
    """Its workers are this process, and only pretend to train."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(sweep.folder, sweep.spec.launcher)
        self.sweep, self.calls = sweep, 0

    def ensure(self, wanted: int, begun: int) -> None:
        self.calls += 1
        assert self.calls < 10, "work that no worker takes"
        pretend(self.sweep, 1, lambda _: 1.0)

    def running(self) -> int:
        return 0

    def stop(self) -> None:
        pass


def run(sweep: Sweep) -> str:
    with open("shown.txt", "a", encoding="utf-8") as stream:
        return run_sweep(sweep, Pretending(sweep), Display(sweep, stream), lambda: False, look=0.0)


def test_repetitions_follow_every_end_but_stop(tmp_path: Path) -> None:
    content = {"budget": {"trials": 9, "stop_when": {"target": 1.0}}, "repeat_best": {"top_k": 1, "seeds": [7, 8]}}
    sweep = bare_sweep(tmp_path, content)
    assert run(sweep) == "the target 1 is reached"
    assert [entry.repeats for entry in sweep.entries()] == [None, 0, 0]
    other = bare_sweep(tmp_path, content, "other")
    pretend(other, 1)
    stop_sweep(other)
    assert run(other) == "stopped by sweep stop"
    assert add_repeats(other), "none was added"


def test_workers_that_end_without_a_trial_are_an_error_in_the_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 1}})
    monkeypatch.setattr(sys, "executable", "/bin/false")
    launcher = Local(sweep.folder, LauncherSettings())

    def try_often(times: int, begun: int) -> None:
        for _ in range(times):
            launcher.ensure(1, begun)
            while launcher.running():
                time.sleep(0.01)

    try_often(5, begun=0)
    try_often(4, begun=1)
    (launcher._folder.logs / "worker-0.log").write_text("first\nno module\n")
    with pytest.raises(ConfigError, match="Workers cannot run: no module"):
        launcher.ensure(1, 1)
