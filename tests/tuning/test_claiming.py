"""Who gets which trial, without training."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from gpt_lightning.errors import RunFolderError
from gpt_lightning.files.processes import ProcessIdentity
from gpt_lightning.tuning.launch.creating import fork
from gpt_lightning.tuning.launch.live import describe, render, sparkline, status_text
from gpt_lightning.tuning.spec.reading import read_spec
from gpt_lightning.tuning.study.best import add_repeats, as_table, rows
from gpt_lightning.tuning.study.sweep import Sweep, open_sweep
from gpt_lightning.tuning.trial.mailbox import Report, Result
from gpt_lightning.tuning.workers.claiming import _ask, claim, places_left, reason_to_end
from gpt_lightning.tuning.workers.leases import Lease, StaleTrialReaper, fail, requeue_lost, tell
from gpt_lightning.tuning.workers.slots import Slot
from gpt_lightning.tuning.workers.supervisor import Supervisor, _Attempt
from gpt_lightning.tuning.workers.worker import retry_trials, stop_sweep
from tests.tuning.sweeping import SPACE, again, bare_sweep, pretend, write_sweep

GONE = ProcessIdentity("elsewhere", "", 1, "")


@pytest.fixture(autouse=True)
def _place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def lose(sweep: Sweep) -> int:
    """Claim a trial as a worker that dies at once; its number."""
    dead = ProcessIdentity.of(os.getpid())
    trial = claim(
        sweep, StaleTrialReaper(sweep), Lease(ProcessIdentity(dead.host, dead.boot, dead.pid, "another process"))
    )
    assert trial is not None
    return trial.number


def lose_while_choosing(sweep: Sweep) -> None:
    """Begin a trial as a worker that dies when it has chosen the first of its values."""
    dead, trial = ProcessIdentity.of(os.getpid()), sweep.study.ask()
    lease = Lease(ProcessIdentity(dead.host, dead.boot, dead.pid, "another process"))
    trial.set_user_attr("lease", lease.next(None))
    next(iter(sweep.spec.parameters.values())).suggest(trial)


@pytest.mark.parametrize("method", ["tpe", pytest.param("random", marks=pytest.mark.slow)])
def test_values_are_a_function_of_the_seed_whatever_dies_in_between(tmp_path: Path, method: str) -> None:
    plain = bare_sweep(tmp_path, {"budget": {"trials": 14}, "method": method}, "plain")
    values = pretend(plain, 14)
    broken = bare_sweep(tmp_path, {"budget": {"trials": 14}, "method": method}, "broken")
    found = pretend(broken, 4)
    lose(broken)
    found += pretend(again(broken), 6)
    lose_while_choosing(broken)
    found += pretend(again(broken), 4)
    assert found == values
    assert len({str(each) for each in values}) > 4
    assert claim(broken, StaleTrialReaper(broken), Lease()) is None


def test_the_grid_has_every_point_that_exists_once(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"method": "grid"})
    assert sweep.num_trials == 18
    found = pretend(sweep, 18)
    assert len({str(each) for each in found}) == 18
    assert all(("model.schedule.decay" in each) == (each["model.schedule"] == "WSD") for each in found)


GRID = {"model.optimizer.lr": {"values": [1e-3, 2e-3]}, "model.schedule": SPACE["model.schedule"]} | {
    "model.schedule.decay": SPACE["model.schedule.decay"]
}


@pytest.mark.parametrize(
    "points",
    [
        [{"model.optimizer.lr": 2e-3, "model.schedule": "Cosine"}],
        [{"model.optimizer.lr": 2e-3}, {"model.schedule": "Cosine"}, {"model.schedule.decay": "40%"}],
        [{"model.schedule": "Cosine"}] * 2,
    ],
)
def test_a_grid_with_given_points_still_has_every_point_once(tmp_path: Path, points: list[dict[str, Any]]) -> None:
    sweep = bare_sweep(tmp_path, {"method": "grid", "parameters": GRID, "enqueue": points})
    found = pretend(sweep, 6)
    assert len({str(sorted(each.items())) for each in found}) == 6
    for point, got in zip(points, found, strict=False):
        assert point.items() <= got.items()
    assert claim(sweep, StaleTrialReaper(sweep), Lease()) is None


def test_an_extended_grid_trains_the_new_points_only(tmp_path: Path) -> None:
    old = pretend(bare_sweep(tmp_path, {"method": "grid", "parameters": GRID}), 6)
    wider = GRID | {"model.optimizer.lr": {"values": [5e-4, 1e-3, 2e-3, 4e-3]}}
    _, folder = fork(read_spec(write_sweep(tmp_path, {"method": "grid", "parameters": wider})))
    new = open_sweep(folder)
    assert places_left(new, new.entries()) == 6
    found = pretend(new, 6)
    assert len({str(sorted(each.items())) for each in [*old, *found]}) == 12
    assert {each["model.optimizer.lr"] for each in found} == {5e-4, 4e-3}
    assert claim(new, StaleTrialReaper(new), Lease()) is None


def test_a_trial_whose_point_was_taken_meanwhile_withdraws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As two machines may find that share a database and no lock."""
    sweep = bare_sweep(tmp_path, {"method": "grid", "parameters": GRID})
    pretend(sweep, 1)
    monkeypatch.setattr("gpt_lightning.tuning.study.samplers.held_points", lambda *_: set())
    assert _ask(sweep, Lease()) is None
    assert len(sweep.entries()) == 1


def test_given_points_come_first_and_the_budget_is_counted_in_the_storage(tmp_path: Path) -> None:
    point = {"model.optimizer.lr": 4e-3, "model.schedule": "Cosine"}
    sweep = bare_sweep(tmp_path, {"enqueue": [point], "budget": {"trials": 3}})
    assert pretend(again(sweep), 2)[0] == point
    assert len(pretend(again(sweep), 1)) == 1
    assert claim(again(sweep), StaleTrialReaper(sweep), Lease()) is None


def test_a_lost_trial_is_taken_over_once_and_its_owner_can_tell_nothing_more(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 1}})
    number = lose(sweep)
    trial = claim(sweep, StaleTrialReaper(sweep), Lease())
    assert trial is not None
    assert (trial.user_attrs["first"], trial.user_attrs["attempts"]) == (number, 2)
    assert not tell(sweep, number, Result("complete", value=1.0, number=number))
    assert tell(sweep, trial.number, Result("complete", value=2.0, number=trial.number))
    assert not tell(sweep, trial.number, Result("complete", value=3.0, number=trial.number))
    (entry,) = sweep.entries()
    assert (entry.state, entry.last.values) == ("complete", [2.0])


def test_a_result_that_could_not_be_told_is_told_by_the_next_worker(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 1}})
    number = lose(sweep)
    sweep.folder.trial(number).mkdir()
    Result("complete", value=1.5, steps=6, number=number).write(sweep.folder.trial(number))
    assert claim(sweep, StaleTrialReaper(sweep), Lease()) is None
    (entry,) = sweep.entries()
    assert (entry.state, entry.last.values, len(entry.attempts)) == ("complete", [1.5], 1)


def test_silence_is_measured_by_the_reapers_own_clock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 1}, "retry": {"lease": "10s", "grace": "30s"}})
    lease, reaper, now = Lease(GONE), StaleTrialReaper(sweep), [1000.0]
    monkeypatch.setattr("gpt_lightning.tuning.workers.leases.time.monotonic", lambda: now[0])
    trial = claim(sweep, reaper, lease)
    assert trial is not None
    for seconds in (0, 25, 25, 25):
        now[0] += seconds
        sweep.study._storage.set_trial_user_attr(trial._trial_id, "lease", lease.next(None))
        assert reaper.reap() == []
    now[0] += 29
    assert reaper.reap() == []
    now[0] += 2
    assert reaper.reap() == [trial.number]


def test_a_copy_that_two_machines_made_counts_once(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 1}})
    number = lose(sweep)
    lost = next(each for each in sweep.study.trials if each.number == number)
    assert fail(sweep, lost, "lost", died=True)
    stale = again(sweep)
    trials = stale.study.get_trials()
    requeue_lost(sweep)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stale.study, "get_trials", lambda **_: trials)
        requeue_lost(stale)
    assert len(sweep.study.trials) == 3
    assert len(pretend(sweep, 1)) == 1
    assert claim(sweep, StaleTrialReaper(sweep), Lease()) is None
    assert [entry.state for entry in sweep.entries()] == ["complete"]


@pytest.mark.parametrize(
    ("budget", "reason"),
    [
        ({"stop_when": {"no_improvement": 2}}, "2 trials in a row"),
        ({"stop_when": {"target": 1.0}}, "the target 1 is reached"),
        ({"hours": 0}, "since the first trial began"),
    ],
)
def test_a_sweep_ends_for_a_reason(tmp_path: Path, budget: dict[str, Any], reason: str) -> None:
    sweep = bare_sweep(tmp_path, {"budget": budget})
    assert reason_to_end(sweep) is None
    results = iter([1.0, 2.0, 3.0])
    while reason_to_end(sweep) is None:
        pretend(sweep, 1, lambda _: next(results))
    assert reason in str(reason_to_end(sweep))
    assert claim(sweep, StaleTrialReaper(sweep), Lease()) is None


def test_constraints_decide_who_can_be_best(tmp_path: Path) -> None:
    limits = [{"name": "time", "metric": "seconds", "max": 5}]
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 2}, "constraints": limits})
    for value, seconds in ((1.0, 9.0), (2.0, 3.0)):
        trial = claim(sweep, StaleTrialReaper(sweep), Lease())
        assert trial is not None
        tell(sweep, trial.number, Result("complete", value=value, seconds=seconds, number=trial.number))
    assert [entry.first for entry in sweep.ranked()] == [1]
    assert sweep.entries()[0].last.constraints == {"time": 4.0}


def test_several_objectives_have_a_front(tmp_path: Path) -> None:
    metrics = [{"name": "val/loss"}, {"name": "perf/tokens_per_second", "goal": "maximize"}]
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 3}, "metrics": metrics})
    for values in ([1.0, 5.0], [2.0, 9.0], [3.0, 4.0]):
        trial = claim(sweep, StaleTrialReaper(sweep), Lease())
        assert trial is not None
        tell(sweep, trial.number, Result("complete", value=values, number=trial.number))
    assert sorted(each.number for each in sweep.study.best_trials) == [0, 1]


def test_the_best_are_repeated_with_other_seeds_once(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 3}, "repeat_best": {"top_k": 1, "seeds": [7, 8]}})
    pretend(sweep, 3)
    best = sweep.ranked()[0]
    assert add_repeats(sweep)
    assert not add_repeats(sweep)
    assert pretend(sweep, 2) == [best.values, best.values]
    assert [(entry.repeats, entry.fact("seed")) for entry in sweep.entries()[3:]] == [(best.first, 7), (best.first, 8)]
    assert sweep.ranked()[0].first == best.first


def test_a_setting_that_won_twice_is_repeated_once(tmp_path: Path) -> None:
    same = [{"model.optimizer.lr": 8e-3, "model.schedule": "Cosine"}] * 2
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 3}, "enqueue": same, "repeat_best": {"top_k": 2, "seeds": [7]}})
    values = pretend(sweep, 3)
    assert values[0] == values[1] != values[2]
    assert add_repeats(sweep)
    assert sorted(pretend(sweep, 2), key=str) == sorted(values[1:], key=str)
    assert not add_repeats(sweep)


def test_a_repetition_is_never_stopped_early(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 2}, "repeat_best": {"top_k": 1, "seeds": [7]}})
    monkeypatch.setattr(type(sweep.spec.early_terminate), "judge", lambda *_: "behind all")
    report = Report(n=0, step=2, tokens=128, metrics={"val/loss": 9.0}, shape="", total_tokens=384, executed=2)

    def judge_next() -> str | None:
        trial = claim(sweep, StaleTrialReaper(sweep), Lease())
        assert trial is not None
        verdict = _Attempt(Supervisor(sweep, Slot(threads=1), Lease(), lambda: False), trial)._judge(report)
        tell(sweep, trial.number, Result("complete", value=1.0, number=trial.number))
        return verdict

    assert [judge_next(), judge_next()] == ["behind all"] * 2
    assert add_repeats(sweep)
    assert judge_next() is None


def test_stop_and_retry(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 2}, "retry": {"max": 0}})
    lose(sweep)
    with pytest.raises(RunFolderError, match="failed: none"):
        retry_trials(sweep, [0])
    StaleTrialReaper(sweep).reap()
    assert [entry.state for entry in sweep.entries()] == ["failed"]
    assert retry_trials(sweep, []).startswith("1 trials wait again")
    assert stop_sweep(sweep).startswith("0 workers")
    assert claim(sweep, StaleTrialReaper(sweep), Lease()) is None
    sweep.study.set_user_attr("gpt_lightning:stop", None)
    assert len(pretend(sweep, 2)) == 2


@pytest.mark.slow
def test_a_fork_takes_the_trials_that_fit(tmp_path: Path) -> None:
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 9}})
    values = pretend(sweep, 6)
    space = {"model.optimizer.lr": {"values": [2e-3, 4e-3, 8e-3]}, "model.schedule": {"values": ["Cosine"]}}
    new, folder = fork(read_spec(write_sweep(tmp_path, {"parameters": space})))
    assert folder.path == Path("runs/s-2")
    fitting = [
        each for each in values if each["model.schedule"] == "Cosine" and 1e-3 < each["model.optimizer.lr"] < 1e-2
    ]
    taken = open_sweep(folder)
    assert [entry.values for entry in taken.entries()] == fitting
    assert 0 < len(fitting) < 6
    assert new.name == "s-2"


def test_what_is_shown(tmp_path: Path) -> None:
    space = {"model.schedule": {"values": [{"class_path": "WSD", "init_args": {"decay": "20%"}}]}}
    sweep = bare_sweep(tmp_path, {"budget": {"trials": 3}, "parameters": {**SPACE, **space}})
    pretend(sweep, 2)
    lose(sweep)
    entries = sweep.entries()
    assert describe(sweep, entries).startswith("s: 2 complete, 1 running of 3 | best ")
    table = render(sweep, entries)
    assert table.row_count == 3
    assert "schedule=WSD(decay=20%)" in str(next(iter(table.columns[-1].cells)))
    assert status_text(sweep, as_json=False).count("\n") == 4
    assert '"complete": 2' in status_text(sweep, as_json=True)
    table = as_table(rows(sweep), "csv").splitlines()
    assert table[0].startswith("trial,state,reason,val/loss,feasible,model.optimizer.lr,model.schedule")
    assert len(table) == 4
    assert as_table(rows(sweep), "jsonl").count("\n") == 3
    assert sparkline([3.0, 2.0, float("nan"), 1.0]) == "█▅ ▁"
